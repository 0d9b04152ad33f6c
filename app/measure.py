"""How big what a mask shows is, and how well it agrees with the truth; empty masks are named. No Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unetq.app.planes import Grid
from unetq.app.study import Mask, Study
from unetq.image.measures import dice, hd95, surface_dice

__all__ = ["Agreement", "Size", "agreement", "longest", "remarks", "show_area", "show_volume", "size_of"]

SIDES = (("first slice", "last slice"), ("upper edge", "lower edge"), ("left edge", "right edge"))


@dataclass(frozen=True)
class Size:
    """One label of a mask.

    Attributes:
        voxels: number of them.
        volume_mm3: their volume.
        areas_mm2: of each slice (along z of the turned grid, which is along the body).
        longest_mm: longest diameter within one such slice, from outer edge to outer edge.
        touches: the sides of the image that it touches, beside those of an axis with one voxel.
    """

    voxels: int
    volume_mm3: float
    areas_mm2: tuple[float, ...]
    longest_mm: float
    touches: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """One label of a mask against the truth; None where a measure has no meaning because one of them is empty.

    Attributes:
        dice: of the whole study; 1 where neither holds the label (`empty`).
        slices: Dice of each slice of the turned grid.
        hd95_mm: 95th percentile of the Hausdorff distance.
        surface: share of the surfaces that lie within `tolerance_mm` of each other.
        volume_error: (mask - truth) / truth.
        empty: which of them hold nothing: "both", "mask", "truth" or "".
    """

    dice: float
    slices: tuple[float, ...]
    hd95_mm: float | None
    surface: float | None
    tolerance_mm: float
    volume_error: float | None
    empty: str


def size_of(mask: Mask, study: Study, label: int) -> Size:
    """Measures a label of a mask (Z, Y, X) in the study's own voxels."""
    grid = Grid(study.volume)
    there = grid.turned(mask) == label
    z, y, x = grid.spacing
    counts = there.sum(axis=(1, 2))
    filled = np.flatnonzero(counts)
    diameter = max((longest(there[k], (y, x)) for k in filled), default=0.0)
    voxels = int(counts.sum())
    areas = tuple(float(n) * y * x for n in counts)
    return Size(voxels, voxels * z * y * x, areas, diameter, _touches(there))


def longest(there: NDArray[np.bool_], spacing: tuple[float, float]) -> float:
    """Longest distance in mm between two corners of the pixels (Y, X) of a mask."""
    rows = np.flatnonzero(there.any(axis=1))
    if not len(rows):
        return 0.0
    first = there[rows].argmax(axis=1)
    last = there.shape[1] - 1 - there[rows, ::-1].argmax(axis=1)
    # The farthest corners are among the outer ones of each row.
    points = np.array(
        [(r + d, c + e) for r, a, b in zip(rows, first, last) for d in (0, 1) for c, e in ((a, 0), (b, 1))]
    )
    hull = _hull(points * np.array(spacing))
    apart = hull[:, None] - hull
    return float(np.sqrt((apart**2).sum(axis=2).max()))


def agreement(mask: Mask, truth: Mask, study: Study, label: int, tolerance_mm: float) -> Agreement:
    """Measures a label of a mask against the truth, both (Z, Y, X)."""
    spacing, grid = study.volume.spacing, Grid(study.volume)
    has = [bool((array == label).any()) for array in (mask, truth)]
    both, either = all(has), any(has)
    a, b = (grid.turned(array) for array in (mask, truth))
    slices = tuple(dice(one, other, label) for one, other in zip(a, b))
    there, true = int((mask == label).sum()), int((truth == label).sum())
    return Agreement(
        dice(mask, truth, label),
        slices,
        hd95(mask, truth, spacing, label) if both else None,
        surface_dice(mask, truth, spacing, tolerance_mm, label) if both else None,
        tolerance_mm,
        (there - true) / true if true else None,
        "" if both else "both" if not either else "truth" if has[0] else "mask",
    )


def remarks(sizes: Mapping[str, Mapping[str, Size]]) -> list[str]:
    """Sentences on what a reader must not overlook: mask's name -> label's name -> its size."""
    found = []
    for mask, labels in sizes.items():
        for label, size in labels.items():
            if not size.voxels:
                found.append(f"{mask} shows no {label} at all: its volume of 0 is no measurement.")
            elif size.touches:
                sides = "every side" if len(size.touches) == 6 else ", ".join(size.touches)
                found.append(
                    f"In {mask} the {label} touches the border of the image ({sides}): it may go on beyond it."
                )
    return found


def show_volume(mm3: float) -> str:
    """A volume in the unit that suits it.

    >>> show_volume(71_300), show_volume(12.5), show_volume(3.2e-7)
    ('71.3 ml', '12.5 mm³', '320 µm³')
    """
    value, unit = (mm3 / 1e3, "ml") if mm3 >= 1e3 else (mm3, "mm³") if mm3 >= 1e-3 or mm3 == 0 else (mm3 * 1e9, "µm³")
    return f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def show_area(mm2: float) -> str:
    """An area in the unit that suits it.

    >>> show_area(1234.5), show_area(81.2), show_area(2.5e-6)
    ('12.3 cm²', '81.2 mm²', '2.5 µm²')
    """
    value, unit = (mm2 / 100, "cm²") if mm2 >= 1e3 else (mm2, "mm²") if mm2 >= 1e-3 or mm2 == 0 else (mm2 * 1e6, "µm²")
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _touches(there: NDArray[np.bool_]) -> tuple[str, ...]:
    found = []
    for axis, names in enumerate(SIDES):
        if there.shape[axis] > 1:
            found += [name for name, at in zip(names, (0, -1)) if np.take(there, at, axis).any()]
    return tuple(found)


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of the convex hull (Andrew's monotone chain)."""
    ordered = np.unique(points, axis=0).tolist()

    def half(way: list[list[float]]) -> list[list[float]]:
        chain: list[list[float]] = []
        for p in way:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], p) <= 0:
                chain.pop()
            chain.append(p)
        return chain

    return np.array(half(ordered) + half(ordered[::-1]))


def _turn(a: list[float], b: list[float], c: list[float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
