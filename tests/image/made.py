"""Made-up images and files for the tests."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

OBLIQUE = np.array([[0.4, -0.1, 0.3, -17.5], [0.2, 0.6, 0.0, 4.25], [-0.1, 0.05, 2.5, 88.0], [0, 0, 0, 1]])


def save(array: NDArray, path: Path, compressor: str | None = None) -> Path:
    """A TIFF, PNG or JPEG of an array (Z, Y, X) or (Y, X)."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    if compressor:
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(array))
    return path


def colour(channels: list[NDArray], path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.stack(channels, -1), isVector=True), str(path))
    return path


def nifti(path: Path, array: NDArray, affine: NDArray | None = OBLIQUE, **header: object) -> Path:
    """A NIfTI of (x, y, z); `header` sets fields, `kind` the class, `units` the spatial unit."""
    kind = header.pop("kind", nib.Nifti1Image)
    filled = kind(array, affine).header.copy()
    filled.set_xyzt_units(header.pop("units", "mm"))
    for key, value in header.items():
        filled[key] = value
    kind(array, None, filled).to_filename(path)  # with an affine, nibabel would set the codes itself
    return path


def big_tiff(array: NDArray, path: Path, order: str = "<") -> Path:
    """An uncompressed BigTIFF of uint16 (Z, Y, X); libtiff reads both byte orders."""
    z, y, x = array.shape
    page = array.astype(f"{order}u2")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HHHQ", 43, 8, 0, 16)
    out, each = bytearray(head), 8 + 20 * 9 + 8
    for i in range(z):
        data = len(out) + each
        following = data + 2 * y * x if i + 1 < z else 0
        tags = [(256, x), (257, y), (258, 16), (259, 1), (262, 1), (273, data), (277, 1), (278, y), (279, 2 * y * x)]
        out += struct.pack(order + "Q", len(tags))
        for tag, value in tags:
            out += struct.pack(order + "HHQQ", tag, 16, 1, value)
        out += struct.pack(order + "Q", following) + page[i].tobytes()
    path.write_bytes(out)
    return path


def png_of_no_pixels(path: Path) -> Path:
    """A PNG whose check sums are right and whose pixels are missing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IEND", b""))
    return path
