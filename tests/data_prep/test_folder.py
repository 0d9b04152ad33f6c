"""Anyone's pairs of images and masks: subjects by a regular expression, labels by value, stacks, and every refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.data_prep.made import save
from unetq.data_prep.folder import FolderOptions, find, parse_labels, prepare, prepare_folder
from unetq.errors import UserError
from unetq.image.read import read
from unetq.runtime.dataset import Dataset

SUBJECT = FolderOptions(subject=r"p(\d+)-")


def picture(name: str, shape: tuple[int, ...] = (1, 12, 14)) -> np.ndarray:
    return np.random.default_rng(sum(map(ord, name))).integers(0, 256, shape).astype(np.uint8)


def blob(name: str, shape: tuple[int, ...] = (1, 12, 14), value: int = 255) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    top = sum(map(ord, name)) % 5
    mask[..., top : top + 5, 2:9] = value
    return mask


def pair(place: Path, name: str, suffix: str = ".png", **kinds: str) -> None:
    """A pair; the mask's own suffix may be another."""
    save(picture(name), place / "images" / f"{name}{suffix}")
    save(blob(name), place / "masks" / f"{name}{kinds.get('mask', suffix)}")


def slices(place: Path, people: tuple[int, ...] = (1, 2, 3), depth: int = 3, suffix: str = ".png") -> Path:
    """Slices p<person>-<slice>."""
    for person in people:
        for z in range(depth):
            pair(place, f"p{person}-{z + 8}", suffix)  # 8, 9, 10: the tenth comes last
    return place


def test_slices_of_a_subject_are_stacked_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    out = prepare(slices(tmp_path / "mine"), tmp_path / "out", SUBJECT)
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "foreground": 1}
    assert (about["name"], about["numTraining"]) == ("mine", 3)
    data = Dataset.open(out)
    for person in "123":
        case = data.case(person)
        expected = [f"p{person}-{z}" for z in (8, 9, 10)]
        np.testing.assert_array_equal(case.channels[0].array, np.concatenate([picture(name) for name in expected]))
        np.testing.assert_array_equal(case.truth, np.concatenate([blob(name, value=1) for name in expected]))
    assert sorted(case for cases in data.splits.values() for case in cases) == ["1", "2", "3"]


def test_without_an_expression_each_name_is_a_subject(tmp_path: Path) -> None:
    data = Dataset.open(prepare(slices(tmp_path, depth=2)))
    assert {case: data.subjects[case] for case in data.subjects} == {
        f"p{person}-{z}": f"p{person}-{z}" for person in (1, 2, 3) for z in (8, 9)
    }


def test_slices_of_other_sizes_are_cases_of_their_own_but_of_one_subject(tmp_path: Path) -> None:
    slices(tmp_path)
    save(picture("x", (1, 9, 14)), tmp_path / "images/p2-9.png")
    save(blob("x", (1, 9, 14)), tmp_path / "masks/p2-9.png")
    data = Dataset.open(prepare(tmp_path, options=SUBJECT))
    assert sorted(case for case, who in data.subjects.items() if who == "2") == ["2_p2-10", "2_p2-8", "2_p2-9"]
    assert any({"2_p2-10", "2_p2-8", "2_p2-9"} <= set(cases) for cases in data.splits.values())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_pictures_of_any_kind(suffix: str, tmp_path: Path) -> None:
    slices(tmp_path, suffix=suffix)
    case = Dataset.open(prepare(tmp_path, options=SUBJECT)).case("1")
    stored = np.concatenate([read(tmp_path / f"images/p1-{z}{suffix}").array for z in (8, 9, 10)])
    np.testing.assert_array_equal(case.channels[0].array, stored)
    truth = np.concatenate([blob(f"p1-{z}", value=1) for z in (8, 9, 10)])
    np.testing.assert_array_equal(case.truth, truth)  # a JPEG's ringing at the border is gone


def test_image_and_mask_may_be_of_two_kinds(tmp_path: Path) -> None:
    for name in "abc":
        pair(tmp_path, name, ".jpg", mask=".png")
    assert len(Dataset.open(prepare(tmp_path)).subjects) == 3


def test_labels_by_value(tmp_path: Path) -> None:
    for name in "abc":
        pair(tmp_path, name)
        mask = blob(name, value=7)
        mask[0, -1] = 3
        mask[0, 0, 0] = 9
        save(mask, tmp_path / f"masks/{name}.png")
    labels = parse_labels(["7=lesion", "3=cyst", "9=background"])
    data = Dataset.open(prepare(tmp_path, options=FolderOptions(labels=labels, name="tumours")))
    assert (data.name, data.labels) == ("tumours", ("lesion", "cyst"))
    truth = data.case("a").truth
    assert (truth[0, 0, 0], truth[0, -1, 0], truth.max()) == (0, 2, 2)
    joined = FolderOptions(labels=parse_labels(["7=mass", "3=mass", "9=background"]))
    assert Dataset.open(prepare(tmp_path, options=joined)).labels == ("mass",)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["7"], '--label "7" must be VALUE=NAME'),
        (["x=a"], "must be VALUE=NAME"),
        (["7="], "must be VALUE=NAME"),
        (["7=a", "7=b"], "names the value 7 twice"),
        (["7=background"], "names the background only"),
    ],
)
def test_labels_that_are_refused(texts: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_labels(texts)


def nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


GRID = np.diag([-0.5, 0.5, 2.0, 1.0])


def volumes(place: Path) -> Path:
    for name in ("a", "b", "c"):
        nifti(place / f"images/{name}.nii.gz", picture(name, (5, 12, 14)).T.astype(np.float64) / 3, GRID)
        nifti(place / f"labels/{name}.nii.gz", blob(name, (5, 12, 14)).T, GRID)
    return place


def test_nifti_volumes_keep_their_geometry(tmp_path: Path) -> None:
    volumes(tmp_path)
    assert find(tmp_path) == (tmp_path / "images", tmp_path / "labels")
    case = Dataset.open(prepare(tmp_path)).case("a")
    np.testing.assert_allclose(case.channels[0].affine, GRID)
    assert case.channels[0].array.dtype == np.float32
    np.testing.assert_allclose(case.channels[0].array, picture("a", (5, 12, 14)) / 3, rtol=1e-6)


def test_prepared_once_for_the_same_files_and_options(tmp_path: Path) -> None:
    slices(tmp_path)
    first = prepare(tmp_path, options=SUBJECT)
    assert prepare(tmp_path, options=SUBJECT) == first
    assert prepare(tmp_path) != first
    save(picture("other"), tmp_path / "images/p1-8.png")
    assert prepare(tmp_path, options=SUBJECT) != first


def test_names_in_any_alphabet_and_with_strange_signs(tmp_path: Path) -> None:
    for name in ("Müller", "患者1", "a b+c"):
        pair(tmp_path, name)
    assert sorted(Dataset.open(prepare(tmp_path)).subjects) == sorted(["Müller", "患者1", "a-b-c"])


def refused(place: Path, options: FolderOptions | None, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(place, place / "out", options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    assert not (place / "out").exists()
    assert not [path for path in place.iterdir() if path.name.startswith(".")]


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda p: (p / "masks/p2-9.png").unlink(), SUBJECT, ("p2-9.png has no partner", "masks")),
        (lambda p: (p / "images/p2-9.png").unlink(), SUBJECT, ("p2-9.png has no partner", "images")),
        (lambda p: save(picture("x"), p / "images/p2-9.tif"), SUBJECT, ("p2-9.png and p2-9.tif have one name",)),
        (lambda p: None, FolderOptions(subject="("), ('"(" is no regular expression',)),
        (lambda p: None, FolderOptions(subject=r"case(\d+)"), ('"case(\\d+)" finds no subject', "p1-8.png")),
        (lambda p: None, FolderOptions(subject=r"p\d+(x?)"), ("finds no subject",)),
        (lambda p: None, FolderOptions(subject=r"p"), ("holds 1 subject:", "--subject")),
        (lambda p: save(blob("x", (1, 12, 13)), p / "masks/p2-9.png"), SUBJECT, ("12 x 14", "p2-9.png 12 x 13")),
        (lambda p: save(blob("x", value=4), p / "masks/p2-9.png"), SUBJECT, ("3 values (0, 4, 255;", "--label")),
        (lambda p: save(blob("x", value=4), p / "masks/p2-9.png"), FolderOptions(labels={255: "a"}),
         ("masks/p2-9.png holds the value 4", "no --label")),
        (lambda p: save(picture("x", (1, 12, 14)).astype(np.uint16) * 257, p / "masks/p2-9.png"), SUBJECT, ("values",)),
        (lambda p: (p / "masks/p2-9.png").write_bytes(b"\x89PNG"), SUBJECT, ("p2-9.png", "corrupt PNG")),
        (lambda p: [path.unlink() for path in (p / "images").iterdir()], SUBJECT, ("images holds no image file",)),
        (lambda p: [save(0 * blob("x"), path) for path in (p / "masks").iterdir()], SUBJECT,
         ("hold the one value 0", "nothing is marked")),
    ],
)  # fmt: skip
def test_one_bad_pair_is_a_sentence_and_nothing_is_left(
    spoil: Spoil, options: FolderOptions, words: tuple[str, ...], tmp_path: Path
) -> None:
    spoil(slices(tmp_path))
    refused(tmp_path, options, *words)


def test_an_image_among_the_masks(tmp_path: Path) -> None:
    slices(tmp_path)
    wide = np.arange(12 * 30, dtype=np.uint16).reshape(1, 12, 30)
    save(wide, tmp_path / "images/p2-9.png")
    save(wide, tmp_path / "masks/p2-9.png")
    refused(tmp_path, SUBJECT, "p2-9.png holds 360 different values, so it is an image, not a mask")


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (GRID * 1.2, "a spacing of 2 x 0.5 x 0.5 mm"),
        (GRID * [[-1], [1], [1], [1]], "orientation LAS"),
        (GRID + np.eye(4)[3] * 0.9, "another place or angle"),
    ],
)
def test_a_nifti_mask_that_lies_elsewhere(affine: np.ndarray, words: str, tmp_path: Path) -> None:
    volumes(tmp_path)
    affine = affine.copy()
    affine[3] = (0, 0, 0, 1)
    nifti(tmp_path / "labels/b.nii.gz", blob("b", (5, 12, 14)).T, affine)
    refused(tmp_path, None, "b.nii.gz", words)


def test_jpeg_masks_that_cannot_be_read_as_black_and_white(tmp_path: Path) -> None:
    slices(tmp_path, suffix=".jpg")
    refused(tmp_path, FolderOptions(labels={255: "a"}), "is a JPEG, which holds no exact values", "PNG")
    save(blob("x", value=1), tmp_path / "masks/p2-9.jpg")
    refused(tmp_path, SUBJECT, "p2-9.jpg has no pixel above", "black and white")


def test_two_cases_of_one_name(tmp_path: Path) -> None:
    for name in ("a+b", "a b", "c"):
        pair(tmp_path, name)
    refused(tmp_path, None, "a b.png", "a+b.png", "two cases of the name a-b")
    for name in ("a+b", "a b"):
        for kind in ("images", "masks"):
            (tmp_path / kind / f"{name}.png").unlink()
    for name in ("d", "++"):
        pair(tmp_path, name)
    refused(tmp_path, None, "++.png makes a case without a name")


def test_places_that_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, None, "holds no images/ with masks/ or labels/")
    slices(tmp_path)
    with pytest.raises(UserError, match=r"Cannot read the folder .*gone"):
        prepare_folder(tmp_path / "gone", tmp_path / "masks")
    with pytest.raises(UserError, match="masks is there already"):
        prepare(tmp_path, tmp_path / "masks", SUBJECT)


@pytest.mark.realdata
def test_real_slices_of_patients(realdata: Path, tmp_path: Path) -> None:
    data = Dataset.open(prepare(realdata / "nih", tmp_path / "out", FolderOptions(r"PANCREAS_(\d+)")))
    assert len(data.subjects) == 50
    assert data.case("0001").truth.any((1, 2)).all()
    data.fingerprint()  # no slice is on both sides
