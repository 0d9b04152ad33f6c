"""DICOM slices of the tests, byte by byte: whatever is wrong with a real one can be made wrong here."""

from __future__ import annotations

import locale
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

EXPLICIT, DEFLATED, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (70, 80, 90))
HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.201"
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = (b"OB", b"OW", b"UN", b"SQ")
VRS = {
    0x0008_0016: b"UI",
    0x0008_0018: b"UI",
    0x0008_0060: b"CS",
    0x0008_103E: b"LO",
    0x0010_0010: b"PN",
    0x0018_0050: b"DS",
}
VRS |= {0x0020_000D: b"UI", 0x0020_000E: b"UI", 0x0020_0013: b"IS", 0x0020_0032: b"DS", 0x0020_0037: b"DS"}
VRS |= {0x0028_0004: b"CS", 0x0028_0008: b"IS", 0x0028_0030: b"DS", 0x0028_1052: b"DS", 0x0028_1053: b"DS"}


def dicom(path: Path, stored: NDArray, syntax: str = EXPLICIT, body: bytes | None = None, **tags: object) -> Path:
    """One slice.

    Args:
        path: file to write.
        stored: int16 or uint16 (Y, X), as stored.
        syntax: UID of the transfer syntax; compressed ones need the compressed `body`.
        tags: value of a data element, like `x0020_0013=7`; None leaves it out.
    """
    rows, columns = stored.shape
    values: dict[int, object] = {
        0x0008_0016: CT,
        0x0008_0018: f"2.25.9{zlib.crc32(path.name.encode())}",
        0x0008_0060: "CT",
        0x0010_0010: "PHANTOM",
        0x0020_000D: "2.25.1",
        0x0020_000E: "2.25.2",
        0x0020_0013: 1,
        0x0020_0032: (-100, 90, 0),
        0x0020_0037: (1, 0, 0, 0, -1, 0),
        0x0028_0002: 1,
        0x0028_0004: "MONOCHROME2",
        0x0028_0010: rows,
        0x0028_0011: columns,
        0x0028_0030: (0.8, 0.7),
        0x0028_0100: 16,
        0x0028_0101: 16,
        0x0028_0102: 15,
        0x0028_0103: int(stored.dtype.kind == "i"),
        0x0028_1052: -1024,
        0x0028_1053: 1,
    } | {int(name[1:].replace("_", ""), 16): value for name, value in tags.items()}
    data = b"".join(
        _element(tag, VRS.get(tag, b"US"), value) for tag, value in sorted(values.items()) if value is not None
    )
    pixels = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    data += _element(0x7FE0_0010, b"OW", pixels) if body is None else _encapsulated(body)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(data) + packer.flush()
    meta = _element(0x0002_0001, b"OB", b"\0\1") + _element(0x0002_0002, b"UI", CT)
    meta += _element(0x0002_0003, b"UI", values[0x0008_0018]) + _element(0x0002_0010, b"UI", syntax)
    meta += _element(0x0002_0012, b"UI", "2.25.5")
    head = bytes(128) + b"DICM" + _element(0x0002_0000, b"UL", struct.pack("<I", len(meta)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + meta + data)
    return path


def series(folder: Path, stored: NDArray, step: float = 2.5, **tags: object) -> list[Path]:
    """A slice for each of `stored` (Z, Y, X), `step` mm apart from the head down, numbered from 1."""
    return [
        dicom(
            folder / f"1-{k + 1:03d}.dcm", page, **{"x0020_0013": k + 1, "x0020_0032": (-100, 90, 50 - step * k)} | tags
        )
        for k, page in enumerate(stored)
    ]


def compressed(path: Path, hu: NDArray, number: int, compressor: str) -> Path:
    """A slice in JPEG lossless ("JPEG") or JPEG 2000 ("JPEG2000"), at the place that `series` gives it."""
    image = sitk.GetImageFromArray(hu[None])
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, -1))
    place = f"-100\\90\\{52.5 - 2.5 * number}"
    tags = {"0020|000d": "2.25.1", "0020|000e": "2.25.2", "0020|0013": str(number), "0020|0032": place}
    tags |= {"0020|0037": "1\\0\\0\\0\\-1\\0", "0008|0060": "CT", "0028|1052": "-1024", "0028|1053": "1"}
    for tag, value in tags.items():
        image.SetMetaData(tag, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    former = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(
        locale.LC_ALL, former
    )  # GDCM's JPEG 2000 encoder leaves "C", in which Python's text files are ASCII
    return path


def run_length(stored: NDArray) -> bytes:
    """RLE of 16 bits: the high bytes, then the low bytes, in literal runs."""
    words = stored.astype("<i2").view(np.uint8).reshape(-1, 2)
    segments = []
    for plane in (words[:, 1].tobytes(), words[:, 0].tobytes()):
        runs = b"".join(bytes([len(run) - 1]) + run for run in (plane[i : i + 128] for i in range(0, len(plane), 128)))
        segments.append(runs + bytes(len(runs) % 2))
    return struct.pack("<16I", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


def _element(tag: int, vr: bytes, value: object) -> bytes:
    if isinstance(value, bytes):
        content = value
    elif vr == b"US":
        content = struct.pack("<H", value)
    else:
        items = value if isinstance(value, tuple | list) else [value]
        content = "\\".join(map(str, items)).encode()
        content += (b"\0" if vr == b"UI" else b" ") * (len(content) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<HI", 0, len(content)) if vr in LONG else struct.pack("<H", len(content))) + content


def _encapsulated(body: bytes) -> bytes:
    body += bytes(len(body) % 2)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) + struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
    head = struct.pack("<HH", 0x7FE0, 0x0010) + b"OB" + struct.pack("<HI", 0, 0xFFFFFFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
