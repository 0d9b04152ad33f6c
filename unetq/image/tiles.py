"""A sliding window over a slice, blended by Gaussian weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from unetq.spec import PrepSpec

__all__ = ["Net", "logits_to_mask", "sliding_logits", "tile_count"]

# Standard deviation of the weights as a share of the tile; the weight at its border is exp(-8).
SIGMA = 0.125
# float32 image (C, h, w) -> float32 logits (K, h, w)
Net = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def sliding_logits(
    image: NDArray[np.float32], prep: PrepSpec, net: Net, on_tile: Callable[[], None] | None = None
) -> NDArray[np.float32]:
    """The network's logits of a whole slice.

    In a direction in which the image is not larger than a tile it is passed whole, unpadded; in the other one all
    tiles have the full size and stand evenly. Where one tile covers all, the logits are the network's own, bit for
    bit; so are they in all pixels that only one tile covers. The result depends on the image alone.

    Args:
        image: float32 (C, Y, X).
        prep: `tile` and `overlap`.
        net: the network, of any size.
        on_tile: called after each tile.

    Returns:
        float32 (K, Y, X).
    """
    _, *size = image.shape
    rows, columns = (_windows(n, prep) for n in size)
    total: NDArray[np.float32] | None = None
    for (top, down), (left, across) in product(rows, columns):
        window = np.s_[:, top : top + len(down), left : left + len(across)]
        logits = net(np.ascontiguousarray(image[window]))
        if logits.shape[1:] != (len(down), len(across)):
            raise ValueError(f"The network made {logits.shape} of a tile of {len(down)} x {len(across)} pixels.")
        if on_tile:
            on_tile()
        if len(rows) == len(columns) == 1:
            return logits
        if total is None:
            total = np.zeros((len(logits), *size), np.float32)
        total[window] += logits * (down[:, None] * across)
    assert total is not None  # there is always a first tile
    return total


def tile_count(size: tuple[int, int], prep: PrepSpec) -> int:
    """Number of tiles of a slice of (Y, X) pixels.

    >>> tile_count((512, 1024), PrepSpec(tile=512, overlap=0.25))
    3
    """
    return math.prod(len(_starts(n, prep)) for n in size)


def logits_to_mask(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Labels uint8 (Y, X) of logits (K, Y, X): the larger than 0 of one channel, the largest of several (of equals the
    first), without NaN."""
    if len(logits) == 1:
        larger: NDArray[np.uint8] = (logits[0] > 0).astype(np.uint8)
        return larger
    # numpy's argmax along the first axis takes 20 times as long. Channels come in order, so the last winner is the largest.
    best, mask = logits[0].copy(), np.zeros(logits.shape[1:], np.uint8)
    for label in range(1, len(logits)):
        np.maximum(mask, np.multiply(logits[label] > best, label, dtype=np.uint8), out=mask)
        np.maximum(best, logits[label], out=best)
    return mask


def _starts(n: int, prep: PrepSpec) -> list[int]:
    if n <= prep.tile:
        return [0]
    step = max(1, int(prep.tile * (1.0 - prep.overlap)))
    last = -(-(n - prep.tile) // step)
    return [i * (n - prep.tile) // last for i in range(last + 1)]


def _windows(n: int, prep: PrepSpec) -> list[tuple[int, NDArray[np.float32]]]:
    """(start, weights) of the tiles along one direction; the weights of all tiles at a pixel add up to 1."""
    starts, side = _starts(n, prep), min(n, prep.tile)
    bell = np.array([math.exp(-0.5 * (((i + 0.5) / side - 0.5) / SIGMA) ** 2) for i in range(side)])
    total = np.zeros(n)
    for start in starts:
        total[start : start + side] += bell
    return [(start, (bell / total[start : start + side]).astype(np.float32)) for start in starts]
