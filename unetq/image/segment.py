"""A study through a network and back: the one way that training, evaluation and the cart share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.orient import turn, turn_back
from unetq.image.prep import prepare_slice
from unetq.image.resample import resample, resampled_size
from unetq.image.tiles import Net, logits_to_mask, sliding_logits
from unetq.image.volume import Volume
from unetq.spec import PrepSpec

__all__ = ["network_slice", "network_stack", "segment", "turned"]


def turned(channels: Sequence[Volume], prep: PrepSpec) -> list[Volume]:
    """The channels in the orientation that the network was trained in."""
    return [turn(volume, prep.orientation) for volume in channels] if prep.orientation else list(channels)


def network_stack(volume: Volume, prep: PrepSpec) -> tuple[int, tuple[int, int]]:
    """(number of slices, their pixels (Y, X)) of a turned volume, as the network sees them.

    Raises:
        UserError: the network works at a pixel size, but the file does not say its own.
    """
    depth, height, width = volume.array.shape
    if prep.spacing is None:
        return depth, (height, width)
    if not volume.knows_spacing:
        raise UserError(
            f"The image says no pixel size, but this model works at {prep.spacing:g} mm: give it with `--spacing MM`."
        )
    return depth, resampled_size((height, width), volume.spacing[1:], prep.spacing)


def network_slice(channels: Sequence[Volume], z: int, prep: PrepSpec) -> NDArray[np.float32]:
    """Slice z of turned channels as the network sees it, float32 (C, Y, X): resampled, clipped and normalised."""
    _, size = network_stack(channels[0], prep)
    planes = np.stack([volume.array[z] for volume in channels])
    if planes.shape[1:] != size:
        planes = resample(planes, size)
    return np.stack([prepare_slice(plane, prep) for plane in planes])


def segment(
    channels: Sequence[Volume], prep: PrepSpec, net: Net, on_tile: Callable[[], None] | None = None
) -> NDArray[np.uint8]:
    """Segments a study slice by slice, never with all logits at once.

    Where the network works at another pixel size, its logits, not its mask, are brought back to the study's.

    Args:
        channels: a volume per channel, of one geometry.
        prep: what happens to a slice before the network.
        net: the network, of any size.
        on_tile: called after each tile.

    Returns:
        Mask uint8 (Z, Y, X) on the grid of the study itself.

    Raises:
        UserError: the network works at a pixel size, but the study does not say its own.
    """
    seen = turned(channels, prep)
    size = seen[0].array.shape[1:]
    mask = np.empty(seen[0].array.shape, np.uint8)
    for z in range(len(mask)):
        logits = sliding_logits(network_slice(seen, z, prep), prep, net, on_tile)
        if logits.shape[1:] != size:
            logits = resample(logits, size).astype(np.float32)
        mask[z] = logits_to_mask(logits)
    return turn_back(mask, channels[0], prep.orientation) if prep.orientation else mask
