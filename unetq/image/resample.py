"""Resampling of a slice to the pixel size that a network was trained at, and of its logits back.

Linear, from pixel centre to pixel centre, in float64, rows first, each value a + (b - a) * t: an order of operations that
any other implementation can follow to the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resample", "resample_labels", "resampled_size"]

Size = tuple[int, int]


def resampled_size(size: Size, spacing: tuple[float, float], target: float) -> Size:
    """Pixels (Y, X) of a slice at another pixel size.

    Args:
        size: pixels (Y, X).
        spacing: mm of a pixel, (y, x).
        target: mm of a pixel afterwards, both ways.

    >>> resampled_size((320, 200), (0.5, 0.5), 0.25)
    (640, 400)
    """
    y, x = (max(1, round(n * mm / target)) for n, mm in zip(size, spacing, strict=True))
    return y, x


def resample(planes: NDArray[Any], size: Size) -> NDArray[np.float64]:
    """Planes (K, Y, X) at another size, float64 (K, *size); beyond the outermost pixel centres the border goes on.

    >>> resample(np.array([[[0.0, 4.0]]]), (1, 4)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    values = planes.astype(np.float64)
    for axis, n in ((1, size[0]), (2, size[1])):
        if values.shape[axis] != n:
            values = _along(values, axis, n)
    return values


def resample_labels(labels: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Labels (Y, X) at another size: each label's area is resampled, and the largest share wins."""
    if labels.shape == size:
        return labels
    best = np.zeros(size)
    out = np.zeros(size, np.uint8)
    for label in np.unique(labels):
        share = resample((labels == label)[None], size)[0]
        out[share > best] = label
        np.maximum(best, share, out=best)
    return out


def _along(values: NDArray[np.float64], axis: int, n: int) -> NDArray[np.float64]:
    last = values.shape[axis] - 1
    at = np.clip((np.arange(n) + 0.5) * (values.shape[axis] / n) - 0.5, 0, last)
    low = at.astype(np.intp)
    shape = [1, 1, 1]
    shape[axis] = n
    a, b = np.take(values, low, axis), np.take(values, np.minimum(low + 1, last), axis)
    between: NDArray[np.float64] = a + (b - a) * (at - low).reshape(shape)
    return between
