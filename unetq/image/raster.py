"""TIFF, PNG and JPEG by SimpleITK; what its libraries would pass over in silence is refused here."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.tiff import tiff_pages
from unetq.image.volume import Format, Volume

__all__ = ["quiet", "read_jpeg", "read_png", "read_tiff", "write_png", "write_tiff"]

QUIET = threading.Lock()
FLUSH = ctypes.CDLL(None).fflush
PNG_START, JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"


def read_tiff(path: Path) -> Volume:
    """Reads all pages of a TIFF.

    Raises:
        UserError: truncated, corrupt, coloured, pages of different sizes, or a sample type that is not read.
    """
    pages = tiff_pages(path)
    first = pages[0]
    for number, page in enumerate(pages, 1):
        if page != first:
            raise UserError(f"{path}: page {number} differs from page 1 in size or type; all must be alike.")
    if first.width == 0 or first.height == 0:
        raise UserError(f"{path} is empty: its pages have {first.width} x {first.height} pixels.")
    volume = _read(path, "tiff", "TIFFImageIO")
    array = volume.array
    if array.shape != (len(pages), first.height, first.width) or (first.dtype and array.dtype.name != first.dtype):
        raise UserError(
            f"{path} holds {len(pages)} pages of {first.width} x {first.height} {first.dtype}, but cannot be read as "
            "such: save it as an uncompressed gray TIFF."
        )
    return volume


def read_png(path: Path) -> Volume:
    """Reads a gray PNG.

    Raises:
        UserError: truncated, corrupt or coloured.
    """
    data = _bytes(path)
    if not _png_is_whole(data):
        raise UserError(f"{path} is a truncated or corrupt PNG: copy it again from its source.")
    return _read(path, "png", "PNGImageIO")


def read_jpeg(path: Path) -> Volume:
    """Reads a gray JPEG.

    Raises:
        UserError: truncated, corrupt or coloured.
    """
    if not _jpeg_is_whole(_bytes(path)):
        raise UserError(f"{path} is a truncated or corrupt JPEG: copy it again from its source.")
    return _read(path, "png", "JPEGImageIO")


def write_tiff(array: NDArray[Any], like: Volume, path: Path) -> None:
    """Writes a mask or an image (Z, Y, X) as a multi-page TIFF."""
    _write(array if array.shape[0] > 1 else array[0], like, path, "TIFFImageIO")


def write_png(array: NDArray[Any], like: Volume, path: Path) -> None:
    """Writes a mask or an image (1, Y, X) as a PNG.

    Raises:
        UserError: it has several slices.
    """
    if array.shape[0] != 1:
        raise UserError(f"{path} cannot hold {array.shape[0]} slices: a PNG holds one, so write a .tif or .nii.gz.")
    _write(array[0], like, path, "PNGImageIO")


def _read(path: Path, form: Format, reader: str) -> Volume:
    import SimpleITK as sitk  # noqa: N813 - here, because it takes 94 MiB that a NIfTI study or a timing does without

    try:
        with quiet():
            image = sitk.ReadImage(str(path), imageIO=reader)
        array: NDArray[Any] = sitk.GetArrayFromImage(image)
    except (RuntimeError, MemoryError):
        raise UserError(f"{path} is corrupt or of a kind that is not read: save it as a gray image again.") from None
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = _gray(array, path)
    spacing = (*image.GetSpacing(), 1.0)
    z, y, x = (float(s) if np.isfinite(s) and s > 0 else 1.0 for s in (spacing[2], spacing[1], spacing[0]))
    array = array if array.ndim == 3 else array[None]
    return Volume(array, (z, y, x), np.diag([x, y, z, 1.0]), form)


def _gray(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The one channel of (..., channels) that are all the same; an opaque alpha channel is no matter."""
    gray = array[..., 0]
    if array.shape[-1] in (2, 4) and array.dtype.kind == "u":
        if not np.all(array[..., -1] == np.iinfo(array.dtype).max):
            raise UserError(f"{path} is partly transparent, but only gray images can be segmented: flatten it.")
        array = array[..., :-1]
    if not all(np.array_equal(gray, array[..., c]) for c in range(1, array.shape[-1])):
        raise UserError(f"{path} is a colour image, but only gray ones can be segmented: save one channel of it.")
    return np.ascontiguousarray(gray)


def _write(array: NDArray[Any], like: Volume, path: Path, writer: str) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(like.spacing[::-1][: array.ndim])
    try:
        with quiet():
            sitk.WriteImage(image, str(path), useCompression=True, imageIO=writer)
    except RuntimeError as error:
        raise OSError("the folder is read-only or the disk is full") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Sends what the C libraries print nowhere: libtiff writes to standard error, beside the one sentence, and ITK's
    JPEG reader to standard output, into the JSON.

    The lock keeps a second thread from taking the muted streams for the ones to restore.
    """
    with QUIET, ExitStack() as stack:
        FLUSH(None)  # what was printed before is not ours to drop
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        for stream in (1, 2):
            try:
                kept = os.dup(stream)
            except OSError:  # the process has no such stream
                continue
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, stream)
            os.dup2(nowhere, stream)
        stack.callback(FLUSH, None)  # first of all: printf keeps its text in a buffer
        yield


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


def _png_is_whole(data: bytes) -> bool:
    """All chunks up to the end chunk are there, and their check sums are right."""
    at = len(PNG_START)
    if not data.startswith(PNG_START):
        return False
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        end = at + 12 + length
        body = memoryview(data)[at + 4 : end - 4]
        if end > len(data) or zlib.crc32(body) != struct.unpack(">I", data[end - 4 : end])[0]:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    """The end marker follows the scan; a thumbnail in an earlier segment has one too, so segments are walked."""
    at = len(JPEG_START)
    if not data.startswith(JPEG_START):
        return False
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, (length,) = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])
        if marker == 0xDA:
            return data.find(b"\xff\xd9", at) > 0
        at += 2 + length
    return False
