"""What a stranger's file may do: stay below the root, fit into memory, unpack to a bounded size. No Streamlit in here."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import nibabel as nib

from unetq.errors import UserError
from unetq.image.dicom import dicom_files
from unetq.image.raster import quiet
from unetq.image.tiff import tiff_pages
from unetq.runtime.memory import available_bytes

__all__ = ["Limits", "below", "check_size", "unpack"]

CHUNK = 1 << 20


class Limits:
    """Of an unpacked archive: the largest CT series are a tenth of it."""

    FILES = 20_000
    BYTES = 4 << 30


def below(text: str, roots: Sequence[Path]) -> Path:
    """The path that a person named, links followed; a relative one is below the first root.

    Raises:
        UserError: it lies outside of the roots, whether it exists there or not.
    """
    try:
        path = (roots[0] / Path(text.strip()).expanduser()).resolve()
    except (OSError, RuntimeError, ValueError):
        raise UserError("This is no path of a file.") from None
    if any(path == root.resolve() or path.is_relative_to(root.resolve()) for root in roots):
        return path
    raise UserError(
        f"{text.strip()} lies outside of {roots[0].resolve()}, the folder that this viewer was started for: upload the file, "
        "or start the viewer with --data FOLDER."
    )


def unpack(archive: IO[bytes], folder: Path, name: str) -> None:
    """Unpacks a zip's files side by side under numbers: no name of the archive reaches the disk, only suffixes do.

    Raises:
        UserError: no zip, damaged, encrypted, or more and larger files than `Limits` allows.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = [entry for entry in packed.infolist() if not entry.is_dir()]
            if len(entries) > Limits.FILES:
                raise UserError(f"{name} holds {len(entries)} files, but at most {Limits.FILES} are unpacked.")
            left = Limits.BYTES
            for number, entry in enumerate(entries):
                if entry.flag_bits & 1:
                    raise UserError(f"{name} is encrypted: unpack it first.")
                with (
                    packed.open(entry) as source,
                    (folder / f"{number:05d}{_suffix(entry.filename)}").open("wb") as out,
                ):
                    # The sizes in the archive are a claim; what comes out is counted.
                    while part := source.read(CHUNK):
                        left -= len(part)
                        if left < 0:
                            raise UserError(
                                f"{name} unpacks to more than {Limits.BYTES >> 30} GiB: open a smaller part."
                            )
                        out.write(part)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name} is a damaged zip, or one that cannot be unpacked here: pack it again.") from None


def check_size(path: Path) -> None:
    """Believes a file's header just enough to refuse what would not fit into memory, before a voxel is read.

    Raises:
        UserError: it promises more voxels than memory can hold.
    """
    promised, free = _promised(path), available_bytes()
    # Once as stored, once converted, and the same again while it is shown.
    if 3 * promised > free:
        raise UserError(
            f"{path} says that it holds {promised / 2**30:.1f} GiB of voxels, for which {free / 2**30:.1f} GiB of memory "
            "are not enough: open a smaller part, or copy the file again if that is not so."
        )


def _promised(path: Path) -> int:
    """Bytes of voxels that a file's header announces; 0 where it is not understood, which the reader will say."""
    name = path.name.lower()
    try:
        if path.is_dir():
            return _series_bytes(path)
        if name.endswith((".nii", ".nii.gz")):
            image: Any = nib.load(path)
            return 8 * math.prod(int(n) for n in image.shape)  # scaled voxels are float64
        if name.endswith((".tif", ".tiff")):
            pages = tiff_pages(path)
            return 4 * sum(page.width * page.height for page in pages)
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except (
        OSError,
        ValueError,
        KeyError,
        OverflowError,
        EOFError,
        zlib.error,
        MemoryError,
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
    ):
        return 0
    return 4 * _picture_pixels(head)


def _series_bytes(folder: Path) -> int:
    import SimpleITK as sitk  # noqa: N813 - here, as in raster.py

    files = dicom_files(folder)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    largest = 0
    for path in files[:: max(1, len(files) // 8)]:
        reader.SetFileName(str(path))
        try:
            with quiet():
                reader.ReadImageInformation()
        except (RuntimeError, MemoryError):
            continue
        largest = max(largest, 4 * math.prod(map(int, reader.GetSize())))
    return largest * len(files)


def _picture_pixels(head: bytes) -> int:
    """Width times height of a PNG or JPEG."""
    if head.startswith(b"\x89PNG") and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return int(width * height)
    at = 2
    while head.startswith(b"\xff\xd8") and at + 9 <= len(head) and head[at] == 0xFF:
        marker, (length,) = head[at + 1], struct.unpack(">H", head[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return int(width * height)
        at += 2 + length
    return 0


def _suffix(name: str) -> str:
    lower = name.lower()
    suffix = ".nii.gz" if lower.endswith(".nii.gz") else Path(lower).suffix
    return suffix if suffix.replace(".", "").isalnum() and len(suffix) < 10 else ""
