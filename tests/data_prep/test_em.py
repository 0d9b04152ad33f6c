"""EM: the challenge's files in, nnU-Net raw format out; what is wrong with the files is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from unetq.data_prep import em
from unetq.data_prep.common import block_splits
from unetq.data_prep.registry import locate
from unetq.errors import UserError
from unetq.image.read import read
from unetq.runtime.dataset import Dataset


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("UNETQ_DATA", raising=False)
    return tmp_path / "cache"


def stack(pages: int = 8, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (pages, side, side), np.uint8), rng.choice(
        np.array([0, 255], np.uint8), (pages, side, side)
    )


def save(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(images), str(folder / em.VOLUME))
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / em.LABELS))
    return folder


def test_prepared_data_is_nnunet_raw_and_keeps_pixels_and_spacing(tmp_path: Path) -> None:
    images, labels = stack()
    out = em.prepare(save(tmp_path / "raw", images, labels), tmp_path / "prepared")
    about = json.loads((out / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "interior": 1} and about["numTraining"] == 6
    for page in range(8):
        image = nib.load(out / f"imagesTr/em_{page:03d}_0000.nii.gz")
        assert image.shape == (64, 64, 1) and image.header.get_xyzt_units()[0] == "micron"
        np.testing.assert_allclose(image.header.get_zooms(), (0.004, 0.004, 0.05), rtol=1e-6)
        volume, label = (
            read(out / p) for p in (f"imagesTr/em_{page:03d}_0000.nii.gz", f"labelsTr/em_{page:03d}.nii.gz")
        )
        assert np.array_equal(volume.array[0], images[page])
        assert np.array_equal(label.array[0], labels[page] // 255)
        np.testing.assert_allclose(volume.spacing, (50e-6, 4e-6, 4e-6), rtol=1e-5)
    dataset = Dataset.open(out)
    dataset.fingerprint()
    assert dataset.name == "em" and dataset.labels == ("interior",)


def test_folder_of_png_pairs_prepares_to_the_same(tmp_path: Path) -> None:
    images, labels = stack()
    for name, pages in (("images", images), ("labels", labels)):
        (tmp_path / "png" / name).mkdir(parents=True)
        for page, picture in enumerate(pages):
            sitk.WriteImage(sitk.GetImageFromArray(picture), str(tmp_path / "png" / name / f"{page:02d}.png"))
    one = Dataset.open(em.prepare(tmp_path / "png", tmp_path / "a"))
    two = Dataset.open(em.prepare(save(tmp_path / "raw", images, labels), tmp_path / "b"))
    assert one.fingerprint() == two.fingerprint()


@pytest.mark.parametrize("count", [6, 7, 10, 23, 30, 60])
def test_splits_are_blocks_with_a_guard_between(count: int) -> None:
    names = [f"{i:02d}" for i in range(count)]
    splits = block_splits(names)
    place = {name: i for i, name in enumerate(names)}
    blocks = [[place[name] for name in splits[split]] for split in ("train", "val", "test")]
    for block in blocks:
        assert block and block == list(range(block[0], block[-1] + 1))
    assert blocks[1][0] - blocks[0][-1] == 2 and blocks[2][0] - blocks[1][-1] == 2
    assert blocks[0][0] == 0 and blocks[2][-1] == count - 1


def missing(folder: Path) -> None:
    (folder / em.LABELS).unlink()


def fewer(folder: Path) -> None:
    save(folder, stack(8)[0], stack(7)[1])


def three_values(folder: Path) -> None:
    images, labels = stack()
    labels[2, 3, 4] = 7
    save(folder, images, labels)


def all_interior(folder: Path) -> None:
    save(folder, stack()[0], np.full((8, 64, 64), 255, np.uint8))


def other_size(folder: Path) -> None:
    save(folder, stack(side=64)[0], stack(side=80)[1])


def tiny(folder: Path) -> None:
    save(folder, *stack(side=32))


def few(folder: Path) -> None:
    save(folder, *stack(pages=5))


def cut(folder: Path) -> None:
    data = (folder / em.VOLUME).read_bytes()
    (folder / em.VOLUME).write_bytes(data[: len(data) // 2])


def garbage(folder: Path) -> None:
    (folder / em.LABELS).write_bytes(b"II*\0" + b"\xff" * 500)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing, "train-labels.tif is missing"),
        (fewer, "8 pages, but train-labels.tif has 7"),
        (three_values, "values 0, 7, 255"),
        (all_interior, "values 255"),
        (other_size, r"\(64, 64\) pixels, but its label is \(80, 80\)"),
        (tiny, "64 at least"),
        (few, "at least 6"),
        (cut, "train-volume.tif"),
        (garbage, "train-labels.tif"),
    ],
)
def test_refusals(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "raw", *stack())
    spoil(folder)
    with pytest.raises(UserError, match=words):
        em.prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_target_that_is_taken_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "raw", *stack())
    out = em.prepare(folder, tmp_path / "out")
    with pytest.raises(UserError, match="another folder"):
        em.prepare(folder, out)
    with pytest.raises(UserError, match="not empty"):
        em.prepare(folder, folder)


def test_locate_finds_raw_and_prepared_data(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "sets/em", *stack())
    found = locate("em", tmp_path / "sets")
    assert found == locate("em", tmp_path / "sets/em") == locate("em", found)
    assert own_cache in found.parents and sorted(p.name for p in (tmp_path / "sets/em").iterdir()) == [
        em.LABELS,
        em.VOLUME,
    ]
    monkeypatch.setenv("UNETQ_DATA", str(tmp_path / "sets"))
    assert locate("em", None) == found
    save(tmp_path / "sets/em", *stack(pages=9))
    assert locate("em", None) != found, "other content, other cache"


def test_locate_refuses_with_help(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ISBI 2012 .* `unetq data phantom em DIR`"):
        locate("em", tmp_path)
    with pytest.raises(UserError, match='did you mean "em"'):
        locate("emm", tmp_path)


def test_two_processes_at_once_prepare_one_folder(tmp_path: Path, own_cache: Path) -> None:
    folder = save(tmp_path / "raw", *stack(pages=12))
    code = f"from unetq.data_prep.registry import locate; from pathlib import Path; print(locate('em', Path({str(folder)!r})))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(printed) == 1
    Dataset.open(printed.pop()).fingerprint()
    assert len(list((own_cache / "unetq").iterdir())) == 1, "no temporary folder is left"


@pytest.mark.realdata
def test_the_real_slices(realdata: Path) -> None:
    dataset = Dataset.open(locate("em", realdata))
    dataset.fingerprint()
    case = dataset.case(dataset.splits["test"][0])
    assert case.truth.shape == (1, 512, 512)
    assert 0.6 < case.truth.mean() < 0.9
    assert case.channels[0].array[case.truth == 0].mean() < case.channels[0].array[case.truth == 1].mean()
