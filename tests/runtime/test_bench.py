"""Timing a model file in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import random_graph, write
from unetq import _native
from unetq.errors import UserError
from unetq.runtime.bench import bench, parse_size
from unetq.spec import NetSpec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write(random_graph(NetSpec(base=8, depth=2), 0), path)
    return path


def test_bench(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNETQ_ISA", "scalar")
    result = bench(model, (40, 56), threads=2, repeats=5)
    assert (result["isa"], result["threads"], result["size"], result["repeats"]) == ("scalar", 2, "40x56", 5)
    assert 0 < result["ms_min"] <= result["ms_median"] <= result["ms_p90"]
    assert 2**20 < result["peak_rss_bytes"] < 200 * 2**20
    assert [layer["name"] for layer in result["layers"]][:2] == ["input", "enc0.conv1"]
    assert all(set(layer) == {"name", "op", "kernel", "ms", "gmacs", "of_peak", "why"} for layer in result["layers"])
    kernels = {row["name"] for row in _native.kernels()} | {"in_place"}
    assert {layer["kernel"] for layer in result["layers"]} <= kernels
    # The layers' own figures and the whole's are of one size: MACs = sum of ms x GMAC/s.
    assert (result["peak_gmacs"], result["of_peak"], result["layers"][1]["of_peak"]) == (None, None, None)  # scalar
    assert result["floor"]["multiplications_ms"] is None and 0 < result["floor"]["bytes_ms"] < 1000
    macs = sum(layer["ms"] * layer["gmacs"] for layer in result["layers"])
    assert macs == pytest.approx(result["ms_median"] * result["gmacs"])


@pytest.mark.parametrize("isa", [isa for isa in _native.isas() if isa.startswith("avx")])
def test_share_of_the_peak(model: Path, monkeypatch: pytest.MonkeyPatch, isa: str) -> None:
    monkeypatch.setenv("UNETQ_ISA", isa)
    result = bench(model, (24, 24), repeats=3)
    assert result["of_peak"] == pytest.approx(result["gmacs"] / result["peak_gmacs"])
    for layer in result["layers"]:
        assert layer["of_peak"] == pytest.approx(layer["gmacs"] / result["peak_gmacs"])
        assert layer["of_peak"] < 4, "no kernel saves more than F(4x3), 3.6 times"
    assert 1 < result["peak_gmacs"] < 20000
    direct = result["gmacs"] * result["ms_median"] / result["peak_gmacs"]
    products = result["floor"]["multiplications_ms"]
    if isa == "avx512amx":
        assert products == pytest.approx(direct), "tiles need no Winograd"
    else:
        assert 1 / 3 * direct < products < direct, "Winograd does some of the layers"
    if isa != "avx2":  # half as wide, and three instructions in place of one
        monkeypatch.setenv("UNETQ_ISA", "avx2")
        assert 1.5 * bench(model, (24, 24), repeats=3)["peak_gmacs"] < result["peak_gmacs"]


def test_refusals(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"none\.gguf"):
        bench(tmp_path / "none.gguf", (8, 8))
    with pytest.raises(UserError, match=r"^[^:]*model\.gguf: An image of 999999 x 999999 pixels needs more memory"):
        bench(model, (999999, 999999))
    monkeypatch.setenv("UNETQ_ISA", "mmx")
    with pytest.raises(UserError, match="UNETQ_ISA"):
        bench(model, (8, 8))


@pytest.mark.parametrize("text", ["512", "512x", "0x512", "-1x5", "512x512x3", "5.0x5", "", "1000000000x1"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="like 512x512"):
        parse_size(text)
