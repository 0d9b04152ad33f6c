"""A study in, a mask of the study's own geometry out; never all logits of a volume at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.read import check_output, read, write_mask
from unetq.image.segment import network_stack, segment, turned
from unetq.image.tiles import tile_count
from unetq.image.volume import Volume
from unetq.runtime.memory import available_bytes, peak_rss_bytes
from unetq.runtime.meta import ModelMeta
from unetq.runtime.model import Model, open_model
from unetq.spec import PrepSpec

__all__ = ["PredictOptions", "check_memory", "check_tile", "predict", "predict_file", "segment_file"]

# (tiles done, tiles in all)
Progress = Callable[[int, int], None]


def predict(
    model: Model, volume: Volume, prep: PrepSpec | None = None, on_progress: Progress | None = None
) -> NDArray[np.uint8]:
    """Segments a volume slice by slice along its first axis.

    Args:
        model: an opened model of one input channel.
        volume: array (Z, Y, X).
        prep: in place of the model's own preparation (another tile, say).
        on_progress: called after each tile.

    Returns:
        Mask uint8 (Z, Y, X).

    Raises:
        UserError: the model wants several channels, the tile does not fit it, or there is too little memory.
    """
    prep = prep or model.meta.prep
    if model.channels != 1:
        raise UserError(f"{model.path.name} wants {model.channels} channels, but an image file holds one.")
    check_tile(model, prep.tile)
    depth, size = network_stack(turned([volume], prep)[0], prep)
    check_memory(model, size, prep.tile, volume.array.size)
    total, done = depth * tile_count(size, prep), 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    return segment([volume], prep, model.run, count)


@dataclass(frozen=True)
class PredictOptions:
    """How to go about a prediction.

    Attributes:
        threads: threads of the runtime; 0 = as many as there are cores.
        tile: side of a tile in pixels, in place of the model's own.
        spacing: mm of a pixel in a slice, in place of what the file says.
    """

    threads: int = 0
    tile: int | None = None
    spacing: float | None = None

    def __post_init__(self) -> None:
        if self.spacing is not None and not 0 < self.spacing < math.inf:
            raise UserError(f"The spacing is {self.spacing} mm, but must be above 0.")


def predict_file(
    model_path: Path,
    source: Path,
    out: Path,
    options: PredictOptions | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Segments a file into a file of the same kind and geometry.

    Returns:
        {input, output, seconds, inference_seconds, peak_rss_bytes, voxels_per_label: {label value: voxels}}.

    Raises:
        UserError: model, input, tile or output are not as they must be; then nothing is written.
    """
    options = options or PredictOptions()
    check_output(source, out)
    model = open_model(model_path, options.threads)
    check_tile(model, options.tile or model.meta.prep.tile)
    return segment_file(
        source, out, options, model.meta, lambda volume, prep: predict(model, volume, prep, on_progress)
    )


def segment_file(
    source: Path,
    out: Path,
    options: PredictOptions,
    meta: ModelMeta,
    mask_of: Callable[[Volume, PrepSpec], NDArray[np.uint8]],
) -> dict[str, Any]:
    """Segments a file with any engine: `mask_of` makes a mask (Z, Y, X) of a volume; `meta` says preparation and labels.

    Returns, Raises: as `predict_file`.
    """
    start = time.perf_counter()
    check_output(source, out)
    prep = meta.prep if options.tile is None else replace(meta.prep, tile=options.tile)
    volume = read(source)
    pixel = options.spacing
    scaled = replace(volume, spacing=(volume.spacing[0], pixel, pixel)) if pixel else volume
    before = time.perf_counter()
    mask = mask_of(scaled, prep)
    inference = time.perf_counter() - before
    write_mask(mask, volume, out)
    counts = np.bincount(mask.reshape(-1), minlength=len(meta.labels) + 1)
    return {
        "input": str(source),
        "output": str(out),
        "seconds": round(time.perf_counter() - start, 3),
        "inference_seconds": round(inference, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "voxels_per_label": {str(label): int(n) for label, n in enumerate(counts) if label},
    }


def check_tile(model: Model, tile: int) -> None:
    """Tiles begin on whole pixels of every level, so that the seams of neighbours agree.

    Raises:
        UserError: the tile is no multiple of the network's stride.
    """
    stride = model.stride
    if tile % stride:
        raise UserError(f"The tile of {tile} pixels does not fit this network: use a multiple of {stride}.")


def check_memory(model: Model, size: tuple[int, int], tile: int, voxels: int) -> None:
    """Refuses a study before the work starts, where the system would kill the process in the middle of it.

    Args:
        model: an opened model.
        size: (height, width) of a slice in pixels, as the network sees it.
        tile: side of a tile.
        voxels: of the study, a byte of the mask each.

    Raises:
        UserError: the run needs more memory than there is.
    """
    pixels, window = size[0] * size[1], (min(size[0], tile), min(size[1], tile))
    classes = model.classes
    # A slice in float64 with its normalised copies, its logits with their blend and resampled in float64; and the mask.
    around = pixels * (24 + 8 * classes) + voxels
    if model.meta.prep.spacing is not None:
        around += 24 * pixels * classes
    tile_logits = 8 * classes * window[0] * window[1]
    needed = around + tile_logits + sum(model.plan(*window).values())
    free = available_bytes()
    if needed > free:
        raise UserError(
            f"A slice of {size[0]} x {size[1]} pixels in tiles of {tile} needs {needed / 2**20:.0f} MiB of memory, but "
            f"{free / 2**20:.0f} MiB are free: use a smaller tile or a smaller image."
        )
