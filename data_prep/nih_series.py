"""NIH Pancreas-CT as The Cancer Imaging Archive hands it out: a DICOM series a patient, and NIfTI labels paired by number.

    PANCREAS_0001/<study>/<series>/1-001.dcm ...     TCIA_pancreas_labels-02-05-2017/label0001.nii.gz ...

The folders around and between may have other names. Voxels of the labels lie to the left, the front and the feet (LAI), like
the rows, columns and instances of the slices; what stands in a label's header need not say so, so it is not believed before
the intensities inside the mask are those of an organ.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.fit import axes
from unetq.errors import UserError
from unetq.image.dicom import dicom_files, read_series
from unetq.image.orient import turn
from unetq.image.read import read
from unetq.image.volume import Volume

__all__ = ["HU_INSIDE", "ORIENTATION", "WITHDRAWN", "Patient", "files", "find_series", "patients"]

PATIENT, LABEL = re.compile(r"PANCREAS_(\d+)"), re.compile(r"label(\d+)\.nii(?:\.gz)?")
# Duplicates of case 2, withdrawn by TCIA; their label files may still be there.
WITHDRAWN = (25, 70)
ORIENTATION = "LPS"
# Where a median of the voxels inside the mask lies, if it is where the pancreas is. Of the 50 patients whose slices were exported
# it is 43 to 135, by the phase of the contrast agent; 120 would refuse four of them.
HU_INSIDE = (30.0, 150.0)
# What the voxels inside are, but for some fat at the border. The right arrangement has this much more of them than others.
ORGAN_HU, CLEARLY = (-20, 200), 0.05
# As the labels are, and flipped along y, z and both; then with their first two axes exchanged.
ARRANGEMENTS = ("LAI", "LPI", "LAS", "LPS", "ALI", "PLI", "ALS", "PLS")
OPPOSITE = {"I": "S", "A": "P", "R": "L"}
# Headers are rounded.
SPACING_SLACK = 0.02
# A patient's folder or a label may lie so deep in the named one, and a series so deep in the patient's.
DEPTH = 3

# (number, image (Z, Y, X) in HU, label (Z, Y, X), affine)
Patient = tuple[int, NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]


@dataclass(frozen=True)
class _Pair:
    number: int
    series: Path
    label: Path


def find_series(folder: Path) -> Path | None:
    """The folder that patients and labels lie in: `folder/nih` or `folder` itself; None where no patient has a series."""
    for place in (folder / "nih", folder):
        homes = (home for home, _ in _walk(place) if PATIENT.fullmatch(home.name))
        if any(_series_folders(home) for home in islice(homes, 3)):  # the first may be of an aborted download
            return place
    return None


def files(place: Path) -> list[Path]:
    """All files that are read: of each patient the slices, then the label.

    Raises:
        UserError: a label or a series is missing or there twice.
    """
    return [path for pair in _pairs(place) for path in (*dicom_files(pair.series), pair.label)]


def patients(place: Path) -> Iterator[Patient]:
    """Each patient but the withdrawn ones, in the order of the numbers, turned to `ORIENTATION`; label 1 = pancreas.

    Raises:
        UserError: as `files` and `read_series`; a label with unknown values, of another shape or without pancreas; or one
            that lies on no organ, whichever way it is turned.
    """
    for pair in _pairs(place):
        image = turn(read_series(pair.series), ORIENTATION)
        if image.array.dtype != np.int16:
            raise UserError(f"{pair.series} is no CT (its Modality says so): take the patient out.")
        yield pair.number, image.array, _label(pair, image), image.affine


def _walk(place: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders not deeper than `DEPTH`, behind links, too, with the names of their files; not into those of a patient."""
    for name, folders, names in os.walk(place, followlinks=True):
        here = Path(name)
        deep = len(here.relative_to(place).parts) >= DEPTH or (here != place and PATIENT.fullmatch(here.name))
        folders[:] = [] if deep else sorted(folder for folder in folders if not folder.startswith("."))
        yield here, names


def _series_folders(home: Path) -> list[Path]:
    """The folders of a patient that hold DICOM files."""
    return [folder for folder, names in _walk(home) if names and dicom_files(folder)]


def _pairs(place: Path) -> list[_Pair]:
    homes: dict[int, list[Path]] = {}
    labels: dict[int, list[Path]] = {}
    for folder, names in _walk(place):
        if found := PATIENT.fullmatch(folder.name):
            homes.setdefault(int(found[1]), []).append(folder)
        for name in names:
            if found := LABEL.fullmatch(name):
                labels.setdefault(int(found[1]), []).append(folder / name)
    pairs = []
    for number in sorted((homes.keys() | labels.keys()) - {*WITHDRAWN}):
        if number not in homes:
            raise UserError(
                f"{labels[number][0]} has no DICOM series PANCREAS_{number:04d} in {place}: get it, or take the label out."
            )
        series = [path for home in homes[number] for path in _series_folders(home)]
        if not series:
            raise UserError(f"{homes[number][0]} holds no DICOM series: get it, or take the folder and its label out.")
        if number not in labels:
            raise UserError(
                f"{homes[number][0]} has no label{number:04d}.nii.gz in {place}: get the labels of the collection."
            )
        for those in (series, labels[number]):
            if len(those) > 1:
                raise UserError(f"Patient {number} is there twice, in {those[0]} and {those[1]}: take one of them out.")
        pairs.append(_Pair(number, series[0], labels[number][0]))
    return pairs


def _label(pair: _Pair, image: Volume) -> NDArray[np.uint8]:
    """The label on the grid of its image, the way that it lies on an organ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label without orientation is no matter: it is found out here
        volume = read(pair.label)
    unknown = [value for value in np.unique(volume.array).tolist() if value not in (0, 1)]
    if unknown:
        raise UserError(f"{pair.label} holds the value {unknown[0]:g}, but must hold 0 and 1 = pancreas.")
    if not volume.array.any():
        raise UserError(f"{pair.label} marks no pancreas: take the patient {pair.series} out.")
    said = axes(volume) if volume.knows_orientation else ARRANGEMENTS[0]
    inside: dict[str, NDArray[np.int16]] = {}
    for way in dict.fromkeys((said, *ARRANGEMENTS)):
        mask = _arranged(volume.array, way)
        if mask.shape == image.array.shape:
            inside[way] = image.array[mask]
            if way == said and _is_organ(inside[way]):
                break
    else:
        way = _best_way(inside, pair, (volume, image))
    _check_spacing(way, pair, (volume, image))
    return _arranged(volume.array, way).astype(np.uint8)


def _arranged(mask: NDArray[Any], way: str) -> NDArray[np.bool_]:
    """The mask (Z, Y, X) turned to `ORIENTATION`, if its axes x, y, z go `way`."""
    there = nib.orientations.axcodes2ornt(ORIENTATION)
    turned = nib.orientations.apply_orientation(
        mask.T, nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(way), there)
    )
    return np.asarray(turned.T, bool)


def _is_organ(values: NDArray[np.int16]) -> bool:
    return HU_INSIDE[0] <= float(np.median(values)) <= HU_INSIDE[1]


def _best_way(inside: dict[str, NDArray[np.int16]], pair: _Pair, both: tuple[Volume, Volume]) -> str:
    """Where what the header says is wrong: the way on an organ, of several the one with clearly the least fat and gas.

    Args:
        inside: way -> HU inside the mask, for all that have the image's shape.
        pair: for the sentences.
        both: label and image.
    """
    if not inside:
        label, image = (_times(volume.array) for volume in both)
        raise UserError(
            f"{pair.label} has {label} voxels, but its series {pair.series} {image}: a slice is missing, or they are not of "
            "one patient."
        )
    good = [way for way, values in inside.items() if _is_organ(values)]
    if not good:
        found = ", ".join(f"{np.median(values):g}" for values in inside.values())
        raise UserError(
            f"{pair.label} lies on no organ of {pair.series}, however it is flipped: the median inside is {found} HU, but must "
            f"be {HU_INSIDE[0]:g} to {HU_INSIDE[1]:g}."
        )
    share = {way: float(((inside[way] > ORGAN_HU[0]) & (inside[way] < ORGAN_HU[1])).mean()) for way in good}
    first, *others = sorted(good, key=lambda way: -share[way])
    if others and share[first] - share[others[0]] < CLEARLY:
        raise UserError(
            f"{pair.label} lies otherwise than it says, and {len(good)} ways of flipping it fit {pair.series}: give it the "
            "orientation of its image."
        )
    return first


def _check_spacing(way: str, pair: _Pair, both: tuple[Volume, Volume]) -> None:
    """Refuses a label with other voxels than its image; 1 mm is what a writer says who does not know."""
    label, image = both
    for letter, mm in zip(way, label.spacing[::-1], strict=True):
        other = image.spacing["SPL".index(OPPOSITE.get(letter, letter))]
        if mm != 1.0 and abs(mm - other) > SPACING_SLACK * other:
            raise UserError(
                f"{pair.label} has voxels of {mm:.4g} mm where its series {pair.series} has {other:.4g} mm: they are not of one "
                "study."
            )


def _times(array: NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape[::-1]))
