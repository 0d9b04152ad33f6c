"""NIH Pancreas-CT as exported slices: `images/` and `masks/` with names `PANCREAS_<patient>-1<slice>`, gray = clip(HU, 0, 255).

Such files say neither their pixel size nor the HU beyond that range. What `hu/` holds beside them (`img_NNN.npz`, key `data`, in
HU) has no patient's name; it is used to verify that the gray values are that clip.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.folder import FolderOptions, folder_files, read_folder
from unetq.errors import UserError
from unetq.image.read import read

__all__ = ["HU_RANGE", "files", "find_slices", "patients"]

HU_RANGE = (0.0, 255.0)
SUBJECT = r"PANCREAS_(\d+)"
IMAGES, MASKS, HU = "images", "masks", "hu"
# The exported files hold no spacing. The set's patients have 0.66 to 0.98 mm in the plane and 0.5 to 1 mm between slices.
SPACING = (0.8, 0.8, 1.0)
# Mean difference in gray levels between a picture and its own HU slice, by JPEG alone (measured: 1.1).
JPEG_NOISE = 3.0
# Every so many pixels are enough to recognise a slice.
STRIDE = 8


def find_slices(folder: Path) -> Path | None:
    """The folder that holds `images/` and `masks/` of patients: `folder` itself or `folder/nih`; None where there is none."""
    for place in (folder, folder / "nih"):
        if (place / MASKS).is_dir() and (place / IMAGES).is_dir() and any((place / IMAGES).glob("PANCREAS_*")):
            return place
    return None


def files(place: Path) -> list[Path]:
    """All files that are read."""
    return [*folder_files(place / IMAGES), *folder_files(place / MASKS), *_hu_images(place)]


def patients(place: Path) -> Iterator[tuple[int, NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]]:
    """(number, image in HU within `HU_RANGE`, label, affine) of each patient: (Z, Y, X) in LPS, in the order of the slices.

    Raises:
        UserError: as `read_folder`, or the gray values are not clip(HU, 0, 255).
    """
    _check_gray(place)
    _, cases = read_folder(place / IMAGES, place / MASKS, FolderOptions(SUBJECT))
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    for case in cases:  # exported with the spine on top, which in LPS is below
        yield int(case.subject), case.image[:, ::-1].astype(np.int16), case.label[:, ::-1], affine


def _hu_images(place: Path) -> list[Path]:
    return sorted((place / HU).glob("img_*.npz")) if (place / HU).is_dir() else []


def _check_gray(place: Path) -> None:
    """Refuses pictures of another gray scale, wherever a slice of `hu/` is one of them."""
    slices = [(path, np.clip(_hu(path), *HU_RANGE)) for path in _hu_images(place)]
    if not slices:
        return
    for picture in folder_files(place / IMAGES):
        gray = read(picture).array[0].astype(np.float64)
        for path, clipped in slices:
            if clipped.shape != gray.shape:
                continue
            small, other = gray[::STRIDE, ::STRIDE], clipped[::STRIDE, ::STRIDE]
            like = np.corrcoef(small.ravel(), other.ravel())[0, 1] > 0.995
            if like and np.abs(small - other).mean() > JPEG_NOISE:
                raise UserError(
                    f"{picture} is not clip(HU, 0, 255) of its own slice {path}: export the slices again, or leave "
                    f"{place / HU} out."
                )


def _hu(path: Path) -> NDArray[np.float64]:
    try:
        with np.load(path, allow_pickle=False) as file:
            data = np.asarray(file["data"], np.float64)
    except (OSError, ValueError, KeyError):
        raise UserError(f"{path} holds no slice (an array of the name data): copy it again from its source.") from None
    if data.ndim != 2:
        raise UserError(f"{path} holds an array of {data.ndim} axes, but a slice has two.")
    return data
