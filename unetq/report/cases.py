"""Test cases as pictures: which are shown, their most telling slice, and the prediction over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.read import read
from unetq.report.collect import RunRecord
from unetq.report.paint import OUTLINE, auto_window, difference_layer, enlarge, outline, png, window

__all__ = ["CaseImage", "Layer", "detail", "layer_of", "load_case", "pick_cases"]

Mask = NDArray[Any]
# A label that fills less than this share of the slice's side is shown as a detail of at least this many pixels.
SHARE, LEAST = 0.75, 48


def pick_cases(per_case: Mapping[str, float]) -> dict[str, str]:
    """The best, the median and the worst case; with fewer than three cases each case once.

    >>> pick_cases({"a": 0.9, "b": 0.7, "c": 0.8})
    {'best': 'a', 'median': 'c', 'worst': 'b'}
    """
    ranked = sorted(per_case, key=lambda case: (-per_case[case], case))
    picks = {"best": ranked[0], "median": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    return {name: case for i, (name, case) in enumerate(picks.items()) if case not in list(picks.values())[:i]}


@dataclass(frozen=True)
class CaseImage:
    """The part of a test case that the report shows.

    Attributes:
        gray: uint8 (Y, X), enlarged where the image is small.
        truth: labels (Y, X) of the whole slice.
        index: the slice, the one that holds the most truth.
        depth: number of slices of the case.
        part: rows and columns of the slice that `gray` shows.
        aspect: width of the picture / its height, in mm.
    """

    case: str
    gray: NDArray[np.uint8]
    truth: Mask
    index: int
    depth: int
    part: tuple[slice, slice]
    aspect: float

    @property
    def is_detail(self) -> bool:
        """True where the slice goes on beyond the picture."""
        return self.truth[self.part].shape != self.truth.shape


@dataclass(frozen=True)
class Layer:
    """What lies over a case's picture: a transparent PNG, and how many predicted pixels of the slice it does not show."""

    png: bytes
    hidden: int


def load_case(data: Path, case: str, limits: tuple[float, float] | None = None) -> CaseImage:
    """Image and truth of a case of a prepared data folder.

    Args:
        data: prepared folder.
        case: its name.
        limits: intensities that are black and white; default: by the slice.

    Raises:
        UserError: a file is gone or unreadable.
    """
    image, truth = read(_file(data / "imagesTr", f"{case}_0000")), read(_file(data / "labelsTr", case)).array
    if image.array.shape != truth.shape:
        raise UserError(
            f"The image and the label of {case} in {data} differ in size: {image.array.shape} and {truth.shape}."
        )
    index = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    gray = window(image.array[index], *(limits or auto_window(image.array[index])))
    part = detail(truth[index])
    shown = gray[part]
    aspect = shown.shape[1] * image.spacing[2] / (shown.shape[0] * image.spacing[1])
    return CaseImage(case, enlarge(shown).astype(np.uint8), truth[index], index, truth.shape[0], part, aspect)


def detail(truth: Mask) -> tuple[slice, slice]:
    """Rows and columns (Y, X) to show: a square about a small label, else everything. For the eye only: scores know no crop."""
    places = [np.flatnonzero((truth > 0).any(axis=1 - axis)) for axis in (0, 1)]
    whole = (slice(0, truth.shape[0]), slice(0, truth.shape[1]))
    if not places[0].size:
        return whole
    side = max(LEAST, 2 * max(int(p[-1] - p[0] + 1) for p in places))
    if side > SHARE * min(truth.shape):
        return whole
    starts = [min(max(0, int(p[0] + p[-1] + 1 - side) // 2), n - side) for p, n in zip(places, truth.shape)]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def layer_of(run: RunRecord, shown: CaseImage) -> Layer | None:
    """Prediction against truth, truth outlined; None where the run kept no mask.

    Raises:
        UserError: the mask does not fit the image.
    """
    path = run.folder / "test_masks" / f"{shown.case}.nii.gz"
    if not path.is_file():
        return None
    masks = read(path).array
    predicted = masks[shown.index] if shown.index < masks.shape[0] else masks[:0]
    if predicted.shape != shown.truth.shape:
        raise UserError(f"{path} has another size than the test image of {shown.case}: evaluate {run.folder} again.")
    here, truth = enlarge(predicted[shown.part]), enlarge(shown.truth[shown.part])
    layer = difference_layer(here, truth, 0.55)
    layer[outline(truth)] = (*OUTLINE, 235)
    hidden = np.count_nonzero(predicted) - np.count_nonzero(predicted[shown.part])
    return Layer(png(layer), int(hidden))


def _file(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}.*"))
    if not found:
        raise UserError(f"{folder} has no image {stem}.")
    return found[0]
