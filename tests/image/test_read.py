"""Reading: what arrives is what the file holds, or one sentence says why not."""

from __future__ import annotations

import ctypes
import gzip
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.image.made import OBLIQUE, big_tiff, colour, nifti, png_of_no_pixels, save
from unetq.errors import UserError
from unetq.image.read import READERS, read, read_mask
from unetq.image.tiff import tiff_pages
from unetq.image.volume import Volume

RNG = np.random.default_rng(7)
STACK = RNG.integers(0, 65536, (4, 21, 34)).astype(np.uint16)
ROUGH = STACK // 4096 * 4096


def refused(path: Path, *words: str, capfd: pytest.CaptureFixture[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    said = str(caught.value)
    assert path.name in said
    assert "\n" not in said
    for word in words:
        assert word.lower() in said.lower(), said
    if capfd is not None:
        assert capfd.readouterr().err == ""
    return said


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("pages", [1, 2, 5])
@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
def test_tiff(dtype: type, pages: int, suffix: str, tmp_path: Path) -> None:
    array = (RNG.random((pages, 13, 17)) * 250).astype(dtype)
    volume = read(save(array if pages > 1 else array[0], tmp_path / f"a{suffix}"))
    assert (volume.format, volume.array.dtype, volume.header) == ("tiff", dtype, None)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.affine, np.diag([*volume.spacing[::-1], 1]))


@pytest.mark.parametrize("compressor", [None, "LZW", "Deflate", "PackBits"])
def test_tiff_cut_anywhere_is_refused(
    compressor: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = save(ROUGH, tmp_path / "whole.tif", compressor)
    np.testing.assert_array_equal(read(whole).array, ROUGH)
    data, cut = whole.read_bytes(), tmp_path / "cut.tif"
    for length in {*range(0, len(data), 29), *range(len(data) - 30, len(data))}:
        cut.write_bytes(data[:length])
        refused(cut, "corrupt")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff(order: str, tmp_path: Path) -> None:
    path = big_tiff(STACK, tmp_path / "big.tif", order)
    np.testing.assert_array_equal(read(path).array, STACK)
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        refused(path, "corrupt")


def test_tiff_damage_ends_in_an_image_or_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = save(ROUGH[:2], tmp_path / "a.tif", "Deflate").read_bytes()
    path = tmp_path / "b.tif"
    for _ in range(300):
        changed = bytearray(data)
        changed[RNG.integers(len(data))] ^= 1 << RNG.integers(8)
        path.write_bytes(changed)
        try:
            assert read(path).array.size
        except UserError as error:
            assert "b.tif" in str(error)
    assert capfd.readouterr().err == ""


def test_tiff_directories_in_a_circle(tmp_path: Path) -> None:
    path = big_tiff(STACK[:1], tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    data[16 + 8 + 180 : 16 + 8 + 188] = (16).to_bytes(8, "little")
    path.write_bytes(data)
    refused(path, "circle")


def test_imagej_stack_of_one_directory_is_no_single_slice(tmp_path: Path) -> None:
    path = big_tiff(STACK, tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    text = b"ImageJ=1.53t\nimages=40\n\0"
    entry = data.index((277).to_bytes(2, "little") + (16).to_bytes(2, "little"))  # samples: 1 is the default
    data[entry : entry + 20] = b"".join(
        v.to_bytes(n, "little") for v, n in ((270, 2), (2, 2), (len(text), 8), (len(data), 8))
    )
    path.write_bytes(data + text)
    refused(path, "40 pages")


def test_tiff_pages_of_different_sizes(tmp_path: Path) -> None:
    path = big_tiff(STACK, tmp_path / "a.tif")
    data = bytearray(path.read_bytes())
    second = 16 + 196 + 2 * 21 * 34
    height = data.index((257).to_bytes(2, "little"), second) + 12
    data[height : height + 8] = (20).to_bytes(8, "little")
    path.write_bytes(data)
    assert [page.height for page in tiff_pages(path)] == [21, 20, 21, 21]
    refused(path, "page 2")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png(dtype: type, tmp_path: Path) -> None:
    array = STACK[0].astype(dtype)
    volume = read(save(array, tmp_path / "a.png"))
    assert volume.format == "png"
    np.testing.assert_array_equal(volume.array, array[None])


def test_equal_channels_are_gray_and_colour_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    a = STACK[0].astype(np.uint8)
    solid = np.full_like(a, 255)
    for suffix in (".png", ".tif"):
        np.testing.assert_array_equal(read(colour([a, a, a], tmp_path / f"a{suffix}")).array, a[None])
        refused(colour([a, a, a // 2], tmp_path / f"b{suffix}"), "colour", capfd=capfd)
    np.testing.assert_array_equal(read(colour([a, a, a, solid], tmp_path / "c.png")).array, a[None])
    refused(colour([a, a, a, a], tmp_path / "d.png"), "transparent")


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)
    gray = read(save(smooth, tmp_path / "a.jpg")).array
    assert np.abs(gray[0].astype(int) - smooth).max() <= 4
    both = read(colour([smooth] * 3, tmp_path / "b.jpeg"))
    assert (both.array.shape, both.format) == ((1, 64, 80), "png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_cut_png_and_jpeg(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(STACK[0].astype(np.uint8), tmp_path / f"a{suffix}")
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refused(path, "corrupt")
    refused(png_of_no_pixels(tmp_path / "none.png"), "corrupt")
    assert capfd.readouterr().err == ""


def test_jpeg_library_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = save(STACK[0].astype(np.uint8), tmp_path / "a.jpg")
    data = bytearray(path.read_bytes())
    scan = data.index(b"\xff\xda")
    data[scan + 40 : scan + 60] = bytes(20)
    path.write_bytes(data)
    read(path)  # JPEG has no check sum: other pixels, but a whole picture
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti(suffix: str, kind: type, tmp_path: Path) -> None:
    array = STACK.T.astype(np.int16)
    volume = read(nifti(tmp_path / f"a{suffix}", array, kind=kind))
    np.testing.assert_array_equal(volume.array, array.T)
    np.testing.assert_allclose(volume.affine, OBLIQUE, rtol=1e-6)
    np.testing.assert_allclose(volume.spacing[::-1], np.linalg.norm(OBLIQUE[:3, :3], axis=0), rtol=1e-6)
    assert volume.array.flags.c_contiguous


@pytest.mark.parametrize(("shape", "depth"), [((6, 5), 1), ((6, 5, 1), 1), ((6, 5, 3), 3), ((6, 5, 3, 1), 3)])
def test_nifti_dimensions(shape: tuple[int, ...], depth: int, tmp_path: Path) -> None:
    array = RNG.random(shape).astype(np.float32)
    volume = read(nifti(tmp_path / "a.nii", array))
    np.testing.assert_array_equal(volume.array, array.reshape((6, 5, depth)).T)


@pytest.mark.parametrize(("units", "mm"), [("mm", 1), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1)])
def test_nifti_units(units: str, mm: float, tmp_path: Path) -> None:
    volume = read(nifti(tmp_path / "a.nii.gz", STACK.T, np.diag([4.0, 4.0, 50.0, 1.0]), units=units))
    np.testing.assert_allclose(volume.spacing, np.array([50, 4, 4]) * mm)
    np.testing.assert_allclose(volume.affine, np.diag([4 * mm, 4 * mm, 50 * mm, 1]))


def test_nifti_scaled_and_big_endian(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nib.Nifti1Image(data, OBLIQUE)
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    scaled = nib.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_array_equal(read(tmp_path / "a.nii").array, scaled.T)
    big = nib.Nifti1Image(data.astype(">i2"), OBLIQUE, nib.Nifti1Header(endianness=">"))
    big.to_filename(tmp_path / "b.nii")
    volume = read(tmp_path / "b.nii")
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, data.T)


def test_nifti_without_orientation(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", STACK.T, np.diag([2.0, 3.0, 4.0, 1.0]), sform_code=0, qform_code=0)
    with pytest.warns(UserWarning, match=r"a\.nii names no orientation"):
        volume = read(path)
    assert volume.spacing == (4.0, 3.0, 2.0)
    np.testing.assert_array_equal(volume.affine, np.diag([2.0, 3.0, 4.0, 1.0]))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.filterwarnings("ignore:.*names no orientation")
def test_nifti_damage(suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = nifti(tmp_path / f"a{suffix}", STACK[:1].T)
    data = path.read_bytes()
    for length in {*range(0, len(data), 61), *range(len(data) - 9, len(data))}:
        path.write_bytes(data[:length])
        refused(path, "corrupt")
    for _ in range(300):
        changed = bytearray(data)
        changed[RNG.integers(min(len(data), 348))] ^= 1 << RNG.integers(8)
        path.write_bytes(changed)
        try:
            found = read(path).array
        except UserError as error:
            assert path.name in str(error)
        else:  # gzip's check sum protects every pixel
            assert suffix == ".nii" or np.array_equal(found, STACK[:1])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((4, 4, 2, 3), np.float32), "4-D"),
        (np.zeros((4, 4, 1, 1, 3), np.float32), "5-D"),
        (np.zeros((0, 4, 1), np.float32), "empty"),
        (np.zeros((4, 4), np.complex64), "complex"),
        (np.full((4, 4, 2), np.nan, np.float32), "NaN"),
        (np.full((4, 4, 2), -np.inf, np.float64), "NaN"),
    ],
)
def test_nifti_refused(array: np.ndarray, word: str, tmp_path: Path) -> None:
    refused(nifti(tmp_path / "a.nii.gz", array), word)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_header_that_promises_too_much(suffix: str, tmp_path: Path) -> None:
    """Refused before memory is reserved: these would be 2**60 bytes."""
    path = nifti(tmp_path / "whole.nii", STACK.T, kind=nib.Nifti2Image)
    data = bytearray(path.read_bytes())
    data[16:48] = np.array([3, 2**20, 2**20, 2**19], np.int64).tobytes()  # dim of a NIfTI-2
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(data) if suffix == ".nii.gz" else data)
    refused(path, "corrupt")


def test_strange_header_says_nothing_beside_the_sentence(tmp_path: Path) -> None:
    """In a process of its own: pytest would catch nibabel's log."""
    path = nifti(tmp_path / "a.nii", STACK.T)
    data = bytearray(path.read_bytes())
    data[70:72] = b"ww"  # the data type
    path.write_bytes(data)
    code = f"import unetq.image.read as r\ntry: r.read({str(path)!r})\nexcept r.UserError: pass"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


def test_nifti_singular_affine(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", STACK.T, qform_code=0, sform_code=1, srow_x=[0, 0, 0, 0])
    read(path)  # a sheared but usable geometry is the file's own business
    path = nifti(tmp_path / "b.nii", STACK.T, qform_code=0, sform_code=1, **{f"srow_{a}": [0] * 4 for a in "xyz"})
    refused(path, "geometry")


def test_one_nan_in_a_tiff(tmp_path: Path) -> None:
    array = RNG.random((3, 8, 8)).astype(np.float32)
    array[2, 7, 7] = np.nan
    refused(save(array, tmp_path / "a.tif"), "NaN")


def test_missing_unknown_and_misnamed(tmp_path: Path) -> None:
    refused(tmp_path / "a.nii.gz", "no image file")
    refused(tmp_path / "a.tiif", 'did you mean ".tif')
    refused(tmp_path / "image", "without a suffix")
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "no image file", "no DICOM file")
    png = save(STACK[0], tmp_path / "a.png")
    for suffix in READERS:
        if suffix != ".png":
            refused(Path(shutil.copy(png, tmp_path / f"b{suffix}")), "corrupt")
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(b""))
    refused(tmp_path / "c.nii.gz", "corrupt")


def test_read_mask(tmp_path: Path) -> None:
    mask = (STACK % 5).astype(np.uint8)
    assert read_mask(save(mask, tmp_path / "a.tif")).dtype == np.uint8
    np.testing.assert_array_equal(read_mask(nifti(tmp_path / "a.nii", mask.T.astype(np.float64))), mask)
    for bad in (mask + 0.5, mask - 1.0, mask + 300.0):
        with pytest.raises(UserError, match="no mask"):
            read_mask(nifti(tmp_path / "b.nii", bad.T))


def test_a_volume_has_three_axes() -> None:
    with pytest.raises(ValueError, match="shape"):
        Volume(np.zeros((3, 3)), (1.0, 1.0, 1.0), np.eye(4), "png")


def test_every_reader_is_tried(tmp_path: Path) -> None:
    makers: dict[str, Callable[[Path], Path]] = {
        s: (lambda p: nifti(p, STACK.T)) if ".nii" in s else (lambda p: save(STACK[0].astype(np.uint8), p))
        for s in READERS
    }
    for suffix, make in makers.items():
        assert read(make(tmp_path / f"x{suffix}")).array.shape[1:] == (21, 34)
