"""`unetq tune`: what it reports, where it keeps it, and what bench says of it then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.models import random_graph, write
from unetq.cli.verbs import app
from unetq.errors import UserError
from unetq.runtime.bench import bench
from unetq.spec import NetSpec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(random_graph(NetSpec(base=8, depth=1), 0), tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def tune(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["tune", *map(str, words), "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_tune_then_bench(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache" / "timings.txt"
    result = tune(model, "--size", "24x32", "--threads", 1, "--cache", file)
    keys = ("cpu", "isa", "threads", "size", "timings", "replaced", "seconds", "ms_first", "ms_chosen", "layers")
    assert tuple(result) == keys
    assert (result["size"], result["threads"], result["timings"], result["replaced"]) == ("24x32", 1, str(file), "")
    assert result["ms_chosen"] <= result["ms_first"]
    for layer in result["layers"]:
        assert {layer["first"], layer["chosen"]} <= set(layer["ms"])
    assert [layer["name"] for layer in result["layers"]][:2] == ["input", "enc0.conv1"]

    timed = bench(model, (24, 32), repeats=3)["layers"]
    assert all("timings" not in layer["why"] for layer in timed)
    monkeypatch.setenv("UNETQ_TIMINGS", str(file))
    timed = bench(model, (24, 32), repeats=3)["layers"]
    chosen = {layer["name"]: layer["chosen"] for layer in result["layers"]}
    assert {row["name"]: row["kernel"] for row in timed if row["kernel"] != "in_place"} == chosen
    assert all("fastest by this machine's timings" in row["why"] for row in timed if row["kernel"] != "in_place")


def test_the_table_and_what_was_replaced(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = model.with_name("timings.txt")
    monkeypatch.setenv("UNETQ_TIMINGS", str(file))
    file.write_text("unetq timings 1\n")
    done = CliRunner().invoke(app, ["tune", str(model), "--size", "16x16"])
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert f"kept in {file}, which was damaged and begins anew" in said and "enc0.conv2" in said
    assert tune(model, "--size", "8x8")["replaced"] == ""


def test_the_default_size_is_a_tile(model: Path, tmp_path: Path) -> None:
    assert tune(model, "--cache", tmp_path / "timings.txt")["size"] == "512x512"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "UNETQ_TIMINGS is off, so there is no file for the times; name one with --cache."),
        (["--size", "big"], "like 512x512"),
        (["--cache", "FOLDER"], "cannot be written"),
        (["--cache", "t.txt", "--size", "999999x999999"], "more memory"),
    ],
)
def test_refusals(model: Path, words: list[str], sentence: str) -> None:
    words = [str(model.parent) if word == "FOLDER" else word for word in words]
    done = CliRunner().invoke(app, ["tune", str(model), "--size", "8x8", *words])
    assert isinstance(done.exception, UserError) and sentence in str(done.exception)
    assert str(done.exception).count("\n") == 0
