"""Masks: bit for bit, with the study's own geometry, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.image.made import OBLIQUE, nifti, save
from unetq.errors import UserError
from unetq.image import read as module
from unetq.image.read import check_output, read, read_mask, write_mask
from unetq.image.volume import Volume

RNG = np.random.default_rng(3)
STACK = RNG.integers(0, 65536, (3, 18, 27)).astype(np.uint16)
MASK = RNG.integers(0, 256, STACK.shape).astype(np.uint8)
GEOMETRY = ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
GEOMETRY += ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "sizeof_hdr")


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(("source", "out"), [("a.tif", "m.tiff"), ("a.png", "m.png"), ("a.jpg", "m.png")])
def test_raster(source: str, out: str, depth: int, tmp_path: Path) -> None:
    if depth > 1 and not source.endswith(".tif"):
        pytest.skip("one slice only")
    array = STACK[:depth].astype(np.uint8)
    volume = read(save(array if depth > 1 else array[0], tmp_path / source))
    check_output(tmp_path / source, tmp_path / out)
    write_mask(MASK[:depth], volume, tmp_path / out)
    np.testing.assert_array_equal(read_mask(tmp_path / out), MASK[:depth])
    np.testing.assert_allclose(read(tmp_path / out).spacing, volume.spacing, rtol=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source, out])


@pytest.mark.parametrize("shape", [(27, 18), (27, 18, 1), (27, 18, 3), (27, 18, 3, 1)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.filterwarnings("ignore:.*names no orientation")
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 2), (3, 4)])
def test_nifti_keeps_every_field_of_the_geometry(
    shape: tuple[int, ...], kind: type, codes: tuple[int, int], tmp_path: Path
) -> None:
    array = RNG.random(shape).astype(np.float32)
    path = nifti(
        tmp_path / "a.nii.gz", array, kind=kind, units="micron", qform_code=codes[0], sform_code=codes[1], cal_max=0.5
    )
    volume = read(path)
    mask = MASK[: volume.array.shape[0]]
    for out in (tmp_path / "m.nii.gz", tmp_path / "m.nii"):
        write_mask(mask, volume, out)
        before, after = nib.load(path), nib.load(out)
        assert type(after) is kind
        assert after.get_data_dtype() == np.uint8
        for name in GEOMETRY:
            assert before.header[name].tobytes() == after.header[name].tobytes(), name
        np.testing.assert_array_equal(before.affine, after.affine)
        np.testing.assert_array_equal(np.asarray(after.dataobj).reshape(mask.T.shape), mask.T)
        assert after.header.get_slope_inter() == (None, None)
        again = read(out)
        np.testing.assert_array_equal(again.affine, volume.affine)
        assert again.spacing == volume.spacing


def test_nifti_big_endian_and_scaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(STACK.T.astype(">i2"), OBLIQUE, nib.Nifti1Header(endianness=">"))
    image.header.set_slope_inter(0.25, 9)
    image.to_filename(tmp_path / "a.nii")
    write_mask(MASK, read(tmp_path / "a.nii"), tmp_path / "m.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii"), MASK)
    np.testing.assert_array_equal(nib.load(tmp_path / "m.nii").affine, nib.load(tmp_path / "a.nii").affine)


def test_nifti_of_a_study_without_a_header(tmp_path: Path) -> None:
    """Prepared data are written so: spacing of nanometres, too."""
    affine = np.diag([4e-6, 4e-6, 5e-5, 1.0])
    volume = Volume(STACK, (5e-5, 4e-6, 4e-6), affine, "tiff")
    write_mask(MASK, volume, tmp_path / "m.nii.gz")
    again = read(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(again.array, MASK)
    np.testing.assert_allclose(again.affine, affine, rtol=1e-6)
    np.testing.assert_allclose(again.spacing, volume.spacing, rtol=1e-6)
    oblique = Volume(STACK, (2.5, 0.6, 0.4), OBLIQUE, "tiff")
    write_mask(MASK, oblique, tmp_path / "o.nii")
    np.testing.assert_allclose(read(tmp_path / "o.nii").affine, OBLIQUE, rtol=1e-6)


def test_same_mask_same_bytes(tmp_path: Path) -> None:
    volume = read(nifti(tmp_path / "a.nii.gz", STACK.T))
    for suffix in (".nii.gz", ".nii", ".tif"):
        contents = set()
        for name in "bc":
            write_mask(MASK, volume, tmp_path / f"{name}{suffix}")
            contents.add((tmp_path / f"{name}{suffix}").read_bytes())
        assert len(contents) == 1, suffix


def test_what_is_refused(tmp_path: Path) -> None:
    volume = read(save(STACK, tmp_path / "a.tif"))
    with pytest.raises(UserError, match="3 slices"):
        write_mask(MASK, volume, tmp_path / "m.png")
    with pytest.raises(UserError, match=r'"\.jpg"'):
        write_mask(MASK, volume, tmp_path / "m.jpg")
    with pytest.raises(UserError, match=r"no folder .*gone"):
        write_mask(MASK, volume, tmp_path / "gone/m.tif")
    with pytest.raises(ValueError, match="must be uint8"):
        write_mask(MASK[:2], volume, tmp_path / "m.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".nii.gz"])
@pytest.mark.parametrize("damage", ["shorter", "other", "error"])
def test_a_bad_write_leaves_nothing(suffix: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, of which some writers say nothing."""
    right = module.WRITERS[suffix]

    def wrong(mask: np.ndarray, like: Volume, path: Path) -> None:
        right(mask if damage != "other" else mask ^ 1, like, path)
        if damage == "shorter":
            path.write_bytes(path.read_bytes()[:-5])
        if damage == "error":
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(module.WRITERS, suffix, wrong)
    out = tmp_path / f"m{suffix}"
    out.write_bytes(b"older")
    like = Volume(STACK[:1], (1.0, 1.0, 1.0), np.eye(4), "tiff")
    with pytest.raises(UserError, match="Cannot write"):
        write_mask(MASK[:1], like, out)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert out.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("source", "out", "words"),
    [
        ("a.tif", "m.png", ".tif or .tiff"),
        ("a.png", "m.tif", ".png"),
        ("a.jpg", "m.jpg", 'did you mean ".p'),
        ("a.nii", "m.tif", ".nii or .nii.gz"),
        ("a.nii.gz", "m.nij", 'did you mean ".ni'),
        ("a.tif", "gone/m.tif", "gone"),
        ("a.tif", "a.tif", "input itself"),
        ("a.tif", "x/../a.tif", "input itself"),
        ("a.tif", "link.tif", "input itself"),
        ("a.tif", "x.tif", "is a folder"),
        ("a.xyz", "m.tif", ".xyz"),
    ],
)
def test_check_output_refuses(source: str, out: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x.tif").mkdir()
    save(STACK, tmp_path / "a.tif")
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    with pytest.raises(UserError) as caught:
        check_output(tmp_path / source, tmp_path / out)
    assert words in str(caught.value), caught.value


def test_check_output_refuses_a_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match="read-only"):
        check_output("a.tif", tmp_path / "m.tif")


@pytest.mark.parametrize(("source", "out"), [("a.tif", "b.TIFF"), ("a.jpeg", "b.png"), ("a.nii", "b.nii.gz")])
def test_check_output_accepts(source: str, out: str, tmp_path: Path) -> None:
    check_output(tmp_path / source, tmp_path / out)
    assert not list(tmp_path.iterdir())
