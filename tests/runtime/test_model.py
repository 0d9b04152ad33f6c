"""A model file, opened: graph, metadata and figures as they were written; what does not fit is one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.models import random_graph
from unetq.cost import net_cost
from unetq.deploy import container
from unetq.deploy.container import write_model
from unetq.errors import UserError
from unetq.graph import layout
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import open_model
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, PrepSpec, QuantSpec

NETS = [
    NetSpec(base=3, depth=1),
    NetSpec(
        in_channels=2, out_channels=4, base=3, depth=3, cap=9, upsampling="bilinear", quant=QuantSpec.of("lsq", 7, 5)
    ),
    NetSpec(base=5, depth=2, upsampling="transposed", last_kernel=1, quant=QuantSpec.of("ternarynet")),
    NetSpec(base=3, depth=2, quant=QuantSpec.of("binary", abits=3), layers={"mid.conv1": QuantSpec.of("fixed", 3, 3)}),
]


def meta_of(net: NetSpec, **values: Any) -> ModelMeta:
    names = [Label(f"organ {i}", str(100 + i) if i % 2 else "") for i in range(max(1, net.out_channels - 1))]
    return replace(ModelMeta(labels=tuple(names), intended_use="Tests only."), **values)


@pytest.mark.parametrize("net", NETS)
def test_graph_and_metadata_return(net: NetSpec, tmp_path: Path) -> None:
    graph = random_graph(net, 3)
    prep = PrepSpec(window=(-0.1, 1 / 3), normalise="unit", tile=96, overlap=0.3)
    meta = meta_of(net, prep=prep, provenance={"dataset": "em", "val": {"mean": 0.1}, "größe": [1, None]})
    model = open_model(write_model(graph, meta, tmp_path / "model.gguf"))
    assert model.meta == meta
    assert (model.graph.tensors, model.graph.ops) == (graph.tensors, graph.ops)
    assert dict(model.graph.steps) == dict(graph.steps)
    for name, params in graph.params.items():
        back = model.graph.params[name]
        for got, want in ((back.codes, params.codes), (back.m, params.m), (back.b, params.b)):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
    image = np.random.default_rng(0).normal(size=(net.in_channels, 13, 11)).astype(np.float32)
    np.testing.assert_array_equal(model.run(image), run_reference(model.graph, image)["head"])
    assert (model.channels, model.classes, model.stride) == (net.in_channels, net.out_channels, 2**net.depth)


def test_no_window(tmp_path: Path) -> None:
    meta = meta_of(NETS[0])
    assert open_model(write_model(random_graph(NETS[0], 0), meta, tmp_path / "model.gguf")).meta == meta


@pytest.mark.parametrize("net", NETS)
def test_info(net: NetSpec, tmp_path: Path) -> None:
    path = write_model(random_graph(net, 0), meta_of(net), tmp_path / "model.gguf")
    info, cost = open_model(path).info(), net_cost(layout(net))
    assert list(info) == [
        "parameters", "bytes_file", "bytes_float32", "bytes_nominal", "bytes_honest", "layers", "hash",
    ]  # fmt: skip
    assert info["parameters"] == cost.parameters and info["bytes_float32"] == 4 * cost.parameters
    assert info["bytes_nominal"] == cost.bytes_nominal and info["bytes_file"] == path.stat().st_size
    # Honest bytes are what the tensors of the file hold (the input's one scale is no layer's).
    tensors = {t.name: int(t.n_bytes) for t in gguf.GGUFReader(path).tensors}
    for layer in info["layers"]:
        assert layer["bytes"] == sum(tensors.pop(f"{layer['name']}.{part}") for part in ("weight", "m", "b"))
    assert tensors == {"input.m": 4}
    assert info["bytes_honest"] == sum(layer["bytes"] for layer in info["layers"]) < info["bytes_file"]
    last = info["layers"][-1]
    assert (last["name"], last["op"], last["wbits"], last["abits"]) == ("head", "conv", 8, 32)


def broken(path: Path, changes: dict[str, Any]) -> Path:
    """A file with a right hash, but with other keys than the exporter writes (None: without the key)."""

    class Writer(gguf.GGUFWriter):
        def add_key_value(self, key: str, val: Any, *args: Any, **kwargs: Any) -> None:
            if changes.get(key, val) is not None:
                vtype = (gguf.GGUFValueType.get_type(changes[key]),) if key in changes else args
                super().add_key_value(key, changes.get(key, val), *vtype, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container.gguf, "GGUFWriter", Writer)
        return write_model(random_graph(NETS[0], 0), meta_of(NETS[0], prep=PrepSpec(window=(0, 1))), path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unetq.prep.normalise": None}, "preparation, labels or provenance are missing"),
        ({"unetq.prep.normalise": "median"}, 'normalise" in the model file is'),
        ({"unetq.prep.tile": "wide"}, 'tile" in the model file is'),
        ({"unetq.prep.tile": 3}, "tile of 3 pixels"),
        ({"unetq.prep.window_high": None}, "preparation, labels or provenance are missing"),
        ({"unetq.prep.window_high": -5.0}, "window"),
        ({"unetq.prep.overlap": float("nan")}, "overlap"),
        ({"unetq.labels.snomed": None}, "preparation, labels or provenance are missing"),
        ({"unetq.labels.snomed": ["a", "b"]}, "preparation, labels or provenance are missing"),
        ({"unetq.labels.name": 7}, "preparation, labels or provenance are missing"),
        ({"unetq.provenance": "{"}, "preparation, labels or provenance are missing"),
        ({"unetq.provenance": "[" * 100_000}, "preparation, labels or provenance are missing"),
        ({"unetq.provenance": "[]"}, "provenance is not a JSON object"),
        ({"unetq.schema_version": 2}, "version"),
    ],
)
def test_keys_that_do_not_fit(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        open_model(broken(tmp_path / "broken.gguf", changes))
    assert "broken.gguf" in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("hello")
    for name in ("none.gguf", "text.gguf", "."):
        with pytest.raises(UserError) as caught:
            open_model(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_images_that_do_not_fit(tmp_path: Path) -> None:
    model = open_model(write_model(random_graph(NETS[0], 0), meta_of(NETS[0]), tmp_path / "model.gguf"))
    with pytest.raises(UserError, match="channels"):
        model.run(np.zeros((3, 8, 8), np.float32))
