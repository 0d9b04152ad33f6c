"""`unetq data`: made up, checked, fetched and prepared as a user would."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.cli.test_bad_input import UNETQ, refused, unetq
from tests.train.made import dataset

TINY = """
name: tiny
net: {base: 4, depth: 1, cap: 8}
prep: {tile: 64}
iterations: 1
batch: 1
crop: 32
"""


def test_phantom_and_check(tmp_path: Path) -> None:
    made = unetq("data", "phantom", "gm", tmp_path / "gm", "--cases", "3", "--json")
    assert json.loads(made.stdout) == {"dataset": "gm", "folder": str(tmp_path / "gm"), "cases": 3, "seed": 0}
    command = [*UNETQ, "data", "check", str(tmp_path / "gm"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)  # its table has lines
    assert "site3-sc01" in done.stderr
    assert "montage-01.png, from the top: site1-sc01, site2-sc01, site3-sc01" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["check.json", "montage-01.png"]
    again = unetq("data", "check", tmp_path / "gm", "--out", tmp_path / "out", "--json")
    assert json.loads(again.stdout) == json.loads((tmp_path / "out" / "check.json").read_text())


def test_what_is_refused(tmp_path: Path) -> None:
    refused(unetq("data", "fetch", "gm", "--out", tmp_path / "gm"), "register at", "unpack its train folder into")
    refused(unetq("data", "check", tmp_path / "gone", "--out", tmp_path / "out"), "There is no folder")
    folder = ("data", "prepare", "folder", tmp_path)
    refused(unetq(*folder, "--label", "x"), '--label "x" must be VALUE=NAME')
    refused(unetq(*folder), "holds no images/ with masks/ or labels/")
    assert not list(tmp_path.iterdir())


def test_a_warning_is_a_sentence_and_a_run_knows_its_data(tmp_path: Path) -> None:
    """A data set by path, without splits: which cases are held out is said; `evaluate RUN` needs no --data."""
    data = dataset(tmp_path / "own")
    (data / "splits_final.json").unlink()
    (tmp_path / "tiny.yaml").write_text(TINY)
    train = ("train", "--dataset", data, "--config", tmp_path / "tiny.yaml", "--quantizer", "float")
    done = unetq(*train, "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if "names no test cases" in line]
    assert len(said) == 1 and said[0].startswith("unetq: ") and ".py" not in said[0]
    scored = unetq("evaluate", tmp_path / "run", "--engine", "torch", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["dataset"] == "discs"
