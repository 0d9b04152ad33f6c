"""A study in, a mask of the study's own geometry out; never all logits of a volume at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.prep import prepare_slice
from unetq.image.read import check_output, read, write_mask
from unetq.image.tiles import logits_to_mask, sliding_logits, tile_count
from unetq.image.volume import Volume
from unetq.runtime.memory import available_bytes, peak_rss_bytes
from unetq.runtime.model import Model, open_model
from unetq.spec import PrepSpec

__all__ = ["check_memory", "check_tile", "predict", "predict_file"]

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
    depth, height, width = volume.array.shape
    check_memory(model, (height, width), prep.tile, depth)
    total, done = depth * tile_count((height, width), prep), 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    mask = np.empty(volume.array.shape, np.uint8)
    for z in range(depth):
        image = prepare_slice(volume.array[z], prep)[None]
        mask[z] = logits_to_mask(sliding_logits(image, prep, model.run, count))
    return mask


def predict_file(
    model_path: Path,
    source: Path,
    out: Path,
    threads: int = 0,
    tile: int | None = None,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Segments a file into a file of the same kind and geometry.

    Returns:
        {input, output, seconds, peak_rss_bytes, voxels_per_label: {label value: voxels}}.

    Raises:
        UserError: model, input, tile or output are not as they must be; then nothing is written.
    """
    start = time.perf_counter()
    check_output(source, out)
    model = open_model(model_path, threads)
    prep = model.meta.prep if tile is None else replace(model.meta.prep, tile=tile)
    check_tile(model, prep.tile)
    volume = read(source)
    mask = predict(model, volume, prep, on_progress)
    write_mask(mask, volume, out)
    counts = np.bincount(mask.reshape(-1), minlength=len(model.meta.labels) + 1)
    return {
        "input": str(source),
        "output": str(out),
        "seconds": round(time.perf_counter() - start, 3),
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


def check_memory(model: Model, size: tuple[int, int], tile: int, depth: int = 1) -> None:
    """Refuses a study before the work starts, where the system would kill the process in the middle of it.

    Args:
        model: an opened model.
        size: (height, width) of a slice in pixels.
        tile: side of a tile.
        depth: number of slices.

    Raises:
        UserError: the run needs more memory than there is.
    """
    pixels, window = size[0] * size[1], (min(size[0], tile), min(size[1], tile))
    classes = model.classes
    # A slice in float64 with its normalised copies, its logits with their blend; and the mask of all slices.
    around = pixels * (24 + 8 * classes) + pixels * depth
    tile_logits = 8 * classes * window[0] * window[1]
    needed = around + tile_logits + sum(model.plan(*window).values())
    free = available_bytes()
    if needed > free:
        raise UserError(
            f"{size[0]} x {size[1]} x {depth} pixels in tiles of {tile} need {needed / 2**20:.0f} MiB of memory, but "
            f"{free / 2**20:.0f} MiB are free: use a smaller tile or a smaller image."
        )
