"""`unetq bench --peers` and `--cap-isa`, `unetq export --format`: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.models import random_graph, write
from unetq.cli.verbs import app
from unetq.errors import UserError
from unetq.peers import race
from unetq.peers.contenders import CONTENDERS
from unetq.spec import NetSpec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(random_graph(NetSpec(base=4, depth=1), 0), tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def test_json_and_table(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(c for c in CONTENDERS if c.name in ("unetq", "openvino-int8", "onnxruntime-float"))
    monkeypatch.setattr(race, "CONTENDERS", few)
    call = ["bench", str(model), "--size", "32x24", "--repeats", "3", "--peers"]
    done = CliRunner().invoke(app, [*call, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result["peers"]) == {"openvino-int8", "onnxruntime-float"}
    assert all({"ms_median", "ratio", "peak_rss_bytes", "version"} <= set(peer) for peer in result["peers"].values())
    assert result["peers"]["openvino-int8"]["executed"] == {"int8": 7}
    assert result["peers"]["onnxruntime-float"]["executed"] == {"float": 7}
    assert CliRunner().invoke(app, [*call, "--cap-isa", "avx2"]).exit_code == 0


def test_cap_without_peers(model: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", str(model), "--size", "16x16", "--repeats", "3", "--cap-isa", "avx2", "--json"]
    )
    assert json.loads(done.stdout)["isa"] == "avx2"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["bench", "MODEL", "--cap-isa", "mmx"], "mmx"),
        (["export", "MODEL", "--format", "onnxx"], 'did you mean "onnx"'),
        (["export", "MODEL", "--format", "onnx", "--size", "5"], "like 512x512"),
        (["export", "MODEL", "--size", "64x64"], "--size is for ONNX"),
        (["export", "none.gguf", "--format", "onnx"], "none.gguf"),
    ],
)
def test_refusals(args: list[str], word: str, model: Path) -> None:
    done = CliRunner().invoke(app, [str(model) if arg == "MODEL" else arg for arg in args])
    assert isinstance(done.exception, UserError) and word in str(done.exception)
