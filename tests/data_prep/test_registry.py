"""Where a verb finds its data, and what it says where there are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.data_prep.made import challenge, stacks
from unetq.data_prep.common import CACHE, is_prepared
from unetq.data_prep.registry import DATASETS, locate, prepare
from unetq.errors import UserError


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
