"""NIH Pancreas-CT: the TCIA collection's DICOM series with their NIfTI labels, or slices exported from it.

A patient becomes a 3-D case in HU with axial slices along z, turned to LPS, at its own spacing; label 1 = pancreas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep import nih_series, nih_slices
from unetq.data_prep.common import (
    Description,
    cached,
    files_hash,
    is_prepared,
    make_prepared,
    refuse_existing,
    source_of,
    write_case,
)
from unetq.data_prep.subjects import subject_folds
from unetq.errors import UserError

__all__ = ["HELP", "find", "prepare"]

HELP = (
    "get Pancreas-CT and its labels from The Cancer Imaging Archive (`unetq data fetch nih` says how), or try made-up studies "
    "with `unetq data phantom nih DIR`"
)
SOURCE = "studies in the layout of NIH Pancreas-CT; its own: CC BY 3.0, cite Roth et al. 2016, doi 10.7937/K9/TCIA.2016.tNB1kqBU"
SNOMED = {"pancreas": "15776009"}
PATIENT = re.compile(r"PANCREAS_(\d+)")
# Raised whenever the prepared data of the same files would change.
VERSION = 1

# (number, image (Z, Y, X) in HU, label (Z, Y, X), affine)
Patient = tuple[int, NDArray[Any], NDArray[np.uint8], NDArray[np.float64]]


def find(folder: Path) -> Path | None:
    """The folder with the raw files in `folder`, or None where there are none."""
    return nih_series.find_series(folder) or nih_slices.find_slices(folder)


def prepare(source: Path, out: Path | None = None) -> Path:
    """Prepares the patients in a folder, once for the same content.

    Args:
        source: folder of the TCIA collection, or of `images/` and `masks/`, or the parent of such a folder `nih/`.
        out: folder to make; default: a cache named by the content.

    Returns:
        The prepared folder.

    Raises:
        UserError: files missing, damaged or not as they must be, or `out` is there already.
    """
    series, slices = nih_series.find_series(source), nih_slices.find_slices(source)
    place = series or slices
    if place is None:
        raise UserError(f"There are no pancreas studies in {source}: {HELP}.")
    files = nih_series.files(place) if series else nih_slices.files(place)
    digest = files_hash(files, VERSION)
    target = out or cached(place, f"nih-{digest[:12]}")
    if out is None and is_prepared(target):
        return target
    refuse_existing(target)
    names = sorted({_name(int(found[1])) for path in files if (found := PATIENT.search(str(path.relative_to(place))))})
    folds = subject_folds({name: name for name in names}, place)

    def write_cases(folder: Path) -> None:
        patients: Iterator[Patient] = nih_series.patients(place) if series else nih_slices.patients(place)
        for number, image, label, affine in patients:
            if not label.any():
                raise UserError(f"The label of {_name(number)} in {place} marks no pancreas: take the patient out.")
            write_case(folder, _name(number), image, label, affine)

    clipped = None if series else nih_slices.HU_RANGE
    about = Description("nih", ("CT",), ("pancreas",), source_of(place, SOURCE), digest, SNOMED, clipped=clipped)
    make_prepared(target, about, folds, write_cases)
    return target


def _name(number: int) -> str:
    return f"PANCREAS_{number:04d}"
