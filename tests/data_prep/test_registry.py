"""Where a verb finds its data, and what it says where there are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.data_prep.made import challenge, nnunet, pairs, stacks
from unetq.data_prep.common import CACHE, is_prepared
from unetq.data_prep.folder import FolderOptions
from unetq.data_prep.phantom import phantom
from unetq.data_prep.registry import (
    DATASETS,
    PrepareOptions,
    locate,
    prepare,
    preset,
    recognise,
    resolve,
)
from unetq.errors import UserError
from unetq.runtime.dataset import Dataset


@pytest.fixture(autouse=True)
def no_data_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNETQ_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return challenge(tmp_path / "raw", *stacks(6))


def test_named_folder_comes_before_the_environment_before_the_default(
    tmp_path: Path, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "environment", "data"):
        shutil.copytree(raw, tmp_path / name / "em")
    assert (tmp_path / locate("em", None)).is_relative_to(tmp_path / "data")
    monkeypatch.setenv("UNETQ_DATA", str(tmp_path / "environment"))
    assert locate("em", None).is_relative_to(tmp_path / "environment")
    assert locate("em", tmp_path / "option").is_relative_to(tmp_path / "option")


def test_prepared_folders_are_taken_as_they_are(tmp_path: Path, raw: Path) -> None:
    out = prepare("em", raw, tmp_path / "prepared" / "em")
    assert locate("em", out) == out
    assert locate("em", tmp_path / "prepared") == out
    about = json.loads((out / "dataset.json").read_text())
    del about["unetq"]  # somebody else's nnU-Net data
    (out / "dataset.json").write_text(json.dumps(about))
    assert locate("em", out) == out


def test_raw_files_are_prepared_on_first_use(raw: Path) -> None:
    first = locate("em", raw)
    assert is_prepared(first)
    assert first.parent == raw / CACHE
    assert locate("em", first) == first
    above = raw.rename(raw.parent / "em").parent
    assert locate("em", above) == locate("em", above / "em") == above / "em" / CACHE / first.name


def test_sentences(tmp_path: Path, raw: Path) -> None:
    for call in (lambda: locate("nhi", tmp_path), lambda: prepare("nhi", raw, None)):
        with pytest.raises(UserError, match='There is no data set "nhi": did you mean "nih"'):
            call()
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "gone", None):
        with pytest.raises(
            UserError, match=r"^No em data found in .*imagej\.net.*unetq data phantom em DIR.*\.$"
        ) as caught:
            locate("em", folder)
        assert ("there is no folder" in str(caught.value)) == (folder != tmp_path / "empty")
    other = prepare("em", raw, tmp_path / "other")
    about = json.loads((other / "dataset.json").read_text())
    about["unetq"]["dataset"] = "nih"
    (other / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match='other holds the data set "nih", not "em"'):
        locate("em", other)
    (other / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        locate("em", other)


def test_every_data_set_says_where_to_get_it_and_how_to_try_the_phantom() -> None:
    for name, dataset in DATASETS.items():
        assert f"unetq data phantom {name} DIR" in dataset.help


def test_a_data_set_by_path(tmp_path: Path, raw: Path) -> None:
    ours = prepare("em", raw, tmp_path / "prepared")
    assert resolve(str(ours), None) == ("em", ours)
    assert preset("em") == "em"
    folder = nnunet(tmp_path / "Dataset001_Discs")
    with pytest.warns(UserWarning, match="names no test cases"):
        name, place = resolve(str(folder), None)
    assert (name, preset(name)) == ("Discs", "default")
    assert is_prepared(place)
    with pytest.warns(UserWarning, match="names no test cases"):
        assert locate("Discs", folder) == place  # as a model trained on it calls it
    with pytest.raises(UserError, match=r"no data set in the nnU-Net raw format: dataset\.json"):
        resolve(str(raw), None)


def test_a_name_and_a_path_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^There is no folder gone/set: name a data set \(em, gm, nih\) or a folder"):
        resolve("gone/set", tmp_path)
    with pytest.raises(UserError, match=r"valid are: em, gm, nih, or the path of a folder in the nnU-Net format\.$"):
        resolve("zzzz", tmp_path)


def test_recognise(tmp_path: Path, raw: Path) -> None:
    prepared = recognise(raw)
    assert prepared.parent == raw / CACHE
    assert recognise(prepared) == prepared
    phantom("gm", tmp_path / "both", 3, 0, 64)
    assert recognise(tmp_path / "both").name.startswith("gm-")
    shutil.copytree(raw, tmp_path / "both" / "em")
    with pytest.raises(UserError, match=r"several data sets: choose one with --dataset em or gm\.$"):
        recognise(tmp_path / "both")
    assert recognise(tmp_path / "both", "gm").name.startswith("gm-")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no data set that is known here \(.*format\)\.$"):
        recognise(tmp_path / "empty")
    with pytest.raises(UserError, match=r"There is no folder .*gone\.$"):
        recognise(tmp_path / "gone")
    for kind in ("images", "masks"):
        (tmp_path / "empty" / kind).mkdir()
    with pytest.raises(UserError, match=r"prepare the pairs in it with `unetq data prepare folder`\.$"):
        recognise(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("em", PrepareOptions(white_matter=True), "--white-matter is for the data set gm"),
        ("nih", PrepareOptions(white_matter=True), "--white-matter is for the data set gm"),
        ("gm", PrepareOptions(folder=FolderOptions(subject="x")), "--subject, --label and --name are for"),
        ("em", PrepareOptions(folder=FolderOptions(labels={1: "a"})), "--subject, --label and --name are for"),
        ("foldr", PrepareOptions(), 'did you mean "folder"'),
    ],
)
def test_options_of_other_data_sets(name: str, options: PrepareOptions, words: str, raw: Path) -> None:
    with pytest.raises(UserError, match=words):
        prepare(name, raw, raw / "out", options)
    assert not (raw / "out").exists()


def test_options_reach_their_data_set(tmp_path: Path) -> None:
    phantom("gm", tmp_path / "gm", 3, 0, 64)
    out = prepare("gm", tmp_path / "gm", tmp_path / "white", PrepareOptions(white_matter=True))
    assert "white matter" in (out / "dataset.json").read_text()
    pairs(tmp_path / "pairs", *stacks(6), names=[f"p{k // 2}-{k}.png" for k in range(6)])
    options = PrepareOptions(folder=FolderOptions(subject=r"p\d", name="mine"))
    out = prepare("folder", tmp_path / "pairs", tmp_path / "out", options)
    assert json.loads((out / "dataset.json").read_text())["unetq"]["subjects"] == {f"p{k}": f"p{k}" for k in range(3)}


def test_a_subject_in_two_splits_of_a_prepared_folder(tmp_path: Path, raw: Path) -> None:
    out = prepare("em", raw, tmp_path / "prepared")
    folds = json.loads((out / "splits_final.json").read_text())
    folds[0]["val"].append(folds[0]["test"][0])
    (out / "splits_final.json").write_text(json.dumps(folds))
    with pytest.raises(UserError, match=r"Case em_00\d of .*prepared is in two splits, val and test"):
        Dataset.open(locate("em", out))
