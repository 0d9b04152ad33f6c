"""The collection as The Cancer Imaging Archive hands it out: pairs, places, and the way that a label lies on its image."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.image.dicom_made import dicom, series
from unetq.data_prep import nih
from unetq.data_prep.nih_series import WITHDRAWN, files, find_series, patients
from unetq.errors import UserError
from unetq.image.read import read
from unetq.runtime.dataset import Dataset

LABELS = "TCIA_pancreas_labels-02-05-2017"
SHAPE = (6, 20, 24)
SPACING = (0.7, 0.8, 2.5)
# Affines of labels (x, y, z) that lie as the archive's do, and of some that say so wrongly.
LAI = np.diag([-SPACING[0], SPACING[1], -SPACING[2], 1.0])


def organ(rows: slice = slice(3, 8), columns: slice = slice(4, 12), slices: slice = slice(0, 2)) -> np.ndarray:
    """A mask (Z, Y, X) on the stored slices: rows run to the front, slices to the feet."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[slices, rows, columns] = 1
    return mask


def study(
    place: Path, number: int, mask: np.ndarray, label: np.ndarray | None = None, affine: np.ndarray = LAI
) -> Path:
    """A patient of fat with an organ of 80 HU at `mask`, and a label (x, y, z), as a rule the mask's own."""
    rng = np.random.default_rng(number)
    hu = np.where(mask, 80, -100) + rng.integers(-9, 10, SHAPE)
    home = place / f"Pancreas-CT/PANCREAS_{number:04d}"
    series(home / "11-24-2015-PANCREAS" / "1.000000-Pancreas-63502", (hu + 1024).astype(np.int16))
    path = place / LABELS / f"label{number:04d}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask.T if label is None else label, affine), path)
    return path


def only(place: Path) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    (found,) = patients(place)
    return found


def refused(place: Path, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        list(patients(place))
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said


def test_a_patient_turned_to_the_axes_of_the_body(tmp_path: Path) -> None:
    mask = organ()
    study(tmp_path, 1, mask)
    number, image, label, affine = only(tmp_path)
    assert (number, image.dtype, label.dtype) == (1, np.int16, np.uint8)
    assert nib.orientations.aff2axcodes(affine) == ("L", "P", "S")
    np.testing.assert_array_equal(label, mask[::-1, ::-1])
    assert image[label == 1].min() > 60
    assert image[label == 0].max() < -80
    stored = affine @ (0, SHAPE[1] - 1, SHAPE[0] - 1, 1)  # the first stored voxel is the hindmost of the highest slice
    np.testing.assert_allclose(stored[:3], (100, -90, 50))
    np.testing.assert_allclose(np.abs(np.diag(affine)[:3]), SPACING)


@pytest.mark.parametrize("flip", [(), (1,), (2,), (1, 2)])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("says", ["LAI", "RAS", "nothing"])
def test_a_label_lies_where_the_organ_is_whatever_it_says(
    flip: tuple[int, ...], swapped: bool, says: str, tmp_path: Path
) -> None:
    mask = organ()
    voxels = np.flip(mask.T, flip)
    affine = LAI if says == "LAI" else np.eye(4)
    path = study(tmp_path, 1, mask, voxels.transpose(1, 0, 2) if swapped else voxels, affine)
    if says == "nothing":
        image = nib.load(path)
        image.header["sform_code"] = image.header["qform_code"] = 0
        nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if says == "LAI" and swapped:
            refused(tmp_path, path.name, "voxels of 0.7 mm", "has 0.8 mm")  # it contradicts its own voxel sizes
        else:
            np.testing.assert_array_equal(only(tmp_path)[2], mask[::-1, ::-1])


@pytest.mark.parametrize("way", ["LPS", "RAS", "RPI", "ASL", "SAR"])
def test_a_label_of_another_true_orientation(way: str, tmp_path: Path) -> None:
    mask = organ()
    there = nib.orientations.axcodes2ornt(way)
    label = nib.Nifti1Image(mask.T, LAI).as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.io_orientation(LAI), there)
    )
    study(tmp_path, 1, mask, np.asarray(label.dataobj), label.affine)
    np.testing.assert_array_equal(only(tmp_path)[2], mask[::-1, ::-1])


def test_of_several_ways_that_fit_the_header_s_is_taken(tmp_path: Path) -> None:
    twice = organ() | organ(rows=slice(12, 17))  # one organ in front, one behind; the label marks one of them
    for number, own, affine in ((1, organ(), LAI), (2, organ(), LAI * [[1], [-1], [1], [1]])):
        study(tmp_path, number, twice, own.T, affine)
    (_, _, plain, _), (_, _, flipped, _) = patients(tmp_path)
    np.testing.assert_array_equal(plain, organ()[::-1, ::-1])
    np.testing.assert_array_equal(flipped, organ()[::-1])


def test_no_way_fits_or_too_many(tmp_path: Path) -> None:
    path = study(tmp_path / "none", 3, organ(), np.ones(SHAPE[::-1], np.uint8))
    refused(tmp_path / "none", str(path), "PANCREAS_0003", "however it is flipped", "30 to 150")
    elsewhere = organ(rows=slice(12, 17)) | organ(slices=slice(4, 6))  # where the label is flipped along y, and along z
    path = study(tmp_path / "many", 4, elsewhere, organ().T)
    refused(tmp_path / "many", str(path), "otherwise than it says", "ways")


def test_withdrawn_patients_are_left_out(tmp_path: Path) -> None:
    for number in (24, *WITHDRAWN, 71):
        study(tmp_path, number, organ())
    (tmp_path / LABELS / "label0070.nii.gz").unlink()
    assert [number for number, *_ in patients(tmp_path)] == [24, 71]
    assert not any("0025" in str(path) or "0070" in str(path) for path in files(tmp_path))


def test_where_it_is_found(tmp_path: Path) -> None:
    assert find_series(tmp_path / "gone") is None
    assert find_series(tmp_path) is None
    (tmp_path / "images").mkdir()
    (tmp_path / "images/PANCREAS_0001-1124.jpg").write_text("exported")
    (tmp_path / "images/PANCREAS_0002").mkdir()
    assert find_series(tmp_path) is None
    study(tmp_path / "nih" / "manifest-1", 1, organ())
    assert find_series(tmp_path) == find_series(tmp_path / "nih") == tmp_path / "nih"
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "data").symlink_to(tmp_path / "nih" / "manifest-1")
    assert find_series(tmp_path / "links") == tmp_path / "links"
    assert [number for number, *_ in patients(tmp_path / "links")] == [1]


def test_files_are_all_that_is_read(tmp_path: Path) -> None:
    for number in (2, 1):
        study(tmp_path, number, organ())
    (tmp_path / "Pancreas-CT/LICENSE").write_text("text")
    names = [path.name for path in files(tmp_path)]
    slices = [f"1-{k:03d}.dcm" for k in range(1, 7)]
    assert names == [*slices, "label0001.nii.gz", *slices, "label0002.nii.gz"]


Spoil = Callable[[Path], None]


def _unlabelled(place: Path) -> None:
    (place / LABELS / "label0002.nii.gz").unlink()


def _no_home(place: Path) -> None:
    (place / "Pancreas-CT/PANCREAS_0002").rename(place / "Pancreas-CT/OTHER")


def _no_slices(place: Path) -> None:
    for path in (place / "Pancreas-CT/PANCREAS_0002").rglob("*.dcm"):
        path.unlink()


def _lost_slice(place: Path) -> None:
    next((place / "Pancreas-CT/PANCREAS_0002").rglob("1-003.dcm")).unlink()


def _lost_end(place: Path) -> None:
    next((place / "Pancreas-CT/PANCREAS_0002").rglob("1-006.dcm")).unlink()


def _second_series(place: Path) -> None:
    dicom(place / "Pancreas-CT/PANCREAS_0002/study/scout/1-001.dcm", np.zeros((4, 4), np.int16))


def _mixed_series(place: Path) -> None:
    path = next((place / "Pancreas-CT/PANCREAS_0002").rglob("1-003.dcm"))
    dicom(path.with_name("1-007.dcm"), np.zeros((4, 4), np.int16), x0020_000E="2.25.3")


def _second_label(place: Path) -> None:
    (place / "label0002.nii").write_bytes(b"")


def _other_values(place: Path) -> None:
    study(place, 2, organ(), organ().T * np.uint8(3))


def _empty(place: Path) -> None:
    study(place, 2, organ(), np.zeros(SHAPE[::-1], np.uint8))


def _other_voxels(place: Path) -> None:
    study(place, 2, organ(), None, LAI * 1.1)


def _damaged(place: Path) -> None:
    (place / LABELS / "label0002.nii.gz").write_bytes(b"\x1f\x8b")


def _magnetic(place: Path) -> None:
    home = next((place / "Pancreas-CT/PANCREAS_0002").rglob("1-001.dcm")).parent
    series(home, np.zeros(SHAPE, np.int16), x0008_0060="MR", x0028_1053=0.5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unlabelled, ("PANCREAS_0002", "has no label0002.nii.gz")),
        (_no_home, ("label0002.nii.gz has no DICOM series PANCREAS_0002",)),
        (_no_slices, ("PANCREAS_0002 holds no DICOM series",)),
        (_lost_slice, ("PANCREAS_0002", "a slice is missing", "1-002.dcm and 1-004.dcm")),
        (_lost_end, ("label0002.nii.gz has 24 x 20 x 6 voxels", "24 x 20 x 5")),
        (_second_series, ("Patient 2 is there twice", "1.000000-Pancreas", "scout")),
        (_mixed_series, ("1.000000-Pancreas-63502 holds slices of 2 series", "1-007.dcm")),
        (_second_label, ("Patient 2 is there twice", "label0002.nii", "label0002.nii.gz")),
        (_other_values, ("label0002.nii.gz holds the value 3",)),
        (_empty, ("label0002.nii.gz marks no pancreas",)),
        (_other_voxels, ("label0002.nii.gz", "voxels of 0.77 mm", "0.7 mm")),
        (_damaged, ("label0002.nii.gz is a truncated or corrupt NIfTI",)),
        (_magnetic, ("1.000000-Pancreas-63502 is no CT",)),
    ],
)
def test_one_bad_patient_is_a_sentence_and_nothing_is_left(
    spoil: Spoil, words: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "raw"
    for number in (1, 2, 3):
        study(place, number, organ())
    spoil(place)
    refused(place, *words)
    with pytest.raises(UserError):
        nih.prepare(place, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_prepared_like_any_data_set(tmp_path: Path) -> None:
    for number in (1, 2, 3, 10, 25):
        study(tmp_path, number, organ())
    out = nih.prepare(tmp_path)
    about = json.loads((out / "dataset.json").read_text())
    assert (about["numTraining"], about["labels"]) == (4, {"background": 0, "pancreas": 1})
    assert "clipped" not in about["unetq"]
    image = read(out / "imagesTr/PANCREAS_0010_0000.nii.gz")
    number, hu, label, affine = list(patients(tmp_path))[-1]
    assert number == 10
    np.testing.assert_array_equal(image.array, hu)
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(read(out / "labelsTr/PANCREAS_0010.nii.gz").array, label)
    assert sum(len(names) for names in Dataset.open(out).splits.values()) == 4
