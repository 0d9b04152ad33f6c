"""Any supported file or DICOM series in, a `Volume` out; and its mask back into a file of the same kind and geometry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError, nearest
from unetq.files import atomic
from unetq.image.dicom import read_series
from unetq.image.nifti import read_nifti, write_nifti
from unetq.image.raster import read_jpeg, read_png, read_tiff, write_png, write_tiff
from unetq.image.volume import Format, Volume

__all__ = ["READERS", "WRITERS", "check_output", "read", "read_mask", "write_mask", "write_volume"]

READERS: dict[str, Callable[[Path], Volume]] = {
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".png": read_png,
    ".jpg": read_jpeg,
    ".jpeg": read_jpeg,
    ".nii": read_nifti,
    ".nii.gz": read_nifti,
}
FORMATS: dict[str, Format] = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".png": "png",
    ".jpg": "png",
    ".jpeg": "png",
    ".nii": "nifti",
    ".nii.gz": "nifti",
}
# A mask is never written as a JPEG, whose compression would change its labels.
WRITERS: dict[str, Callable[[NDArray[Any], Volume, Path], None]] = {
    ".tif": write_tiff,
    ".tiff": write_tiff,
    ".png": write_png,
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
}


def read(path: Path | str) -> Volume:
    """Reads a TIFF, PNG, JPEG or NIfTI, or the one DICOM series of a folder.

    Raises:
        UserError: no such file, unknown suffix, damaged, 4-D, coloured, empty, or NaN or infinite pixels; of a series,
            as `read_series`.
    """
    path = Path(path)
    if path.is_dir():
        volume = read_series(path)
    else:
        reader = READERS[_suffix(path, READERS)]
        if not path.is_file():
            raise UserError(f"There is no image file {path}.")
        volume = reader(path)
    if not volume.array.size:
        raise UserError(f"{path} is empty: its size is {volume.array.shape}.")
    if volume.array.dtype.kind == "f" and not all(np.isfinite(plane).all() for plane in volume.array):
        raise UserError(f"{path} holds NaN or infinite pixels: replace them, for example by the background's value.")
    return volume


def read_mask(path: Path | str) -> NDArray[np.uint8]:
    """Reads labels, uint8 (Z, Y, X).

    Raises:
        UserError: not readable as an image, or other values than whole numbers from 0 to 255.
    """
    array = read(path).array
    if array.min() < 0 or array.max() > 255 or not np.array_equal(mask := array.astype(np.uint8), array):
        raise UserError(f"{path} is no mask: its values must be whole numbers from 0 to 255.")
    return mask


def write_mask(mask: NDArray[np.uint8], like: Volume, path: Path | str) -> None:
    """Writes a mask with the geometry of its study; the suffix says what kind of file.

    What was written is read again before it gets its name: some writers do not notice a full disk.

    Args:
        mask: labels (Z, Y, X), the shape of `like`.
        like: the study.
        path: .tif, .tiff, .png (one slice), .nii or .nii.gz.

    Raises:
        UserError: unknown suffix, several slices for a PNG, folder missing or read-only, or a full disk.
    """
    if mask.dtype != np.uint8 or mask.shape != like.array.shape:
        raise ValueError(f"The mask is {mask.dtype} {mask.shape}, but must be uint8 {like.array.shape}.")
    _write(mask, like, Path(path))


def write_volume(volume: Volume, path: Path | str) -> None:
    """Writes a study's own voxels and geometry; everything else as `write_mask`."""
    _write(volume.array, volume, Path(path))


def check_output(source: Path | str, out: Path | str) -> None:
    """Refuses an output that could not be written, before any work is done.

    Raises:
        UserError: other kind of file than the input's, folder missing or not writable, or the input itself.
    """
    source, out = Path(source), Path(out)
    kind = "nifti" if source.is_dir() else FORMATS[_suffix(source, READERS)]
    suffix = _suffix(out, WRITERS)
    if FORMATS[suffix] != kind:
        fit = " or ".join(s for s in WRITERS if FORMATS[s] == kind)
        raise UserError(f"The mask of {source.name} cannot be written to {out.name}: name a file that ends in {fit}.")
    if not out.parent.is_dir():
        raise UserError(f"There is no folder {out.parent} for {out.name}: make it first.")
    if out.is_dir():
        raise UserError(f"Cannot write {out}: it is a folder.")
    if out.resolve() == source.resolve() or (out.exists() and source.exists() and out.samefile(source)):
        raise UserError(f"The output {out} is the input itself: name another file, or the study would be lost.")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write {out}: the folder {out.parent} is read-only.")


def _write(array: NDArray[Any], like: Volume, path: Path) -> None:
    suffix = _suffix(path, WRITERS)
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for {path.name}: make it first.")
    with atomic(path) as temporary:
        WRITERS[suffix](array, like, temporary)
        if not _holds(temporary, array, suffix):
            raise OSError("what was written differs from what should be; the disk may be full")


def _holds(path: Path, array: NDArray[Any], suffix: str) -> bool:
    try:
        return np.array_equal(READERS[suffix](path).array, array)
    except UserError:
        return False


def _suffix(path: Path, known: Iterable[str]) -> str:
    name = path.name.lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()
    if suffix not in known:
        what = f'of "{suffix}" files' if suffix else "without a suffix"
        raise UserError(f"{path}: images {what} are not supported; {nearest(suffix, known)}")
    return suffix
