"""How sure a network is of each voxel: probability of the foreground and entropy, of any engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unetq.image.orient import turn_back
from unetq.image.resample import resample
from unetq.image.segment import network_slice, network_stack, turned
from unetq.image.tiles import Net, sliding_logits, tile_count
from unetq.image.volume import Volume
from unetq.spec import PrepSpec

__all__ = ["sure_maps"]

PLAIN: tuple[tuple[int, ...], ...] = ((),)
MIRRORS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))


def sure_maps(
    channels: Sequence[Volume],
    prep: PrepSpec,
    net: Net,
    flips: bool = False,
    on_tile: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """How sure a network is of each voxel.

    Args:
        channels: a volume per channel, of one geometry.
        prep: what happens to a slice before the network.
        net: the network, of any size.
        flips: average over the slice and its mirror images left-right, up-down and both.
        on_tile: called with (tiles done, tiles in all).

    Returns:
        "Probability": that it is foreground (1 less that of the background), and "Entropy": of all classes by its maximum, the
        logarithm of their number; uint8 (Z, Y, X), 255 = 1.

    Raises:
        UserError: the network works at a pixel size, but the study does not say its own.
    """
    seen = turned(channels, prep)
    depth, size = network_stack(seen[0], prep)
    mirrors = MIRRORS if flips else PLAIN
    total, done = depth * tile_count(size, prep) * len(mirrors), 0

    def tell() -> None:
        nonlocal done
        done += 1
        if on_tile:
            on_tile(done, total)

    shape = seen[0].array.shape
    maps = {name: np.empty(shape, np.uint8) for name in ("Probability", "Entropy")}
    for z in range(depth):
        image = network_slice(seen, z, prep)
        sides = [np.flip(sliding_logits(np.flip(image, axes), prep, net, tell), axes) for axes in mirrors]
        chances = np.mean([_chances(side) for side in sides], axis=0)
        if chances.shape[1:] != shape[1:]:
            chances = np.clip(resample(chances, (shape[1], shape[2])), 0.0, 1.0)
        surprise = -np.sum(chances * np.log(np.maximum(chances, 1e-12)), axis=0) / np.log(len(chances))
        for name, values in (("Probability", 1.0 - chances[0]), ("Entropy", surprise)):
            maps[name][z] = np.rint(255 * np.clip(values, 0.0, 1.0))
    if prep.orientation:
        maps = {name: turn_back(values, channels[0], prep.orientation) for name, values in maps.items()}
    return maps


def _chances(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probability of the background and of each label (K, Y, X): sigmoid of one channel, softmax of several."""
    both = np.concatenate([np.zeros_like(logits), logits]) if len(logits) == 1 else logits
    powers = np.exp(both.astype(np.float64) - both.max(axis=0))
    chances: NDArray[np.float64] = powers / powers.sum(axis=0)
    return chances
