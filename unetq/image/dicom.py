"""One DICOM series of a folder by GDCM, in SimpleITK; a series that is not whole or not one is refused here."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.raster import quiet
from unetq.image.volume import Volume

__all__ = ["dicom_files", "read_series"]

MAGIC_AT, MAGIC = 128, b"DICM"
SUFFIXES = (".dcm", ".ima")
# The length of a DICOM element's value is two bytes, but for these kinds, where two empty bytes and four follow.
LONG_KINDS = (b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN")
JPEG = "1.2.840.10008.1.2.4."
# What GDCM reads; the rest of 1.2.840.10008.1.2 is compressed in a way that wants another codec.
READ = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.2": "explicit big endian",
    "1.2.840.10008.1.2.5": "RLE",
    **dict.fromkeys((f"{JPEG}50", f"{JPEG}51"), "JPEG"),
    **dict.fromkeys((f"{JPEG}57", f"{JPEG}70"), "JPEG lossless"),
    **dict.fromkeys((f"{JPEG}80", f"{JPEG}81"), "JPEG-LS"),
    **dict.fromkeys((f"{JPEG}90", f"{JPEG}91"), "JPEG 2000"),
    **dict.fromkeys((f"{JPEG}201", f"{JPEG}202", f"{JPEG}203"), "high-throughput JPEG 2000"),
}
BIG_ENDIAN = "1.2.840.10008.1.2.2"
RAW = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN)
UNREAD = {
    **dict.fromkeys((f"{JPEG}92", f"{JPEG}93"), "JPEG 2000 part 2"),
    **dict.fromkeys((f"{JPEG}94", f"{JPEG}95", f"{JPEG}204", f"{JPEG}205"), "JPIP, whose pixels lie on a server"),
    **dict.fromkeys((f"{JPEG}110", f"{JPEG}111", f"{JPEG}112"), "JPEG XL"),
    **dict.fromkeys((f"{JPEG}{number}" for number in range(100, 109)), "a video"),
}
# mm. Nearer slices are at one position. Distances may differ by a tenth of them, or by what one decimal rounds off.
SAME, ROUNDED, UNEVEN = 0.01, 0.11, 0.1
INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class _Slice:
    """What a file says of its slice: patient's LPS mm, `across` and `down` unit vectors along a row and a column."""

    path: Path
    series: str
    number: int | None
    modality: str
    size: tuple[int, ...]
    pixel: tuple[float, float]
    position: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    thickness: float

    @property
    def normal(self) -> NDArray[np.float64]:
        normal: NDArray[np.float64] = np.cross(self.across, self.down)
        return normal

    @property
    def depth(self) -> float:
        """Place along the normal, mm."""
        return float(self.position @ self.normal)


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files in a folder itself, by suffix or content, in the order of their names.

    Raises:
        UserError: the folder or a file in it cannot be read.
    """
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_file() and _is_dicom(path)]
    except OSError as error:
        raise UserError(f"Cannot read {error.filename or folder}: {error.strerror}.") from None


def read_series(folder: Path) -> Volume:
    """Reads the one series of a folder.

    Args:
        folder: its DICOM files are one series; other files and folders in it are passed over.

    Returns:
        Slices along Z in the order of their place along the normal, intensities by RescaleSlope and RescaleIntercept: of
        CT HU in int16 (fractions rounded, what no int16 holds cut off). The mask is to be written as a NIfTI.

    Raises:
        UserError: no DICOM file, several series, slices missing, double, displaced or unlike each other, instance
            numbers in another order than the positions, a codec that is not here, a damaged file, or a colour image.
    """
    files = dicom_files(folder)
    if not files:
        raise UserError(
            f"{folder} is no image file, and as a folder it holds no DICOM file: name the folder of a series."
        )
    with quiet():
        slices = [_describe(path) for path in files]
    _check_series(slices, folder)
    slices = sorted(slices, key=lambda s: s.depth)
    step = _check_places(slices, folder)
    _check_numbers(slices, folder)
    first = slices[0]
    with quiet():
        pages = [_pixels(one) for one in slices]
    down, across = first.pixel
    affine = np.eye(4)
    affine[:3] = np.stack([first.across * across, first.down * down, step, first.position], 1)
    affine[:2] = 0.0 - affine[:2]  # LPS of DICOM -> RAS
    return Volume(np.stack(pages), (float(np.linalg.norm(step)), down, across), affine, "nifti")


def _is_dicom(path: Path) -> bool:
    if path.name.upper() == "DICOMDIR" or path.name.startswith("."):
        return False
    return path.suffix.lower() in SUFFIXES or _head(path, MAGIC_AT + len(MAGIC)).endswith(MAGIC)


def _head(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def _describe(path: Path) -> _Slice:
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
        size = tuple(int(n) for n in reader.GetSize())
        tags = {key: reader.GetMetaData(key).strip("\0 ") for key in reader.GetMetaDataKeys()}
    except (RuntimeError, MemoryError):
        raise _unreadable(path) from None
    bits = tags.get("0028|0100", "16")
    held = math.prod(size) * (int(bits) if bits.isdigit() else 16) // 8
    # GDCM fills up what is missing with whatever lies in memory.
    if (uid := _transfer_syntax(path)) in RAW and _pixel_bytes(path, uid) < held:
        raise UserError(
            f"{path} says that it holds {held} bytes of pixels, but is shorter: copy it again from its source."
        )
    if int(tags.get("0028|0002", "1")) > 1:
        raise UserError(f"{path} is a colour image, but only gray ones can be segmented: take it out of the folder.")
    if tags.get("0028|0004", "") == "MONOCHROME1":
        raise UserError(f"{path} is stored inverted (MONOCHROME1): convert the series to MONOCHROME2.")
    if size[2:] not in ((), (1,)):
        raise UserError(f"{path} holds {size[2]} slices in one file: convert it to a file for each slice.")
    turn = _numbers(path, tags, "0020|0037", "ImageOrientationPatient", 6)
    down, across = _numbers(path, tags, "0028|0030", "PixelSpacing", 2)
    directions = turn.reshape(2, 3)
    if not np.allclose(directions @ directions.T, np.eye(2), atol=1e-2) or min(down, across) <= 0:
        raise UserError(f"{path} has an unusable geometry (orientation {turn.tolist()}, pixels {down} x {across} mm).")
    if "0028|1053" in tags and _numbers(path, tags, "0028|1053", "RescaleSlope", 1)[0] == 0:
        raise UserError(
            f"{path} has a RescaleSlope of 0, which leaves no image: copy the series again from its source."
        )
    thickness = tags.get("0018|0050", "")
    return _Slice(
        path,
        tags.get("0020|000e", ""),
        int(number) if (number := tags.get("0020|0013", "")).lstrip("+-").isdigit() else None,
        tags.get("0008|0060", ""),
        size[:2],
        (float(down), float(across)),
        _numbers(path, tags, "0020|0032", "ImagePositionPatient", 3),
        directions[0],
        directions[1],
        float(thickness) if thickness.replace(".", "", 1).isdigit() else 0.0,
    )


def _pixel_bytes(path: Path, uid: str) -> int:
    """Bytes of the longest value of an element (7FE0,0010) in an uncompressed file, as far as it lies in the file.

    An icon in the header has such an element, too, and pixels may look like the tag: both are shorter than the image.
    """
    data = path.read_bytes()
    tag, order = (b"\x7f\xe0\x00\x10", ">I") if uid == BIG_ENDIAN else (b"\xe0\x7f\x10\x00", "<I")
    longest, at = 0, data.find(tag)
    while at >= 0:
        start = at + (12 if data[at + 4 : at + 6] in LONG_KINDS else 8)
        if start <= len(data):
            (length,) = struct.unpack_from(order, data, start - 4)
            longest = max(longest, min(length, len(data) - start))
        at = data.find(tag, at + len(tag))
    return longest


def _numbers(path: Path, tags: dict[str, str], tag: str, name: str, count: int) -> NDArray[np.float64]:
    """Values of a tag.

    Raises:
        UserError: it is not there, or other than so many finite numbers.
    """
    try:
        values = np.array([float(text) for text in tags[tag].split("\\")])
    except (KeyError, ValueError):
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise UserError(
            f"{path} has no usable {name} ({tag.replace('|', ',')}), so its place is unknown: export it again."
        )
    return values


def _check_series(slices: Sequence[_Slice], folder: Path) -> None:
    """One series, one geometry."""
    series: dict[str, list[_Slice]] = {}
    for one in slices:
        series.setdefault(one.series, []).append(one)
    if len(series) > 1:
        named = "; ".join(f"{uid} ({len(its)} of the files, like {its[0].path.name})" for uid, its in series.items())
        raise UserError(f"{folder} holds slices of {len(series)} series: {named}: give each a folder of its own.")
    first = slices[0]
    for one in slices[1:]:
        unlike = {
            "size": one.size != first.size,
            "pixel spacing": not np.allclose(one.pixel, first.pixel, rtol=1e-3),
            "orientation": not np.allclose([one.across, one.down], [first.across, first.down], atol=1e-3),
        }
        for what, differs in unlike.items():
            if differs:
                raise UserError(f"{one.path} has another {what} than {first.path.name}: all slices must be alike.")


def _check_places(slices: Sequence[_Slice], folder: Path) -> NDArray[np.float64]:
    """The way from slice to slice in mm, which must be the same all along.

    Args:
        slices: in the order of their depth.
        folder: for the sentence.

    Raises:
        UserError: two at one place, a gap, or a slice beside the others.
    """
    first, last = slices[0], slices[-1]
    if len(slices) == 1:
        return first.normal * (first.thickness or 1.0)
    apart = [b.depth - a.depth for a, b in pairwise(slices)]
    usual = sorted(apart)[(len(apart) - 1) // 2]
    for (a, b), distance in zip(pairwise(slices), apart, strict=True):
        if distance < SAME:
            place = ", ".join(f"{mm:g}" for mm in b.position)
            raise UserError(f"{a.path} and {b.path.name} lie at the same position ({place}): leave one of them.")
    slack = min(max(UNEVEN * usual, ROUNDED), 0.5 * usual)
    for (a, b), distance in zip(pairwise(slices), apart, strict=True):
        if abs(distance - usual) > slack:
            what = "a slice is missing, or the distance" if distance > usual else "the distance"
            raise UserError(
                f"In {folder} {what} is uneven: {a.path.name} and {b.path.name} lie {distance:.4g} mm apart, others "
                f"{usual:.4g} mm; complete the series."
            )
    step: NDArray[np.float64] = (last.position - first.position) / (len(slices) - 1)
    for k, one in enumerate(slices):
        aside = float(np.linalg.norm(one.position - first.position - k * step))
        if aside > max(slack, 0.5 * usual):
            raise UserError(
                f"{one.path} lies {aside:.3g} mm beside the line of the other slices: export the series again."
            )
    return step


def _check_numbers(slices: Sequence[_Slice], folder: Path) -> None:
    """Instance numbers rise or fall all along, where every slice has one."""
    numbers = [one.number for one in slices if one.number is not None]
    if len(numbers) < max(2, len(slices)):
        return
    rises = np.sign(np.diff(numbers))
    way = 1 if rises.sum() >= 0 else -1
    wrong = np.flatnonzero(rises != way)
    if len(wrong):
        a, b = slices[wrong[0]], slices[wrong[0] + 1]
        raise UserError(
            f"In {folder} the instance numbers are in another order than the positions: {a.path.name} has number {a.number}, "
            f"and {b.path.name}, next to it, has {b.number}; export the series again."
        )


def _pixels(one: _Slice) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813 - here, as in raster.py

    try:
        array: NDArray[Any] = sitk.GetArrayFromImage(_reader(one.path).Execute()).reshape(one.size[::-1])
    except (RuntimeError, MemoryError):
        raise _unreadable(one.path) from None
    if one.modality == "CT":
        whole = np.rint(array) if array.dtype.kind == "f" else array
        array = np.clip(whole, INT16.min, INT16.max).astype(np.int16)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _reader(path: Path) -> Any:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _unreadable(path: Path) -> UserError:
    uid = _transfer_syntax(path)
    if uid and uid not in READ:
        kind = UNREAD.get(uid, "an unknown compression")
        return UserError(
            f"{path} is compressed as {kind} (transfer syntax {uid}), for which there is no codec here: convert the series "
            "to explicit little endian, for example with gdcmconv --raw."
        )
    kind = f" ({READ[uid]})" if uid else ""
    return UserError(
        f"{path} is truncated, corrupt or no DICOM image{kind}: copy it again from its source, or take it out of the folder."
    )


def _transfer_syntax(path: Path) -> str:
    """UID that the file's head names, "" where there is none."""
    data = _head(path, 4096)
    at = MAGIC_AT + len(MAGIC)
    if data[MAGIC_AT:at] != MAGIC:
        return ""
    while at + 12 <= len(data) and data[at : at + 2] == b"\x02\x00":  # group 2, always explicit little endian
        long = data[at + 4 : at + 6] in LONG_KINDS
        (length,) = struct.unpack_from("<I", data, at + 8) if long else struct.unpack_from("<H", data, at + 6)
        start = at + (12 if long else 8)
        if data[at + 2 : at + 4] == b"\x10\x00":
            return data[start : start + length].decode("ascii", "replace").strip("\0 ")
        at = start + length
    return ""
