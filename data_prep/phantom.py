"""Made-up studies in each challenge's own on-disk layout, read by the same readers as the real thing; same seed, same bytes."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from unetq.data_prep.common import PHANTOM_NOTE
from unetq.data_prep.em import LABELS, MIN_SIDE, VOLUME
from unetq.data_prep.em_phantom import SIZE, em_pages
from unetq.data_prep.gm_phantom import SIZE as MR_SIZE
from unetq.data_prep.gm_phantom import write_studies
from unetq.data_prep.nih_phantom import SIZE as CT_SIZE
from unetq.data_prep.nih_phantom import write_patients
from unetq.errors import UserError, nearest
from unetq.files import atomic, atomic_text, make_folder

__all__ = ["PHANTOMS", "Request", "phantom", "write_em"]


@dataclass(frozen=True)
class Request:
    """What is to be made: `cases` studies (em: slices), decided by `seed`, of the data set's own size or of `size` pixels."""

    cases: int
    seed: int
    size: int | None = None

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise UserError(f"A phantom of {self.cases} cases cannot be made: ask for 1 or more.")
        if self.seed < 0:
            raise UserError(f"The seed of a phantom is {self.seed}, but must be 0 or more.")


def phantom(dataset: str, out: Path, cases: int, seed: int, size: int | None = None) -> None:
    """Writes a phantom data set.

    Args:
        dataset: a name of `PHANTOMS`.
        out: folder to write, in the layout of the challenge.
        cases: studies (em: slices).
        seed: decides every byte.
        size: side of a slice in pixels; default: that of the real set.

    Raises:
        UserError: no phantom of that name, no such seed, number or size, other files of those names in `out`, or the
            folder cannot be written.
    """
    if dataset not in PHANTOMS:
        raise UserError(f'There is no phantom of "{dataset}": {nearest(dataset, PHANTOMS)}')
    request = Request(cases, seed, size)
    PHANTOMS[dataset](make_folder(out), request)
    atomic_text(out / PHANTOM_NOTE, f"Made-up {dataset} studies (unetq data phantom, {cases} cases, seed {seed}).\n")


def write_em(out: Path, request: Request) -> None:
    """`train-volume.tif` and `train-labels.tif`, a page a slice, as the ISBI 2012 challenge has them.

    Raises:
        UserError: a size that the reader would refuse, or `out` holds other files of these names.
    """
    size = SIZE if request.size is None else request.size
    if size < MIN_SIDE or size % 2:
        raise UserError(f"Phantom EM slices of {size} pixels cannot be made: ask for an even size from {MIN_SIDE}.")
    images, labels = em_pages(request.cases, request.seed, size)
    with atomic(out / VOLUME) as volume, atomic(out / LABELS) as label:  # both or none
        _write_tiff(images, volume, out / VOLUME)
        _write_tiff(labels, label, out / LABELS)


def write_nih(out: Path, request: Request) -> None:
    """A DICOM series a patient and NIfTI labels, as The Cancer Imaging Archive has them.

    Raises:
        UserError: a size too small, or `out` holds other patients.
    """
    write_patients(out, request.cases, request.seed, CT_SIZE if request.size is None else request.size)


def write_gm(out: Path, request: Request) -> None:
    """An MR study a session and a mask a rater, as the SCGM challenge has them.

    Raises:
        UserError: a size too small, or `out` holds other studies.
    """
    write_studies(out, request.cases, request.seed, MR_SIZE if request.size is None else request.size)


# A phantom is one function that writes the challenge's layout, and one line here.
PHANTOMS: dict[str, Callable[[Path, Request], None]] = {
    "em": write_em,
    "gm": write_gm,
    "nih": write_nih,
}


def _write_tiff(pages: NDArray[np.uint8], temporary: Path, path: Path) -> None:
    """Writes pages, to become `path`; refuses where that is another file, because it may be the user's real data."""
    try:
        sitk.WriteImage(sitk.GetImageFromArray(pages), str(temporary))
    except RuntimeError as error:
        raise OSError("the folder is read-only or the disk is full") from error
    if path.exists() and not filecmp.cmp(path, temporary, shallow=False):
        raise UserError(f"{path} is there already and may be real data: name another folder for the phantom.")
