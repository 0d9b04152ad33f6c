"""How well a mask agrees with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["dice", "hd95", "is_empty_pair", "surface_dice", "v_rand", "volume_error_ml"]

Mask = NDArray[Any]


def dice(pred: Mask, truth: Mask, label: int = 1) -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|) of a label; 1 where neither holds the label.

    >>> dice(np.array([1, 1, 0]), np.array([1, 0, 0]))
    0.6666666666666666
    """
    a, b = _both(pred, truth, label)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0


def is_empty_pair(pred: Mask, truth: Mask, label: int = 1) -> bool:
    """True where neither mask holds the label: the Dice of 1 is then by convention and is counted apart."""
    a, b = _both(pred, truth, label)
    return not a.any() and not b.any()


def volume_error_ml(pred: Mask, truth: Mask, spacing: Sequence[float], label: int = 1) -> float:
    """Volume of the prediction less that of the truth, in millilitres; `spacing` in mm, one number per axis."""
    a, b = _both(pred, truth, label)
    _check_spacing(spacing, a.ndim)
    return (int(np.count_nonzero(a)) - int(np.count_nonzero(b))) * float(np.prod(spacing)) / 1000.0


def hd95(pred: Mask, truth: Mask, spacing: Sequence[float], label: int = 1) -> float:
    """95th percentile of the Hausdorff distance: the larger of the two directed percentiles.

    As MONAI's compute_hausdorff_distance(percentile=95): the surface of a mask is its pixels that have a face
    neighbour outside it, the border of the image counting as outside; percentiles interpolate linearly. A volume of
    one slice, (1, Y, X), is measured as the 2-D image that it is.

    Args:
        pred: labels, 2-D or 3-D.
        truth: labels of the same shape.
        spacing: mm, one number per axis, in the order of the axes.
        label: which label.

    Returns:
        mm; 0 where neither mask holds the label, infinity where only one does.
    """
    a, b, spacing = _pair(pred, truth, spacing, label)
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else float("inf")
    edge_a, edge_b = _surfaces(a, b)
    there = np.percentile(_distance_to(edge_b, spacing)[edge_a], 95)
    back = np.percentile(_distance_to(edge_a, spacing)[edge_b], 95)
    return float(max(there, back))


def surface_dice(pred: Mask, truth: Mask, spacing: Sequence[float], tolerance_mm: float, label: int = 1) -> float:
    """Share of the surface pixels of both masks that lie within `tolerance_mm` of the other's surface (NSD; Nikolov et al. 2018).

    As MONAI's compute_surface_dice: surfaces as in `hd95`, each pixel counting once.

    Returns:
        0 to 1; 1 where neither mask holds the label.
    """
    a, b, spacing = _pair(pred, truth, spacing, label)
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    edge_a, edge_b = _surfaces(a, b)
    near = int((_distance_to(edge_b, spacing)[edge_a] <= tolerance_mm).sum())
    near += int((_distance_to(edge_a, spacing)[edge_b] <= tolerance_mm).sum())
    return near / int(edge_a.sum() + edge_b.sum())


def v_rand(pred: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Foreground-restricted Rand score V_rand of parted objects (Arganda-Carreras et al. 2015), as 1 less scikit-image's
    adapted Rand error with the background of the truth ignored.

    Objects are the 4-connected (in 3-D 6-connected) parts of each mask. The challenge also thins the borders, and takes the best
    of all thresholds; both are left out here.

    Args:
        pred: inside of an object or not, 2-D or 3-D.
        truth: of the same shape.

    Returns:
        0 to 1; 1 where no pixel of the truth is inside an object.
    """
    import SimpleITK as sitk  # noqa: N813 - as below

    if pred.shape != truth.shape:
        raise ValueError(f"The prediction has shape {pred.shape}, but the truth {truth.shape}.")
    inside = truth.ravel()
    part, other = (
        sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))).ravel()[inside]
        for mask in (truth, pred)
    )
    shared = part.astype(np.int64) * (int(other.max(initial=0)) + 1) + other
    both, a, b = (_pairs(labels) for labels in (shared, part, other))
    return 2.0 * both / (a + b) if a + b else 1.0


def _pairs(labels: NDArray[Any]) -> float:
    """Ordered pairs of two different pixels of one label."""
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    return float(counts @ counts - counts.sum())


def _both(pred: Mask, truth: Mask, label: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if pred.shape != truth.shape:
        raise ValueError(f"The prediction has shape {pred.shape}, but the truth {truth.shape}.")
    return pred == label, truth == label


def _pair(
    pred: Mask, truth: Mask, spacing: Sequence[float], label: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Sequence[float]]:
    """Both masks of a label and the spacing; a volume of one slice as the 2-D image that it is."""
    a, b = _both(pred, truth, label)
    _check_spacing(spacing, a.ndim)
    return (a[0], b[0], spacing[1:]) if a.ndim == 3 and a.shape[0] == 1 else (a, b, spacing)


def _surfaces(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The surfaces of two masks that hold something, cut to the box of both."""
    box = _box(a | b)  # nothing outside it matters; the padding stands for the outside
    return _surface(np.pad(a[box], 1)), _surface(np.pad(b[box], 1))


def _check_spacing(spacing: Sequence[float], ndim: int) -> None:
    if len(spacing) != ndim or not all(s > 0 for s in spacing):
        raise ValueError(f"The spacing {tuple(spacing)} does not fit a mask of {ndim} dimensions.")


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    return tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask))


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask less its erosion by a cross; its outermost layer is False."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return mask & ~inner


def _distance_to(surface: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance in mm of every pixel to the nearest one of the surface."""
    import SimpleITK as sitk  # noqa: N813 - here, because it takes 94 MiB that a NIfTI study or a timing does without

    image = sitk.GetImageFromArray(surface.astype(np.uint8))
    image.SetSpacing([float(s) for s in spacing[::-1]])
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    # Negative within a surface that is thicker than one pixel: the distance there is 0.
    return np.maximum(np.asarray(sitk.GetArrayFromImage(distance), np.float64), 0.0)
