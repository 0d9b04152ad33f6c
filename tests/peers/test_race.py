"""The race: contenders in processes of their own, in turns; what is missing or fails is named and does no harm."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from tests.models import random_graph, write
from unetq import _native
from unetq.errors import UserError
from unetq.peers import contenders, race
from unetq.peers.contenders import CONTENDERS
from unetq.peers.race import RaceOptions, bench_peers
from unetq.report.tables import peers_table
from unetq.spec import NetSpec

OURS = CONTENDERS[0]
ORT = next(c for c in CONTENDERS if c.name == "onnxruntime-int8")
OPTIONS = RaceOptions((48, 40), threads=1, rounds=3)
ROW = {"ms_median", "ms_min", "ms_p90", "ratio", "peak_rss_bytes", "version", "setting", "executed", "same_mask"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write(random_graph(NetSpec(base=8, depth=2), 0), path)
    return path


def children() -> list[str]:
    return [p.name for p in Path("/proc/self/task").iterdir() for _ in p.joinpath("children").read_text().split()]


def test_turns(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = replace(ORT, form="int8", setting="logits in float")
    monkeypatch.setattr(race, "CONTENDERS", (OURS, ORT, slower))
    before, steps = children(), []
    result = bench_peers(model, replace(OPTIONS, threads=2), lambda done, total: steps.append((done, total)))
    assert children() == before, "no process is left"
    assert steps == [(i, 6) for i in range(1, 7)]
    assert result["threads"] == 2 and result["cap_isa"] is None and result["left_out"] == {}
    assert {"isa", "layers", "gmacs", "ms_p90", "repeats", "size"} <= set(result)
    for turn in (result, result["one_thread"]):
        assert list(turn["peers"]) == ["onnxruntime-int8"], "the faster of two variants"
        peer = turn["peers"]["onnxruntime-int8"]
        assert set(peer) == ROW
        assert peer["ratio"] == pytest.approx(peer["ms_median"] / turn["ms_median"])
        assert 0 < peer["ms_min"] <= peer["ms_median"] <= peer["ms_p90"]
        assert min(turn["peak_rss_bytes"], peer["peak_rss_bytes"]) > 2**20
        assert peer["executed"]["int8"] >= 10 and peer["same_mask"] > 0.9
    peers_table(result)


def test_what_is_missing_or_fails_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(ORT, name="absent", package="surely-not-there")
    broken = replace(ORT, name="broken", engine="onnxruntime", form="model")
    monkeypatch.setattr(race, "CONTENDERS", (OURS, absent, broken))
    found = importlib.util.find_spec
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None if "-" in name else found(name))
    result = bench_peers(model, OPTIONS)
    assert result["peers"] == {} and "one_thread" not in result
    assert result["left_out"]["absent"] == "surely-not-there not installed"
    assert "model.gguf" in result["left_out"]["broken"]
    peers_table(result)


@pytest.mark.parametrize(
    ("isa", "beyond"),
    [("avx2", ("avx512vnni", "avx512icelake", "avx512amx")), ("avx512vnni", ("avx512icelake", "avx512amx"))],
)
def test_cap(model: Path, monkeypatch: pytest.MonkeyPatch, isa: str, beyond: tuple[str, ...]) -> None:
    if isa not in _native.isas():
        pytest.skip(f"this CPU has no {isa}")
    monkeypatch.setattr(race, "CONTENDERS", (OURS, ORT))
    result = bench_peers(model, replace(OPTIONS, cap_isa=isa))
    assert result["isa"] == isa == result["cap_isa"]
    assert not any(layer["kernel"].endswith(beyond) for layer in result["layers"])
    assert result["peers"]["onnxruntime-int8"]["capped"] is False
    peers_table(result)
    with pytest.raises(UserError, match='did you mean "avx2"'):
        bench_peers(model, replace(OPTIONS, cap_isa="avx"))
