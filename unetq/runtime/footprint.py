"""What a run of a model takes, before it is run: from the plan of the native runtime."""

from __future__ import annotations

from typing import Any

from unetq.runtime.model import Model

__all__ = ["footprint"]

FLOAT = 4


def footprint(model: Model, height: int, width: int) -> dict[str, Any]:
    """Bytes of one image through a model.

    Args:
        model: an opened model.
        height: pixels of the image.
        width: pixels of the image.

    Returns:
        {size, weights_bytes, arena_bytes, scratch_bytes, skip_bytes, image_bytes, logits_bytes, total_bytes,
        standalone_bytes, least_bytes, buffers}.
        The arena holds all tensors, the skips (`skip_bytes`) among them; scratch the expanded weights; image and logits
        are float32. The standalone command has the image and a few rows of the logits in its arena: `standalone_bytes`
        in all, `least_bytes` under `--max-memory`.
        `buffers`: [{tensors, bytes, offset, rows, height, first_op, last_op}], where `rows` of `height`
        rows are in memory at a time, from `first_op` to `last_op`.

    Raises:
        UserError: the image is too large for the runtime.
    """
    plan, buffers = model.plan(height, width), model.buffers(height, width)
    skips = model.skips
    ends = {
        "image_bytes": FLOAT * model.channels * height * width,
        "logits_bytes": FLOAT * model.classes * height * width,
    }
    return {
        "size": [height, width],
        **plan,
        "skip_bytes": sum(row["bytes"] for row in buffers if skips & set(row["tensors"])),
        **ends,
        "total_bytes": sum(plan.values()) + sum(ends.values()),
        "standalone_bytes": sum(model.plan(height, width, streams=True).values()),
        "least_bytes": model.least_bytes(height, width),
        "buffers": buffers,
    }
