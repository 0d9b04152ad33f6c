"""NIfTI by nibabel; the mask keeps the study's own geometry fields, byte for byte."""

from __future__ import annotations

import gzip
import math
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import IOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.volume import Volume

__all__ = ["read_nifti", "write_nifti"]

# Spatial unit of xyzt_units -> mm; a file that names none means mm.
MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
CHUNK = 1 << 20
GZIP_RATIO = 1040  # no byte of DEFLATE makes more than 1032
NIFTI_2 = 540  # length of its header; 348 in NIfTI-1
BROKEN = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
    zlib.error,
)


def read_nifti(path: Path) -> Volume:
    """Reads a 2-D or 3-D .nii or .nii.gz, intensities scaled as its header says.

    Raises:
        UserError: truncated, corrupt, 4-D, empty, or of complex or colour voxels.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with (
            _quiet(),
            cast(IOBase, gzip.open(path) if packed else path.open("rb")) as file,
        ):
            image = _open(file, path)
            _check_length(image, path, packed)
            array = np.asarray(image.dataobj)
            while file.read(CHUNK):  # to the end: gzip's check sum comes last
                pass
        affine = _affine(image.header, path)
    except UserError:
        raise
    except BROKEN:
        raise UserError(f"{path} is a truncated or corrupt NIfTI: copy it again from its source.") from None
    array = array.reshape((*array.shape, 1, 1)[:3], order="F").T
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    spacing = [float(s) for s in np.sqrt((affine[:3, :3] ** 2).sum(0))]
    spacing = [1.0 if s == 0 and n == 1 else s for s, n in zip(spacing, array.shape[::-1])]
    if not np.isfinite(affine).all() or 0.0 in spacing:
        raise UserError(f"{path} has an unusable geometry (its affine is singular or not finite): repair its header.")
    return Volume(array, (spacing[2], spacing[1], spacing[0]), affine, "nifti", image.header)


def write_nifti(array: NDArray[Any], like: Volume, path: Path) -> None:
    """Writes a mask or an image (Z, Y, X) with the geometry of `like`."""
    data = array.T
    if like.header is None:
        image = Nifti1Image(data, like.affine)
        image.header.set_xyzt_units("mm")
        image.set_qform(like.affine, "scanner")
        image.set_sform(like.affine, "scanner")
    else:
        header = like.header.copy()
        header.set_data_dtype(array.dtype)
        header["cal_min"] = header["cal_max"] = 0  # the display window of the image
        kind: Callable[..., Nifti1Image] = Nifti2Image if header["sizeof_hdr"] == NIFTI_2 else Nifti1Image
        # No affine given: nibabel then leaves qform, sform and pixdim as they are.
        image = kind(data.reshape(header.get_data_shape(), order="F"), None, header)
    image.to_filename(path)


def _open(file: IOBase, path: Path) -> Nifti1Image:
    start = file.read(4)
    file.seek(0)
    big = NIFTI_2 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
    kind = Nifti2Image if big else Nifti1Image
    image: Nifti1Image = kind.from_file_map(kind.make_file_map({"image": file}), mmap=False)
    shape = image.shape
    if len(shape) > 3 and max(shape[3:]) > 1:
        raise UserError(
            f"{path} is {len(shape)}-D ({_times(shape)}), but an image must be 2-D or 3-D: save one volume."
        )
    if not shape or 0 in shape:
        raise UserError(f"{path} is empty: its size is {_times(shape)} voxels.")
    if image.get_data_dtype().kind not in "iuf":
        raise UserError(f"{path} holds colour or complex voxels, but only gray ones can be segmented.")
    return image


def _check_length(image: Nifti1Image, path: Path, packed: bool) -> None:
    """Believes no header that promises more voxels than the file can hold; nibabel would reserve memory for them."""
    needed = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    if needed > path.stat().st_size * (GZIP_RATIO if packed else 1):
        raise ImageFileError("shorter than its header says")


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back nibabel's log of a strange header: it would stand on standard error, beside the one sentence."""
    log = imageglobals.logger
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _affine(header: Nifti1Header, path: Path) -> NDArray[np.float64]:
    """Voxel (x, y, z, 1) -> RAS mm."""
    unit = MILLIMETRES[header.get_xyzt_units()[0]]
    if not header["sform_code"] and not header["qform_code"]:
        warnings.warn(f"{path} names no orientation: its voxel sizes alone are used.", stacklevel=4)
        zooms = [float(z) or 1.0 for z in (*header.get_zooms(), 1.0, 1.0)[:3]]
        affine: NDArray[Any] = np.diag([*zooms, 1.0])
    else:
        affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= unit
    return affine


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
