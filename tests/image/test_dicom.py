"""DICOM series: what arrives is what the files hold, at its place, or one sentence says why not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.image.dicom_made import (
    DEFLATED,
    EXPLICIT,
    HIGH_THROUGHPUT,
    JPEG_2000,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    compressed,
    dicom,
    run_length,
    series,
)
from unetq.errors import UserError
from unetq.image.dicom import dicom_files, read_series
from unetq.image.orient import turn
from unetq.image.read import check_output, read, write_mask

RNG = np.random.default_rng(11)
STORED = RNG.integers(0, 2500, (5, 12, 16)).astype(np.int16)
# A JPEG-LS of SQUARES, by imagecodecs.jpegls_encode.
SQUARES = (np.arange(48).reshape(6, 8) ** 2 % 1500).astype(np.uint16)
SQUARES_LS = bytes.fromhex(
    "ffd8ffe800205350494646000200000100000006000000080a1006010000012c0000012cffe8000800000001ffd8fff7000b100006000801011100ff"
    "f8000d01ffff0012004301140040ffda0008010100000000a00c0580f04c170560bc8084509a14455164ba1d58088511a244952653a2d6808c519266"
    "9a2d56c8f1e02ed78bd5f2fd800642e730821041e8721a83eabeffd9"
)


def refused(folder: Path, *words: str, capfd: pytest.CaptureFixture[str] | None = None) -> None:
    with pytest.raises(UserError) as caught:
        read_series(folder)
    said = str(caught.value)
    assert folder.name in said
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    if capfd is not None:
        assert capfd.readouterr() == ("", "")


def place(volume: object, x: int, y: int, z: int) -> list[float]:
    return (volume.affine @ (x, y, z, 1))[:3].round(6).tolist()


def test_a_series_of_the_collection(tmp_path: Path) -> None:
    series(tmp_path, STORED)
    volume = read_series(tmp_path)
    assert (volume.array.dtype, volume.format, volume.header) == (np.int16, "nifti", None)
    assert volume.spacing == (2.5, 0.8, 0.7)
    np.testing.assert_array_equal(volume.array, STORED - 1024)  # along the normal, which points to the feet
    assert nib.orientations.aff2axcodes(volume.affine) == ("L", "A", "I")
    assert place(volume, 0, 0, 0) == [
        100,
        -90,
        50,
    ]  # DICOM counts to the left and to the back, NIfTI to the right and front
    assert place(volume, 3, 2, 4) == [97.9, -88.4, 40]
    turned = turn(volume, "LPS")
    np.testing.assert_array_equal(turned.array, (STORED - 1024)[::-1, ::-1])
    assert volume.knows_spacing
    assert volume.knows_orientation


@pytest.mark.parametrize(
    "numbers", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (101, 103, 105, 111, 200), (None,) * 5, (3, None, 1, 2, 9)]
)
def test_order_is_by_place_whatever_the_names(numbers: tuple[int | None, ...], tmp_path: Path) -> None:
    for name, k in zip("bdaec", range(5), strict=True):
        dicom(tmp_path / f"{name}.dcm", STORED[k], x0020_0032=(-100, 90, 50 - k), x0020_0013=numbers[k])
    np.testing.assert_array_equal(read_series(tmp_path).array, STORED - 1024)


def test_files_by_content_and_others_passed_over(tmp_path: Path) -> None:
    for path in series(tmp_path, STORED):
        path.rename(path.with_suffix(""))
    (tmp_path / "LICENSE").write_text("text")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / ".hidden.dcm").write_text("")
    series(tmp_path / "below", STORED, x0020_000E="2.25.77")
    assert len(dicom_files(tmp_path)) == 5
    assert read_series(tmp_path).array.shape == STORED.shape


def test_sagittal_and_oblique_places(tmp_path: Path) -> None:
    turn_by = np.array([[0.8, 0.6, 0], [0, 0, -1]])
    normal = np.cross(*turn_by)
    first = np.array([12.5, -40, 300])
    for k, page in enumerate(STORED):
        at = tuple((first + 3 * k * normal).round(6).tolist())
        dicom(tmp_path / f"{k}.dcm", page, x0020_0032=at, x0020_0037=tuple(turn_by.ravel()), x0020_0013=k)
    volume = read_series(tmp_path)
    np.testing.assert_array_equal(volume.array, STORED - 1024)
    expected = (first + 3 * 4 * normal + 0.7 * 7 * turn_by[0] + 0.8 * 5 * turn_by[1]) * (-1, -1, 1)
    np.testing.assert_allclose(place(volume, 7, 5, 4), expected, atol=1e-5)
    assert np.allclose(volume.spacing, (3, 0.8, 0.7))


def test_a_tilted_gantry_is_a_sheared_affine(tmp_path: Path) -> None:
    for k, page in enumerate(STORED):
        dicom(tmp_path / f"{k}.dcm", page, x0020_0032=(-100, 90 + k, 50 - 2 * k), x0020_0013=k)
    volume = read_series(tmp_path)
    assert place(volume, 0, 0, 4) == [100, -94, 42]
    assert volume.spacing[0] == pytest.approx(np.hypot(1, 2))


def test_one_slice(tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", STORED[0], x0018_0050="3.5")
    assert read_series(tmp_path).spacing == (3.5, 0.8, 0.7)
    dicom(tmp_path / "a.dcm", STORED[0])
    assert read_series(tmp_path).array.shape == (1, 12, 16)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, -1024), (2, -1000), (0.5, -1024), (1.37, -8.25), (None, None), (1, -40000)]
)
def test_rescale(slope: float | None, intercept: float | None, tmp_path: Path) -> None:
    series(tmp_path, STORED, x0028_1053=slope, x0028_1052=intercept)
    wanted = STORED.astype(float) * (1.0 if slope is None else slope) + (intercept or 0)
    np.testing.assert_array_equal(read_series(tmp_path).array, np.rint(wanted).clip(-32768, 32767))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    for k, page in enumerate(STORED):
        dicom(tmp_path / f"{k}.dcm", page, x0020_0032=(0, 0, -k), x0020_0013=k, x0028_1053=1 + k / 2, x0028_1052=-k)
    wanted = np.rint([page * (1 + k / 2) - k for k, page in enumerate(STORED)])
    np.testing.assert_array_equal(read_series(tmp_path).array, wanted)


def test_other_than_ct_keeps_its_fractions(tmp_path: Path) -> None:
    series(tmp_path, STORED, x0008_0060="MR", x0028_1053=0.25, x0028_1052=0)
    array = read_series(tmp_path).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, STORED / 4)


def test_unsigned_and_twelve_bits(tmp_path: Path) -> None:
    high = (STORED.astype(np.uint16) & 0xFFF) | 0x8000  # an overlay in the unused bits
    series(tmp_path, high, x0028_0101=12, x0028_0102=11)
    np.testing.assert_array_equal(read_series(tmp_path).array, STORED - 1024)


def test_compressed_series(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for kind in ("JPEG", "JPEG2000"):
        for number, hu in enumerate(STORED - 1024, 1):
            compressed(tmp_path / kind / f"{number}.dcm", hu, number, kind)
        data = (tmp_path / kind / "1.dcm").read_bytes()
        assert {"JPEG": JPEG_LOSSLESS, "JPEG2000": JPEG_2000}[kind].encode() in data
        volume = read_series(tmp_path / kind)
        np.testing.assert_array_equal(volume.array, STORED - 1024)
        assert place(volume, 0, 0, 0) == [100, -90, 50]
    for k, page in enumerate(STORED):
        where = {"x0020_0032": (0, 0, -k), "x0020_0013": k}
        dicom(tmp_path / "rle" / f"{k}.dcm", page, RLE, run_length(page), **where)
        dicom(tmp_path / "deflated" / f"{k}.dcm", page, DEFLATED, **where)
    for kind in ("rle", "deflated"):
        np.testing.assert_array_equal(read_series(tmp_path / kind).array, STORED - 1024)
    dicom(tmp_path / "ls" / "a.dcm", SQUARES, JPEG_LS, SQUARES_LS)
    np.testing.assert_array_equal(read_series(tmp_path / "ls").array[0], SQUARES.astype(int) - 1024)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.4.102", "a video"),
        ("1.2.3.4", "unknown compression"),
    ],
)
def test_a_codec_that_is_not_here(uid: str, name: str, tmp_path: Path) -> None:
    dicom(tmp_path / "a.dcm", STORED[0], uid, bytes(64))
    refused(tmp_path, "a.dcm", name, uid, "gdcmconv")


@pytest.mark.parametrize("uid", [RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HIGH_THROUGHPUT])
def test_damaged_compressed_pixels(uid: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dicom(tmp_path / "a.dcm", STORED[0], uid, b"abcd" * 20)
    refused(tmp_path, "a.dcm", "truncated, corrupt", capfd=capfd)


def test_cut_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = series(tmp_path, STORED[:3])
    data = paths[1].read_bytes()
    for length in (0, 100, 140, 200, 350, len(data) - 384, len(data) - 100, len(data) - 1):
        paths[1].write_bytes(data[:length])
        refused(tmp_path, "1-002.dcm", "truncated, corrupt", capfd=capfd)
    paths[1].write_text("<html>not found</html>")
    refused(tmp_path, "1-002.dcm", capfd=capfd)


def test_damage_ends_in_a_series_or_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paths = series(tmp_path, STORED[:3])
    data = paths[1].read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(30):
        changed = bytearray(data)
        changed[128 + rng.integers(len(data) - 384 - 128)] ^= 1 << rng.integers(8)
        paths[1].write_bytes(changed)
        try:
            read_series(tmp_path)
        except UserError as error:
            assert tmp_path.name in str(error)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_missing_slice(lost: int, tmp_path: Path) -> None:
    series(tmp_path, STORED)[lost].unlink()
    names = f"1-{lost:03d}.dcm and 1-{lost + 2:03d}.dcm"
    refused(tmp_path, "a slice is missing", names, "5 mm apart, others 2.5 mm")


def test_uneven_distances_and_rounded_ones(tmp_path: Path) -> None:
    for k, z in enumerate((0, 2.5, 5, 6, 8.5)):
        dicom(tmp_path / f"{k}.dcm", STORED[k], x0020_0032=(0, 0, z), x0020_0013=k)
    refused(tmp_path, "uneven", "1 mm apart, others 2.5 mm")
    for k in range(5):  # 0.75 mm in a header of one decimal
        dicom(tmp_path / f"{k}.dcm", STORED[k], x0020_0032=(0, 0, round(0.75 * k + 1e-6, 1)), x0020_0013=k)
    assert read_series(tmp_path).spacing[0] == pytest.approx(0.75)


def test_a_slice_twice(tmp_path: Path) -> None:
    series(tmp_path, STORED)
    dicom(tmp_path / "copy.dcm", STORED[2], x0020_0032=(-100, 90, 45), x0020_0013=3)
    refused(tmp_path, "1-003.dcm and copy.dcm lie at the same position (-100, 90, 45)")


def test_a_slice_aside(tmp_path: Path) -> None:
    series(tmp_path, STORED)
    dicom(tmp_path / "1-003.dcm", STORED[2], x0020_0032=(-60, 90, 45), x0020_0013=3)
    refused(tmp_path, "1-003.dcm lies 40 mm beside")


def test_two_series(tmp_path: Path) -> None:
    series(tmp_path, STORED)
    dicom(tmp_path / "scout.dcm", STORED[0], x0020_000E="2.25.3")
    refused(tmp_path, "2 series", "2.25.2 (5 of the files, like 1-001.dcm)", "2.25.3 (1 of the files, like scout.dcm)")


@pytest.mark.parametrize("numbers", [(1, 3, 2, 4, 5), (1, 2, 2, 4, 5), (5, 1, 2, 3, 4)])
def test_numbers_against_places(numbers: tuple[int, ...], tmp_path: Path) -> None:
    for k, number in enumerate(numbers):
        dicom(tmp_path / f"{k}.dcm", STORED[k], x0020_0032=(0, 0, -k), x0020_0013=number)
    a, b = next((a, b) for a, b in pairwise(numbers) if b <= a)
    refused(tmp_path, "instance numbers", f"has number {a}", f"has {b};")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"x0020_0032": None}, "no usable ImagePositionPatient (0020,0032)"),
        ({"x0020_0032": "1\\2"}, "no usable ImagePositionPatient"),
        ({"x0020_0032": "nan\\0\\0"}, "no usable ImagePositionPatient"),
        ({"x0020_0037": None}, "no usable ImageOrientationPatient"),
        ({"x0028_0030": None}, "no usable PixelSpacing"),
        ({"x0028_0030": (0, 0)}, "unusable geometry"),
        ({"x0020_0037": (1, 0, 0, 1, 0, 0)}, "unusable geometry"),
        ({"x0028_0030": (0.8, 0.9)}, "another pixel spacing than 1-001.dcm"),
        ({"x0020_0037": (1, 0, 0, 0, 1, 0)}, "another orientation than 1-001.dcm"),
        ({"x0028_1053": 0}, "RescaleSlope of 0"),
        ({"x0028_0004": "MONOCHROME1"}, "MONOCHROME2"),
        ({"x0028_0010": 6, "x0028_0008": 2}, "2 slices in one file"),
        ({"x0028_0100": 8, "x0028_0101": 8, "x0028_0102": 7, "x0028_0002": 3, "x0028_0004": "RGB"}, "colour"),
    ],
)
def test_one_slice_is_not_as_it_must_be(tags: dict[str, object], words: str, tmp_path: Path) -> None:
    series(tmp_path, STORED)
    dicom(tmp_path / "1-003.dcm", STORED[2], **{"x0020_0013": 3, "x0020_0032": (-100, 90, 45)} | tags)
    refused(tmp_path, "1-003.dcm", words)


def test_slices_of_two_sizes(tmp_path: Path) -> None:
    series(tmp_path, STORED)
    dicom(tmp_path / "1-004.dcm", STORED[3, :-2], x0020_0013=4, x0020_0032=(-100, 90, 42.5))
    refused(tmp_path, "1-004.dcm has another size than 1-001.dcm")


def test_no_series(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text")
    refused(tmp_path, "no image file", "no DICOM file")
    refused(tmp_path / "gone", "Cannot read")


def test_a_series_is_read_and_its_mask_written_like_any_study(tmp_path: Path) -> None:
    folder = tmp_path / "1.000000-Pancreas-63502"
    series(folder, STORED)
    volume = read(folder)
    mask = (volume.array > 200).astype(np.uint8)
    out = tmp_path / "mask.nii.gz"
    check_output(folder, out)
    write_mask(mask, volume, out)
    written = read(out)
    np.testing.assert_array_equal(written.array, mask)
    np.testing.assert_allclose(written.affine, volume.affine, atol=1e-4)
    refusals: list[tuple[Callable[[], None], str]] = [
        (lambda: check_output(folder, tmp_path / "mask.tif"), r"ends in \.nii or \.nii\.gz"),
        (lambda: check_output(tmp_path / "gone", out), "without a suffix"),
    ]
    for call, words in refusals:
        with pytest.raises(UserError, match=words):
            call()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("rows", [8, 9])
def test_too_few_pixels_are_refused_though_the_header_makes_the_file_long_enough(
    rows: int, syntax: str, tmp_path: Path
) -> None:
    pydicom = pytest.importorskip("pydicom")
    stored = np.zeros((2, 8, 90), np.int16)
    for path in series(tmp_path, stored, x0028_0010=rows):
        header = pydicom.dcmread(path)
        header.file_meta.TransferSyntaxUID = syntax
        form = {"implicit_vr": syntax == "1.2.840.10008.1.2", "little_endian": syntax != "1.2.840.10008.1.2.2"}
        pydicom.dcmwrite(path, header, force_encoding=True, **form)
        assert path.stat().st_size > 9 * 90 * 2
    if rows == 8:
        assert read_series(tmp_path).array.shape == (2, 8, 90)
    else:
        with pytest.raises(UserError, match="but is shorter"):
            read_series(tmp_path)


@pytest.mark.parametrize("rows", [9, 400])
def test_a_slice_shorter_than_its_size_is_refused(rows: int, tmp_path: Path) -> None:
    """GDCM fills the rest of the pixels with whatever lies in memory."""
    series(tmp_path, np.zeros((2, 8, 90), np.int16), x0028_0010=rows * 100)
    with pytest.raises(UserError, match="but is shorter"):
        read_series(tmp_path)
