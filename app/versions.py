"""Corrected masks: each saving is a new version with who and when; nothing is written over. No Streamlit in here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.app.audit import now
from unetq.app.planes import Grid, Plane, Point
from unetq.app.study import Mask, Study
from unetq.errors import UserError
from unetq.files import atomic_text, make_folder
from unetq.image.read import read_mask, write_mask

__all__ = ["Brush", "Version", "Versions", "painted", "put"]


@dataclass(frozen=True)
class Version:
    """A saved correction.

    Attributes:
        number: 1, 2, ... of its study.
        base: what it began as: a model, an earlier version, or an upload.
        note: why.
        labels: name and SNOMED CT code of the labels 1, 2, ...
    """

    number: int
    time: str
    user: str
    base: str
    note: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        # JSON knows no tuples.
        object.__setattr__(self, "labels", tuple((str(name), str(code)) for name, code in self.labels))

    @property
    def title(self) -> str:
        """Its name beside the models'."""
        return f"Correction {self.number} ({self.user})"


class Versions:
    """The corrections of a store: corrections/STUDY'S HASH/NUMBER.nii.gz and NUMBER.json."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "corrections"

    def save(self, study: Study, mask: Mask, about: Version) -> Version:
        """Saves a mask as the next version; `about.number` and `about.time` are set here.

        Raises:
            UserError: the store cannot be written.
        """
        folder = make_folder(self.folder / study.hash)
        number = 1 + max((version.number for version in self.of(study)), default=0)
        version = replace(about, number=number, time=now())
        # A NIfTI whatever the study is: it holds any number of slices.
        write_mask(mask, study.volume, folder / f"{number}.nii.gz")
        atomic_text(folder / f"{number}.json", json.dumps(asdict(version), indent=1) + "\n")
        return version

    def of(self, study: Study) -> list[Version]:
        """The versions of a study, the first one first."""
        found = []
        for path in (self.folder / study.hash).glob("*.json"):
            try:
                found.append(Version(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                raise UserError(f"The correction {path} is damaged: move it away.") from None
        return sorted(found, key=lambda version: version.number)

    def any_of(self, study: str) -> bool:
        """Whether the study of a hash was corrected."""
        return any((self.folder / study).glob("*.json"))

    def load(self, study: Study, number: int) -> Mask:
        """The mask of a version.

        Raises:
            UserError: it is gone or damaged.
        """
        path = self.folder / study.hash / f"{number}.nii.gz"
        mask = read_mask(path)
        if mask.shape != study.volume.array.shape:
            raise UserError(f"The correction {path} has another size than its study: move it away.")
        return mask


@dataclass(frozen=True)
class Brush:
    """A round brush: label that it paints (0 erases), diameter in mm."""

    label: int
    mm: float


def painted(
    cut: NDArray[np.uint8], size: tuple[float, float], line: Sequence[tuple[float, float]], brush: Brush
) -> NDArray[np.uint8]:
    """A slice of a mask as it stands on the screen, with a stroke of the brush.

    Args:
        cut: labels (rows, columns).
        size: its height and width in mm.
        line: places of the stroke: shares of height and width, 0 to 1.
        brush: what it paints; at least the pixels under the line.
    """
    rows, columns = cut.shape
    (height, width), (down, across) = size, (size[0] / rows, size[1] / columns)
    y, x = (np.arange(rows) + 0.5) * down, (np.arange(columns) + 0.5) * across
    ends = [(a * height, b * width) for a, b in line]
    radius = max(brush.mm / 2, 0.5 * float(np.hypot(down, across)))
    near = np.zeros(cut.shape, bool)
    for start, end in zip(ends, ends[1:] or ends):
        near |= _distance(y[:, None], x[None], start, end) <= radius
    return np.where(near, np.uint8(brush.label), cut)


def put(mask: Mask, grid: Grid, plane: Plane, point: Point, cut: NDArray[np.uint8]) -> None:
    """Writes a slice as it stands on the screen into a mask (Z, Y, X): a cut is a view of it."""
    grid.cut(grid.turned(mask), plane, point)[...] = cut


def _distance(
    y: NDArray[np.float64], x: NDArray[np.float64], start: tuple[float, float], end: tuple[float, float]
) -> NDArray[np.float64]:
    """Distance of each pixel to a straight line between two places."""
    (y0, x0), (y1, x1) = start, end
    dy, dx = y1 - y0, x1 - x0
    length = dy * dy + dx * dx
    share = np.clip(((y - y0) * dy + (x - x0) * dx) / length, 0, 1) if length else 0.0
    distance: NDArray[np.float64] = np.hypot(y - y0 - share * dy, x - x0 - share * dx)
    return distance
