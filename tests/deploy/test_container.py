"""The model file: readable by gguf's own tools, as docs/model-file.md says, and as small as its bits."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.models import random_graph
from unetq.cost import net_cost, packed_bytes
from unetq.deploy import container
from unetq.deploy.container import write_model
from unetq.errors import UserError
from unetq.graph import Graph, Params, layout
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.model import open_model
from unetq.runtime.packing import unpack_codes
from unetq.spec import NetSpec, PrepSpec, QuantSpec

NET = NetSpec(base=5, depth=2, quant=QuantSpec.of("fixed", 3, 5))
META = ModelMeta(PrepSpec(window=(0, 255)), (Label("cell", "4421005"),), {"seed": 1}, "Research only.")


@pytest.fixture(scope="module")
def graph() -> Graph:
    return random_graph(NET, 0)


@pytest.fixture
def path(graph: Graph, tmp_path: Path) -> Path:
    return write_model(graph, META, tmp_path / "model.gguf")


def test_gguf_reads_it(graph: Graph, path: Path) -> None:
    reader = gguf.GGUFReader(path)
    values = {name: field.contents() for name, field in reader.fields.items()}
    assert values["general.architecture"] == "unetq" and values["general.alignment"] == reader.alignment == 64
    assert values["unetq.graph.op.name"] == [op.name for op in graph.ops]
    assert values["unetq.labels.snomed"] == ["4421005"]
    names = values["unetq.graph.tensor.name"]
    for i, op in enumerate(graph.ops):
        assert names[values["unetq.graph.op.input_a"][i]] == op.inputs[0]
        second = values["unetq.graph.op.input_b"][i]
        assert (names[second] if second >= 0 else None) == (op.inputs[1] if len(op.inputs) > 1 else None)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    for op in graph.weighted:
        packed, params = tensors[f"{op.name}.weight"], graph.params[op.name]
        assert packed.tensor_type == gguf.GGMLQuantizationType.I8
        assert packed.n_bytes == packed_bytes(params.codes.size, op.wbits)
        codes = unpack_codes(np.asarray(packed.data).view(np.uint8), params.codes.size, op.wbits, op.weights)
        np.testing.assert_array_equal(codes, params.codes.reshape(-1))
        np.testing.assert_array_equal(tensors[f"{op.name}.m"].data, params.m)
        np.testing.assert_array_equal(tensors[f"{op.name}.b"].data, params.b)
    assert all(tensor.data_offset % 64 == 0 for tensor in reader.tensors)


def test_gguf_dump_reads_it(path: Path) -> None:
    command = [sys.executable, "-m", "gguf.scripts.gguf_dump", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "unetq.content_hash" in done.stdout and "head.weight" in done.stdout


def test_hash_is_of_the_file_with_zeros_in_its_place(path: Path) -> None:
    written, data = open_model(path).hash, path.read_bytes()
    assert data.count(written.encode()) == 1
    assert hashlib.sha256(data.replace(written.encode(), b"0" * 64)).hexdigest() == written


def test_same_numbers_same_bytes(graph: Graph, path: Path, tmp_path: Path) -> None:
    assert write_model(graph, META, tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def blank(net: NetSpec) -> Graph:
    """Random codes without the search for scales, which takes long in a large network."""
    bare, rng = layout(net), np.random.default_rng(0)
    params = {"input": Params(np.zeros(0, np.int8), np.ones(1, np.float32), np.zeros(0, np.float32))}
    for op in bare.weighted:
        out, source = bare.tensors[op.output].channels, bare.tensors[op.inputs[0]].channels
        half = 1 << (op.wbits - 1)
        low, high = (-1, 1) if op.weights == "ternary" else (-half, half - 1)
        codes = rng.integers(low, high + 1, (out, op.kernel, op.kernel, source)).astype(np.int8)
        params[op.name] = Params(codes, np.ones(out, np.float32), np.zeros(out, np.float32))
    return replace(bare, params=params)


@pytest.mark.parametrize(("wbits", "share"), [(4, 7.7), (2, 15)])
def test_size_of_the_papers_network_follows_the_bits(wbits: int, share: float, tmp_path: Path) -> None:
    net = NetSpec(
        base=64, depth=3, cap=256, upsampling="bilinear", last_kernel=1, quant=QuantSpec.of("fixed", wbits, 6)
    )
    graph = blank(net)
    path = write_model(graph, META, tmp_path / "model.gguf")
    cost = net_cost(graph)
    assert cost.parameters > 4_800_000
    assert path.stat().st_size * share <= cost.bytes_float32
    assert open_model(path).info()["bytes_file"] == path.stat().st_size


def test_each_bit_more_makes_the_file_an_eighth_of_a_byte_a_weight_larger(tmp_path: Path) -> None:
    sizes = {}
    for wbits in range(1, 9):
        net = replace(NET, base=16, quant=QuantSpec.of("fixed", wbits, 6))
        sizes[wbits] = write_model(blank_or_binary(net), META, tmp_path / "model.gguf").stat().st_size
    inner = [op for op in layout(net).weighted if op.name not in ("enc0.conv1", "head")]
    weights = sum(blank(net).params[op.name].codes.size for op in inner)
    for wbits in range(2, 9):
        assert abs(sizes[wbits] - sizes[wbits - 1] - weights / 8) < 64 * len(inner)


def blank_or_binary(net: NetSpec) -> Graph:
    graph = blank(net)
    params = {
        op.name: replace(graph.params[op.name], codes=np.where(graph.params[op.name].codes < 0, -1, 1).astype(np.int8))
        for op in graph.weighted
        if op.weights == "binary"
    }
    return replace(graph, params={**graph.params, **params})


def refused_without_a_trace(graph: Graph, meta: ModelMeta, folder: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        write_model(graph, meta, folder / "model.gguf")
    assert list(folder.iterdir()) == []


def test_graphs_that_are_none(graph: Graph, tmp_path: Path) -> None:
    refused_without_a_trace(layout(NET), META, tmp_path, "all quantized")
    refused_without_a_trace(layout(NetSpec(quant=QuantSpec.of("float"))), META, tmp_path, "runs in torch")
    wrong = {"up0": graph.params["mid.conv1"], "mid.conv1": graph.params["mid.conv2"]}
    refused_without_a_trace(replace(graph, params={**graph.params, **wrong}), META, tmp_path, "mid.conv1")
    codes = replace(graph.params["mid.conv1"], codes=graph.params["mid.conv1"].codes + np.int8(4))
    refused_without_a_trace(
        replace(graph, params={**graph.params, "mid.conv1": codes}),
        META,
        tmp_path,
        "mid.conv1 has weight codes outside",
    )
    scale = replace(graph.params["mid.conv1"], m=graph.params["mid.conv1"].m * np.float32(np.nan))
    refused_without_a_trace(
        replace(graph, params={**graph.params, "mid.conv1": scale}), META, tmp_path, "mid.conv1 has a scale that is not"
    )


@pytest.mark.parametrize("labels", [(), (Label("a"), Label("b"))])
def test_labels_that_do_not_fit(labels: tuple[Label, ...], graph: Graph, tmp_path: Path) -> None:
    refused_without_a_trace(graph, replace(META, labels=labels), tmp_path, "tells 1 labels apart, but")


def test_missing_folder(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Cannot write"):
        write_model(graph, META, tmp_path / "none" / "model.gguf")


def test_a_failing_write_leaves_the_old_file(graph: Graph, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(container, "_sign", full)
    with pytest.raises(UserError, match="No space left"):
        write_model(graph, META, path)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == [path.name]
