"""Spinal cord studies: both layouts, raters, orientations, splits by person, and every kind of bad file in one sentence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unetq.data_prep import gm
from unetq.data_prep.gm import majority
from unetq.errors import UserError
from unetq.image.read import read
from unetq.runtime.dataset import Dataset, training_slices
from unetq.spec import PrepSpec

# x, y, z of the files.
SHAPE = (16, 12, 3)
LAS = np.diag([-0.5, 0.5, 5.0, 1.0])
LAS[:3, 3] = (20.0, -10.0, 40.0)


def cord(seed: int = 0, at: tuple[int, int] = (7, 6)) -> np.ndarray:
    """A mask (x, y, z) of a cord with gray matter inside; no flip or turn leaves it as it is."""
    mask = np.zeros(SHAPE, np.uint8)
    x, y = at
    mask[x - 3 : x + 4, y - 2 : y + 3] = 2
    mask[x - 1 : x + 2, y - 1] = 1
    mask[x + 1, y - 1 : y + 2] = 1
    mask[x - 1, y + 1, seed % SHAPE[2]] = 1
    return mask


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = LAS, coded: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_zooms((0.5, 0.5, 5.0)) if affine is None else None
    if not coded:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nib.save(image, path)
    return path


def study(place: Path, name: str, *masks: np.ndarray, affine: np.ndarray = LAS) -> np.ndarray:
    """An image and its raters' masks in the challenge's layout; the image's voxels (x, y, z)."""
    seed = sum(map(ord, name))
    voxels = np.random.default_rng(seed).integers(1, 900, SHAPE).astype(np.int16)
    save(place / f"{name}-image.nii.gz", voxels, affine)
    for rater, mask in enumerate(masks or (cord(seed),), 1):
        save(place / f"{name}-mask-r{rater}.nii.gz", mask, affine)
    return voxels


def challenge(place: Path, sites: int = 3, numbers: int = 1) -> Path:
    for site in range(1, sites + 1):
        for number in range(1, numbers + 1):
            study(place, f"site{site}-sc{number:02d}")
    return place


def opened(place: Path, fold: int = 0, white_matter: bool = False) -> Dataset:
    return Dataset.open(gm.prepare(place, white_matter=white_matter), fold)


def test_prepared_folder(tmp_path: Path) -> None:
    voxels = study(challenge(tmp_path), "site2-sc01")
    out = gm.prepare(tmp_path, tmp_path / "out")
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "gray matter": 1}
    assert about["unetq"]["snomed"] == {"gray matter": "12958003"}
    assert about["numTraining"] == 3
    assert not (out / "ratersTr").exists()  # one rater is no vote
    case = Dataset.open(out).case("site2-sc01")
    np.testing.assert_array_equal(case.channels[0].array, voxels[:, ::-1].T)  # LAS -> LPS
    np.testing.assert_array_equal(case.truth, (cord(sum(map(ord, "site2-sc01"))) == 1)[:, ::-1].T)
    assert nib.aff2axcodes(case.channels[0].affine) == ("L", "P", "S")
    np.testing.assert_allclose(case.channels[0].spacing, (5.0, 0.5, 0.5))


def test_white_matter_is_a_second_class_if_asked_for(tmp_path: Path) -> None:
    data = opened(challenge(tmp_path), white_matter=True)
    assert data.labels == ("gray matter", "white matter")
    name = "site1-sc01"
    np.testing.assert_array_equal(data.case(name).truth, cord(sum(map(ord, name)))[:, ::-1].T)
    assert opened(tmp_path).labels == ("gray matter",)  # the other cached folder


@given(arrays(np.uint8, (5, 4, 6), elements=st.integers(0, 2)))
def test_majority_against_counting(votes: np.ndarray) -> None:
    found = majority(list(votes))
    for place in np.ndindex(found.shape):
        counts = np.bincount(votes[(slice(None), *place)], minlength=3)
        assert found[place] == np.flatnonzero(counts == counts.max())[0]  # of a tie the lower label


def test_raters_vote_for_the_test_and_one_of_them_is_drawn_for_training(tmp_path: Path) -> None:
    challenge(tmp_path)
    views = [cord(0), cord(1), cord(1), cord(2, at=(8, 6))]
    study(tmp_path, "site1-sc01", *views)
    data = opened(tmp_path)
    case = data.case("site1-sc01")
    turned = [(view == 1)[:, ::-1].T.astype(np.uint8) for view in views]
    np.testing.assert_array_equal(case.truth, majority(turned))
    assert len(case.raters) == 4
    for mine, theirs in zip(case.raters, turned, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    _, drawn_from = next(iter(training_slices(case, PrepSpec(orientation="LPS"))))
    assert drawn_from.shape[0] == 4
    homes = [split for split, cases in data.splits.items() if "site1-sc01" in cases]
    assert len(homes) == 1  # one case, so all its raters are on one side


@pytest.mark.parametrize("way", ["LAS", "RAS", "LPS", "RPI", "RSA", "SPL"])
def test_any_orientation_is_turned_by_the_affine(way: str, tmp_path: Path) -> None:
    challenge(tmp_path)
    names = {}
    there = nib.orientations.axcodes2ornt(way)
    change = nib.orientations.ornt_transform(nib.orientations.io_orientation(LAS), there)
    for what in ("image", "mask-r1"):
        path = tmp_path / f"site1-sc01-{what}.nii.gz"
        names[what] = read(path)
        nib.save(nib.load(path).as_reoriented(change), path)
    case = opened(tmp_path).case("site1-sc01")
    np.testing.assert_array_equal(case.channels[0].array, names["image"].array[:, ::-1])
    np.testing.assert_array_equal(case.truth, names["mask-r1"].array[:, ::-1] == 1)
    corner = case.channels[0].affine @ (0, SHAPE[1] - 1, 0, 1)  # the first voxel of the file as it was
    np.testing.assert_allclose(corner, LAS @ (0, 0, 0, 1), atol=1e-4)


def test_a_file_without_orientation_is_read_by_its_voxel_sizes_with_a_warning(tmp_path: Path) -> None:
    challenge(tmp_path)
    affine = LAS * [[-1], [-1], [1], [1]]
    voxels = study(tmp_path, "site1-sc01", affine=affine)
    save(tmp_path / "site1-sc01-image.nii.gz", voxels, affine, coded=False)
    with pytest.warns(UserWarning, match=r"site1-sc01-image\.nii\.gz names no orientation") as caught:
        case = opened(tmp_path).case("site1-sc01")
    assert len(caught) == 1
    np.testing.assert_array_equal(case.channels[0].array, voxels[::-1].T)  # the mask knows: RPS
    np.testing.assert_allclose(case.channels[0].spacing, (5.0, 0.5, 0.5))
    np.testing.assert_array_equal(case.truth, (cord(sum(map(ord, "site1-sc01"))) == 1)[::-1].T)


def test_neither_file_with_orientation(tmp_path: Path) -> None:
    challenge(tmp_path)
    voxels = study(tmp_path, "site1-sc01")
    save(tmp_path / "site1-sc01-image.nii.gz", voxels, coded=False)
    save(tmp_path / "site1-sc01-mask-r1.nii.gz", cord(), coded=False)
    with pytest.warns(UserWarning, match="names no orientation"):
        case = opened(tmp_path).case("site1-sc01")
    assert int((case.truth == 1).sum()) == int((cord() == 1).sum())
    inside = case.channels[0].array[case.truth == 1]
    assert sorted(inside) == sorted(voxels[cord() == 1])  # image and mask were turned alike


def test_a_cord_at_the_border_is_kept_whole(tmp_path: Path) -> None:
    challenge(tmp_path)
    voxels = study(tmp_path, "site3-sc01", cord(at=(3, 9)))
    case = opened(tmp_path).case("site3-sc01")
    assert case.channels[0].array.shape == SHAPE[::-1]
    assert sorted(case.channels[0].array[case.truth == 1]) == sorted(voxels[cord(at=(3, 9)) == 1])


def test_the_paper_s_split_of_the_whole_challenge(tmp_path: Path) -> None:
    challenge(tmp_path, sites=4, numbers=10)
    out = gm.prepare(tmp_path)
    folds = json.loads((out / "splits_final.json").read_text())
    assert len(folds) == 4
    for fold in folds:
        assert sorted(fold["test"]) == [f"site{site}-sc{number}" for site in (1, 2, 3, 4) for number in ("09", "10")]
        assert (len(fold["train"]), len(fold["val"])) == (24, 8)
        assert len({*fold["train"], *fold["val"], *fold["test"]}) == 40
    assert {case for fold in folds for case in fold["val"]} == {*folds[0]["train"], *folds[0]["val"]}


def test_a_part_of_the_challenge_keeps_the_paper_s_test(tmp_path: Path) -> None:
    for name in ("site1-sc01", "site1-sc02", "site1-sc07", "site2-sc09", "site1-sc09", "site2-sc10"):
        study(tmp_path, name)
    folds = json.loads((gm.prepare(tmp_path) / "splits_final.json").read_text())
    assert all(sorted(fold["test"]) == ["site1-sc09", "site2-sc09", "site2-sc10"] for fold in folds)
    assert [fold["val"] for fold in folds] == [["site1-sc07"], ["site1-sc01", "site1-sc02"]]


def test_few_people_are_tested_in_turn_whatever_their_sessions(tmp_path: Path) -> None:
    challenge(tmp_path, sites=2, numbers=2)
    rows = ["case\tsubject", "site1-sc01\tann", "site1-sc02\tann", "site2-sc01\tbob", "site2-sc02\teve"]
    (tmp_path / "subjects.tsv").write_text("\n".join(rows) + "\n")
    out = gm.prepare(tmp_path)
    folds = json.loads((out / "splits_final.json").read_text())
    assert [fold["test"] for fold in folds] == [["site1-sc01", "site1-sc02"], ["site2-sc01"], ["site2-sc02"]]
    assert all(Dataset.open(out, number) for number in range(3))  # which would refuse a person on two sides
    first = (out / "dataset.json").read_text()
    (tmp_path / "subjects.tsv").write_text("\n".join(rows).replace("bob", "eve"))
    with pytest.raises(UserError, match="2 subjects"):  # other people are other data, not the cached ones
        gm.prepare(tmp_path)
    assert (out / "dataset.json").read_text() == first


def test_many_people_are_split_by_their_names(tmp_path: Path) -> None:
    challenge(tmp_path, sites=9)
    folds = json.loads((gm.prepare(tmp_path) / "splits_final.json").read_text())
    assert len(folds) == 5
    assert len(folds[0]["test"]) == 2


def bids(place: Path, subject: str, session: str = "", cord_mask: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """A BIDS study; image and mask (x, y, z)."""
    inner = f"{subject}/{session}/anat" if session else f"{subject}/anat"
    stem = f"{subject}_{session}_T2starw" if session else f"{subject}_T2starw"
    seed = sum(map(ord, stem))
    voxels, mask = np.random.default_rng(seed).random(SHAPE), cord(seed)
    save(place / inner / f"{stem}.nii.gz", voxels)
    labels = place / "derivatives/labels" / inner
    save(labels / f"{stem}_gmseg-manual.nii.gz", (mask == 1).astype(np.uint8))
    if cord_mask:
        save(labels / f"{stem}_seg-manual.nii.gz", (mask > 0).astype(np.uint8))
    return voxels, mask


def test_bids(tmp_path: Path) -> None:
    voxels, mask = bids(tmp_path, "sub-1", "ses-a")
    bids(tmp_path, "sub-1", "ses-b")
    for subject in ("sub-2", "sub-10"):
        bids(tmp_path, subject, cord_mask=False)
    save(tmp_path / "sub-3/anat/sub-3_T2starw.nii.gz", voxels)  # nobody has marked it
    data = opened(tmp_path, white_matter=True)
    case = data.case("sub-1_ses-a_T2starw")
    np.testing.assert_array_equal(case.channels[0].array, voxels[:, ::-1].T.astype(np.float32))
    np.testing.assert_array_equal(case.truth, mask[:, ::-1].T)
    assert set(np.unique(data.case("sub-2_T2starw").truth)) == {0, 1}
    splits = [set(cases) for cases in data.splits.values()]
    assert {"sub-1_ses-a_T2starw", "sub-1_ses-b_T2starw"} in splits
    assert sum(map(len, splits)) == 4


def test_bids_without_any_mask(tmp_path: Path) -> None:
    save(tmp_path / "sub-1/anat/sub-1_T2starw.nii.gz", np.ones(SHAPE))
    refused(tmp_path, "derivatives", "labels holds no *_gmseg-manual.nii.gz")


def test_where_it_is_found(tmp_path: Path) -> None:
    assert gm.find(tmp_path) is None
    assert gm.find(tmp_path / "gone") is None
    challenge(tmp_path / "gm" / "train")
    assert gm.find(tmp_path) == gm.find(tmp_path / "gm") == tmp_path / "gm" / "train"
    assert gm.prepare(tmp_path) == gm.prepare(tmp_path / "gm")
    with pytest.raises(UserError, match=r"no spinal cord studies in .*unetq data phantom gm DIR"):
        gm.prepare(tmp_path / "gone")


def refused(place: Path, *words: str) -> None:
    before = sorted(place.rglob("*"))
    with warnings.catch_warnings(), pytest.raises(UserError) as caught:
        warnings.simplefilter("ignore")
        gm.prepare(place)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    left = [path for path in sorted(place.rglob("*")) if path not in before]
    assert left in ([], [place / ".unetq"]), left


MASK = "site2-sc01-mask-r1.nii.gz"
Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: (p / MASK).unlink(), ("site2-sc01-image.nii.gz has no mask", MASK)),
        (lambda p: save(p / MASK, cord()[:-1]), (MASK, "3 x 12 x 15", "3 x 12 x 16", "has the shape")),
        (lambda p: save(p / MASK, cord(), LAS * 1.1), (MASK, "a spacing of 5 x 0.5 x 0.5 mm", "5.5 x 0.55 x 0.55")),
        (lambda p: save(p / MASK, cord(), LAS * [[-1], [1], [1], [1]]), (MASK, "orientation LAS", "RAS")),
        (lambda p: save(p / MASK, cord(), LAS + np.eye(4)[3] * 0.4), (MASK, "another place or angle")),
        (lambda p: save(p / MASK, cord() * np.uint8(3)), (MASK, "holds the value 3", "1 = gray and 2 = white")),
        (lambda p: save(p / MASK, cord() * np.float32(0.5)), (MASK, "holds the value 0.5")),
        (lambda p: save(p / MASK, np.where(cord() == 2, 2, 0).astype(np.uint8)), (MASK, "marks no gray matter")),
        (lambda p: save(p / MASK, np.zeros(SHAPE, np.uint8)), (MASK, "marks no gray matter")),
        (lambda p: (p / MASK).write_bytes((p / MASK).read_bytes()[:60]), (MASK, "truncated or corrupt NIfTI")),
        (lambda p: save(p / "site2-sc01-image.nii", np.ones(SHAPE)), ("two studies of the name site2-sc01",)),
        (lambda p: save(p / "site2-sc01-mask-r1.nii", cord()), ("two masks of the rater r1",)),
        (lambda p: (p / "subjects.tsv").write_text("case,subject\n"), ("subjects.tsv must have the columns",)),
        (lambda p: (p / "subjects.tsv").write_text("case\tsubject\nx\ty\n"), ("does not say whose study site1-sc01",)),
        (lambda p: (p / "site3-sc01-image.nii.gz").unlink(), ("holds 2 subjects",)),
        (lambda p: save(p / MASK, cord(), np.diag([-0.7, 0.7, 5, 1]), coded=False), (MASK, "0.7 x 0.7 mm")),
    ],
)  # fmt: skip
def test_one_bad_study_is_a_sentence_and_nothing_is_left(spoil: Spoil, words: tuple[str, ...], tmp_path: Path) -> None:
    spoil(challenge(tmp_path))
    refused(tmp_path, *words)


@pytest.mark.realdata
def test_real_studies(realdata: Path, tmp_path: Path) -> None:
    out = gm.prepare(realdata, tmp_path / "out", white_matter=True)
    data = Dataset.open(out)
    for path in sorted((realdata / "gm").glob("*-mask-r1.nii.gz")):
        mask, case = nib.load(path), data.case(path.name.split("-mask")[0])
        for label in (1, 2):
            assert np.count_nonzero(case.truth == label) == np.count_nonzero(np.asarray(mask.dataobj) == label)
        assert nib.aff2axcodes(case.channels[0].affine) == ("L", "P", "S")
        gray, white = (np.median(case.channels[0].array[case.truth == label]) for label in (1, 2))
        assert 1.05 < gray / white < 1.3  # gray matter is the brighter one, so the masks sit right
    homes = {case: split for split, cases in data.splits.items() for case in cases}
    assert homes["site1-sc01"] == homes["site1-sc02"]  # one person
    assert len(json.loads((out / "splits_final.json").read_text())) == 4  # people
    data.fingerprint()
