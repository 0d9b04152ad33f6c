"""Anyone's nnU-Net folder by path: its own splits or none, completed with a test, and untouched where it is read-only."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data_prep.made import CASES, nnunet
from unetq.data_prep.common import CACHE
from unetq.data_prep.nnunet import is_raw, open_raw
from unetq.errors import UserError
from unetq.runtime.dataset import Dataset

FOLDS = [{"train": CASES[2:], "val": CASES[:2]}, {"train": CASES[:8], "val": CASES[8:]}]


def opened(folder: Path, fold: int = 0) -> Dataset:
    with pytest.warns(UserWarning, match="names no test cases, so 2 of its 10 are held out: c"):
        return Dataset.open(open_raw(folder), fold)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_splits(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "Dataset007_Discs")
    before = contents(folder)
    data = opened(folder)
    assert data.name == "Discs"
    assert [len(data.splits[part]) for part in ("train", "val", "test")] == [6, 2, 2]
    assert data.folder.parent == folder / CACHE
    assert (data.folder / "labelsTr" / "c3.nii.gz").resolve() == (folder / "labelsTr" / "c3.nii.gz").resolve()
    assert data.case("c3").truth.shape == (1, 40, 40)
    assert {name: data for name, data in contents(folder).items() if not name.startswith(CACHE)} == before
    again = opened(folder)
    assert again.folder == data.folder
    assert len(list((folder / CACHE).iterdir())) == 1


def test_with_its_own_splits(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "set", FOLDS)
    first, second = opened(folder), opened(folder, 1)
    assert first.splits["test"] == second.splits["test"] == opened(nnunet(tmp_path / "other")).splits["test"]
    for data, fold in zip((first, second), FOLDS, strict=True):
        for part in ("train", "val"):
            assert list(data.splits[part]) == [case for case in fold[part] if case not in data.splits["test"]]
    assert len(first.fingerprint()) == 64


def test_a_folder_whose_splits_have_a_test_is_used_where_it_lies(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "set", [{"train": CASES[:6], "val": CASES[6:8], "test": CASES[8:]}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_raw(folder) == folder
    assert not (folder / CACHE).exists()


def test_a_read_only_folder_is_never_written_into(tmp_path: Path, own_cache: Path) -> None:
    folder = nnunet(tmp_path / "one" / "set", FOLDS)
    before = contents(folder)
    folder.chmod(0o555)
    data = opened(folder)
    folder.chmod(0o755)
    assert contents(folder) == before
    assert data.folder.parent == own_cache / "unetq"
    assert data.case("c3").truth.any()


def test_two_folders_of_one_name_and_description_are_two_data_sets(tmp_path: Path) -> None:
    one, two = nnunet(tmp_path / "one" / "set", FOLDS), tmp_path / "two" / "set"
    shutil.copytree(one, two)
    shutil.copy(one / "labelsTr/c4.nii.gz", two / "labelsTr/c3.nii.gz")
    for folder in (one, two):
        folder.chmod(0o555)
    a, b = opened(one), opened(two)
    assert a.folder != b.folder  # both are in the user's cache
    assert not np.array_equal(a.case("c3").truth, b.case("c3").truth)


def test_subjects_that_dataset_json_names_are_kept_together(tmp_path: Path) -> None:
    pairs = {case: f"s{int(case[1:]) // 2}" for case in CASES}
    folder = nnunet(tmp_path / "set", unetq={"subjects": pairs})
    with pytest.warns(UserWarning, match="2 of its 10 are held out"):
        data = Dataset.open(open_raw(folder))
    sides = [{pairs[case] for case in cases} for cases in data.splits.values()]
    assert sum(map(len, sides)) == 5


@pytest.mark.parametrize("nothing", [None, {}, {"subjects": None}])
def test_an_entry_of_ours_without_subjects(nothing: Any, tmp_path: Path) -> None:
    assert len(opened(nnunet(tmp_path / "set", unetq=nothing)).splits["test"]) == 2


def refused(folder: Path, *words: str) -> None:
    before = contents(folder) if folder.is_dir() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            open_raw(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for word in (str(folder), *words):
        assert word in said, said
    if folder.is_dir():
        assert contents(folder) == before
        assert not (folder / CACHE).exists() or not list((folder / CACHE).iterdir())


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ([{"train": CASES[:9], "val": CASES[8:]}], "subject c8 in train and in val"),
        ([{"train": ["c1", "zz"], "val": ["c2"]}], "names the case zz, which has no label"),
        ([{"train": CASES, "val": []}], "too few others to hold some out"),
        ({"train": CASES}, "holds something else"),
        ([CASES], "holds something else"),
        ([{"train": "c1", "val": ["c2"]}], "holds something else"),
        ([{"train": None, "val": ["c2"]}], "holds something else"),
    ],
)
def test_a_split_file_that_is_refused(folds: Any, words: str, tmp_path: Path) -> None:
    refused(nnunet(tmp_path / "set", folds), words)


def test_a_subject_on_both_sides_of_a_user_s_own_split(tmp_path: Path) -> None:
    pairs = {case: f"s{int(case[1:]) // 2}" for case in CASES}
    folder = nnunet(tmp_path / "set", FOLDS, unetq={"subjects": {**pairs, "c2": "s0"}})
    refused(folder, "Fold 0", "subject s0 in train and in val")
    complete = [{"train": CASES[:6], "val": CASES[6:9], "test": CASES[8:]}]
    (folder / "splits_final.json").write_text(json.dumps(complete))
    with pytest.raises(UserError, match=r"Case c8 of .*set is in two splits, val and test"):
        Dataset.open(open_raw(folder))


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    refused(tmp_path / "gone", "is no data set in the nnU-Net raw format")
    folder = nnunet(tmp_path / "set", FOLDS)
    assert is_raw(folder)
    (folder / "splits_final.json").write_text("[")
    refused(folder, "splits_final.json is damaged")
    (folder / "splits_final.json").unlink()
    (folder / "dataset.json").write_text("[]")
    refused(folder, "holds something else")
    nnunet(folder, file_ending=".png")
    refused(folder, "labelsTr holds no label file *.png")
    shutil.rmtree(folder / "labelsTr")
    assert not is_raw(folder)
    refused(folder, "labelsTr belong in it")


def test_too_few_cases(tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "set")
    for case in CASES[2:]:
        (folder / "labelsTr" / f"{case}.nii.gz").unlink()
    refused(folder, "holds 2 subjects")
