"""The EM reader: what the challenge's files hold arrives whole, and every kind of bad file is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.data_prep.made import challenge, pairs, save, stacks
from unetq.data_prep import em
from unetq.data_prep.em import LABELS, VOLUME
from unetq.errors import UserError
from unetq.image.read import read
from unetq.runtime.dataset import Dataset


def refused(source: Path, *words: str, out: Path | None = None) -> None:
    with pytest.raises(UserError) as caught:
        em.prepare(source, out)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in words:
        assert word in said, said
    assert not list(source.glob(".unetq/*")), "something was left behind"


def test_prepared_folder(tmp_path: Path) -> None:
    images, labels = stacks(8)
    out = em.prepare(challenge(tmp_path / "raw", images, labels), tmp_path / "out")
    assert out == tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["dataset.json", "imagesTr", "labelsTr", "splits_final.json"]
    about = json.loads((out / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "EM"}
    assert about["labels"] == {"background": 0, "interior": 1}
    assert (about["numTraining"], about["file_ending"]) == (8, ".nii.gz")  # with the guard slices, as nnU-Net counts
    assert about["unetq"]["dataset"] == "em"
    assert about["unetq"]["snomed"] == {"interior": ""}
    assert len(about["unetq"]["hash"]) == 64
    for page in range(8):
        image = read(out / "imagesTr" / f"em_{page:03d}_0000.nii.gz")
        np.testing.assert_array_equal(image.array[0], images[page])
        np.testing.assert_allclose(image.spacing, (50e-6, 4e-6, 4e-6), rtol=1e-6)  # mm
        truth = read(out / "labelsTr" / f"em_{page:03d}.nii.gz").array
        assert truth.dtype == np.uint8
        np.testing.assert_array_equal(truth[0], labels[page] // 255)
    header = nib.load(out / "imagesTr/em_000_0000.nii.gz").header
    np.testing.assert_allclose(header.get_zooms(), (0.004, 0.004, 0.05), rtol=1e-6)
    assert header.get_xyzt_units()[0] == "micron"


def test_the_runtime_opens_it(tmp_path: Path) -> None:
    images, labels = stacks(9)
    data = Dataset.open(em.prepare(challenge(tmp_path, images, labels)))
    assert (data.name, data.channels, data.labels) == ("em", 1, ("interior",))
    assert [len(data.splits[s]) for s in ("train", "val", "test")] == [4, 1, 2]
    case = data.case("em_008")
    np.testing.assert_array_equal(case.truth[0], labels[8] // 255)
    assert len(data.fingerprint()) == 64


def test_same_files_same_bytes_and_other_files_another_hash(tmp_path: Path) -> None:
    images, labels = stacks(6)
    raw = challenge(tmp_path / "raw", images, labels)
    a, b = em.prepare(raw, tmp_path / "a"), em.prepare(raw, tmp_path / "b")
    files = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    assert len(files) == 14
    assert all((a / name).read_bytes() == (b / name).read_bytes() for name in files)
    images[3, 5, 5] ^= 1
    c = em.prepare(challenge(tmp_path / "other", images, labels), tmp_path / "c")
    assert (c / "dataset.json").read_text() != (a / "dataset.json").read_text()


def test_png_pairs_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    images, labels = stacks(12)
    out = em.prepare(pairs(tmp_path, images, labels))  # s0.png ... s11.png: s10 comes last but one, not third
    for page in (1, 2, 9, 10, 11):
        np.testing.assert_array_equal(read(out / f"imagesTr/em_{page:03d}_0000.nii.gz").array[0], images[page])
        np.testing.assert_array_equal(read(out / f"labelsTr/em_{page:03d}.nii.gz").array[0], labels[page] // 255)


def test_png_pairs_and_stacks_of_the_same_pixels_are_the_same_data(tmp_path: Path) -> None:
    images, labels = stacks(11)
    one = Dataset.open(em.prepare(pairs(tmp_path / "png", images, labels)))
    two = Dataset.open(em.prepare(challenge(tmp_path / "tif", images, labels)))
    assert one.fingerprint() == two.fingerprint()


def test_names_with_and_without_numbers_have_an_order(tmp_path: Path) -> None:
    images, labels = stacks(6)
    names = ["2.png", "10.PNG", "a.png", "a1b2.png", "a1b10.png", "b.png"]
    out = em.prepare(pairs(tmp_path, images, labels, names))
    for page in range(6):
        np.testing.assert_array_equal(read(out / f"imagesTr/em_{page:03d}_0000.nii.gz").array[0], images[page])


def test_sixteen_bit_images_and_labels_of_one(tmp_path: Path) -> None:
    images, labels = stacks(6)
    labels[2] = 255  # a slice without a membrane
    labels[4] = 0
    wide = images.astype(np.uint16) * 257
    out = em.prepare(challenge(tmp_path, wide, labels // 255))
    np.testing.assert_array_equal(read(out / "imagesTr/em_005_0000.nii.gz").array[0], wide[5])
    assert read(out / "labelsTr/em_002.nii.gz").array.min() == 1
    assert read(out / "labelsTr/em_004.nii.gz").array.max() == 0


def test_where_raw_files_are_found(tmp_path: Path) -> None:
    images, labels = stacks(6)
    assert em.find(tmp_path) is None
    assert em.find(tmp_path / "gone") is None
    (tmp_path / "images").mkdir()  # without labels: somebody else's
    assert em.find(tmp_path) is None
    below = pairs(tmp_path / "em", images, labels)
    assert em.find(tmp_path) == em.find(below) == below
    challenge(below, images, labels)
    (below / "images" / "stray.png").write_text("no picture")
    em.prepare(tmp_path, tmp_path / "out")  # the challenge's files come first


Spoil = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda i, y: (i, y[:-1]), ("has 8 pages, but train-labels.tif has 7",)),
        (lambda i, y: (i[:5], y[:5]), ("holds 5 slices", "need 6")),
        (lambda i, y: (i, np.where(i < 9, np.uint8(7), y)), ("hold the values 0, 7, 255",)),
        (lambda i, y: (i, np.full_like(y, 255)), ("hold the values 255,",)),
        (lambda i, y: (i, np.where(y, 255, 128).astype(np.uint8)), ("hold the values 128, 255",)),
        (lambda i, y: (i, i), ("0, 1, 2, 3, 4, ...",)),
        (lambda i, y: (i, y[:, :, :-1]), ("Slice 1", "72 x 64 pixels, but its label 71 x 64")),
        (lambda i, y: (i[:, :63], y[:, :63]), ("Slice 1", "72 x 63 pixels", "64 x 64 is the least")),
        (lambda i, y: (np.where(i == 3, np.nan, i).astype(np.float32), y), ("NaN",)),
    ],
)
def test_bad_stacks(spoil: Spoil, words: tuple[str, ...], tmp_path: Path) -> None:
    images, labels = spoil(*stacks(8))
    refused(challenge(tmp_path, images, labels), *words)


@pytest.mark.parametrize("name", [VOLUME, LABELS])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    challenge(tmp_path, *stacks(6))
    (tmp_path / name).unlink()
    refused(tmp_path, name, "is missing")


@pytest.mark.parametrize("name", [VOLUME, LABELS])
def test_truncated_and_corrupt(name: str, tmp_path: Path) -> None:
    challenge(tmp_path, *stacks(6))
    data = (tmp_path / name).read_bytes()
    for length in (0, 3, len(data) // 3, len(data) // 2, len(data) - 1):
        (tmp_path / name).write_bytes(data[:length])
        refused(tmp_path, name, "truncated or corrupt TIFF")
    for garbage in (b"<html>not found</html>", b"II*\0" + b"\xff" * 500):
        (tmp_path / name).write_bytes(garbage)
        refused(tmp_path, name, "truncated or corrupt TIFF")


def test_bad_pairs(tmp_path: Path) -> None:
    images, labels = stacks(7)
    pairs(tmp_path, images, labels)
    (tmp_path / "labels/s3.png").rename(tmp_path / "labels/s33.png")
    refused(tmp_path, "s3.png has no partner", "labels")
    (tmp_path / "images/s3.png").unlink()
    refused(tmp_path, "s33.png has no partner", "images")
    (tmp_path / "labels/s33.png").unlink()
    em.prepare(tmp_path, tmp_path / "out")
    save(labels[0, :, :-2], tmp_path / "labels/s5.png")
    refused(tmp_path, "Slice 5", "70 x 64")
    (tmp_path / "labels/s5.png").write_bytes(b"\x89PNG")
    refused(tmp_path, "s5.png", "truncated or corrupt PNG")
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    refused(tmp_path, "holds no PNG file")


def test_nothing_there_and_a_full_output(tmp_path: Path) -> None:
    refused(tmp_path / "gone", "ISBI 2012", "imagej.net", "unetq data phantom em DIR")
    raw = challenge(tmp_path / "raw", *stacks(6))
    em.prepare(raw, tmp_path / "out")
    refused(raw, "out is there already", out=tmp_path / "out")
    refused(raw, "is there already", out=raw / VOLUME)
    refused(raw, "is there already", out=raw)
    (tmp_path / "empty").mkdir()
    em.prepare(raw, tmp_path / "empty")
    refused(raw, "Cannot make the folder", out=raw / VOLUME / "out")


@pytest.mark.realdata
def test_real_slices(realdata: Path, tmp_path: Path) -> None:
    data = Dataset.open(em.prepare(realdata, tmp_path / "out"))
    pages = read(realdata / "em" / VOLUME).array
    labels = read(realdata / "em" / LABELS).array
    assert pages.shape[1:] == (512, 512)
    used = [int(case[3:]) for split in ("train", "val", "test") for case in data.splits[split]]
    assert len(used) == len(pages) - 2
    for page in used:
        case = data.case(f"em_{page:03d}")
        np.testing.assert_array_equal(case.channels[0].array[0], pages[page])
        np.testing.assert_array_equal(case.truth[0], labels[page] // 255)
    assert 0.7 < np.mean(labels == 255) < 0.85
    assert pages[labels == 0].mean() < pages[labels == 255].mean()
    data.fingerprint()  # no slice is on both sides
    if len(pages) == 23:
        assert [len(data.splits[s]) for s in ("train", "val", "test")] == [13, 3, 5]
