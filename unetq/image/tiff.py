"""The page list of a TIFF, checked against the length of the file.

libtiff stops at the first directory that it cannot read and decodes what it has: a cut file may look like a shorter
stack. So the directories are walked here, and the reader compares what it got with this list.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unetq.errors import UserError

__all__ = ["Page", "tiff_pages"]

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, DESCRIPTION = 254, 256, 257, 258, 259, 270
STRIPS, SAMPLES, STRIP_BYTES, TILES, TILE_BYTES, SAMPLE_FORMAT = 273, 277, 279, 324, 325, 339
# Field type -> its bytes, and the struct letters of the whole numbers.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
NOT_A_SLICE = 1 | 4  # subfile bits of a thumbnail and of a transparency mask


@dataclass(frozen=True)
class Page:
    """One image of the file.

    Attributes:
        width: pixels in a row.
        height: rows.
        dtype: numpy's name of the sample type, like "uint16"; "" for one that numpy lacks.
        samples: samples of a pixel, 1 for gray.
    """

    width: int
    height: int
    dtype: str
    samples: int


class _DamageError(Exception):
    """The file ends before its directories and pixels do, or they make no sense."""


@dataclass(frozen=True)
class _Layout:
    """How numbers are stored: byte order, and widths of classic TIFF or BigTIFF."""

    order: str
    count: str
    entry: str
    offset: str
    start: int


def tiff_pages(path: Path) -> list[Page]:
    """The pages in the file's order, without thumbnails and transparency masks.

    Raises:
        UserError: no TIFF, cut off, or damaged.
    """
    try:
        with path.open("rb") as file:
            return _walk(file, path.stat().st_size)
    except (_DamageError, struct.error) as error:
        raise UserError(f"{path} is a truncated or corrupt TIFF ({error}): copy it again from its source.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


def _walk(file: BinaryIO, size: int) -> list[Page]:
    layout = _layout(file.read(16))
    offset, seen, pages, promised = layout.start, set[int](), list[Page](), 0
    while offset:
        if offset in seen:
            raise _DamageError("its directories go in a circle")
        seen.add(offset)
        tags, text, offset = _directory(file, size, offset, layout)
        _check_pixels(tags, size, len(seen))
        if not tags.get(SUBFILE, (0,))[0] & NOT_A_SLICE:
            pages.append(_page(tags))
        promised = promised or _imagej_pages(text)
    if not pages:
        raise _DamageError("it holds no page")
    if promised > len(pages):  # ImageJ writes one directory only for stacks above 4 GB
        raise _DamageError(f"{promised} pages are announced, but {len(pages)} listed")
    return pages


def _layout(head: bytes) -> _Layout:
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        raise _DamageError("it does not begin like a TIFF")
    (magic,) = struct.unpack(order + "H", head[2:4])
    if magic == 42:
        return _Layout(order, "H", "HHI4s", "I", *struct.unpack(order + "I", head[4:8]))
    if magic == 43 and len(head) == 16:
        return _Layout(order, "Q", "HHQ8s", "Q", *struct.unpack(order + "Q", head[8:16]))
    raise _DamageError("it does not begin like a TIFF")


def _directory(
    file: BinaryIO, size: int, offset: int, layout: _Layout
) -> tuple[dict[int, tuple[int, ...]], bytes, int]:
    """The tags' values, the description, and where the next directory begins (0: none)."""
    file.seek(offset)
    n = _take(file, layout.order + layout.count)
    if n == 0 or n * struct.calcsize(layout.order + layout.entry) > size:
        raise _DamageError("a directory lies beyond the end of the file")
    form = struct.Struct(layout.order + layout.entry)
    entries = list(form.iter_unpack(_exactly(file, n * form.size)))
    following = _take(file, layout.order + layout.offset)
    tags: dict[int, tuple[int, ...]] = {}
    text = b""
    for tag, kind, count, inline in entries:
        data, length = inline, SIZES.get(kind, 0) * count
        if length > len(inline):
            (at,) = struct.unpack(layout.order + layout.offset, inline)
            if at + length > size:
                raise _DamageError("a directory points beyond the end of the file")
            file.seek(at)
            data = _exactly(file, length)
        if tag == DESCRIPTION:
            text = data[:length]
        elif kind in WHOLE and count:
            tags[tag] = struct.unpack(f"{layout.order}{count}{WHOLE[kind]}", data[:length])
    return tags, text, following


def _take(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, _exactly(file, struct.calcsize(form)))[0])


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise _DamageError("a directory lies beyond the end of the file")
    return data


def _check_pixels(tags: dict[int, tuple[int, ...]], size: int, number: int) -> None:
    starts = tags.get(STRIPS) or tags.get(TILES)
    lengths = tags.get(STRIP_BYTES) or tags.get(TILE_BYTES)
    if WIDTH not in tags or HEIGHT not in tags or not starts or not lengths or len(starts) != len(lengths):
        raise _DamageError(f"directory {number} describes no pixels")
    if any(start + length > size for start, length in zip(starts, lengths)):
        raise _DamageError(f"page {number} is cut off by the end of the file")
    row = -(-tags[WIDTH][0] * tags.get(SAMPLES, (1,))[0] * tags.get(BITS, (1,))[0] // 8)
    if tags.get(COMPRESSION, (1,))[0] == 1 and sum(lengths) < row * tags[HEIGHT][0]:
        raise _DamageError(f"page {number} has fewer bytes than its size needs")


def _page(tags: dict[int, tuple[int, ...]]) -> Page:
    kind = {1: "uint", 2: "int", 3: "float"}.get(tags.get(SAMPLE_FORMAT, (1,))[0])
    bits = tags.get(BITS, (1,))[0]
    dtype = f"{kind}{bits}" if kind and bits in (8, 16, 32, 64) else ""
    return Page(tags[WIDTH][0], tags[HEIGHT][0], dtype, tags.get(SAMPLES, (1,))[0])


def _imagej_pages(text: bytes) -> int:
    found = re.search(rb"^images=(\d{1,9})\s*$", text, re.MULTILINE) if text.startswith(b"ImageJ=") else None
    return int(found[1]) if found else 0
