"""ONNX in the engines that will run it: int8 equals the reference where its numbers allow, float equals the float network."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray

from tests.models import exact_in_int8, random_graph
from unetq.deploy.lower import fold, lower
from unetq.deploy.numbers import bias_steps, int8_layer, int8_tensor
from unetq.deploy.onnx import Int8Form, float_layers, write_float, write_int8
from unetq.errors import UserError
from unetq.graph import Graph
from unetq.nets.unet import build, calibrate
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, QuantSpec

Image = NDArray[np.float32]
FLOAT = QuantSpec.of("float")


def in_onnxruntime(path: Path, image: Image) -> Image:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image[None]})[0][0])


def in_openvino(path: Path, image: Image) -> Image:
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled(image[None])[0][0])


ENGINES = [in_onnxruntime, in_openvino]


def made_up(net: NetSpec, size: tuple[int, int]) -> Image:
    """No value near a tie of an input's step (a power of two from 1/64 up): engines add the zero point before they round."""
    image = np.random.default_rng(3).standard_normal((net.in_channels, *size), dtype=np.float32)
    return np.round(image * 64) / 64 + np.float32(1 / 256)


@pytest.mark.parametrize(
    ("net", "size"),
    [
        (NetSpec(base=8, depth=2, in_channels=2, out_channels=3), (40, 56)),
        (NetSpec(base=5, depth=2, upsampling="bilinear"), (37, 51)),
        (NetSpec(base=8, depth=1, upsampling="transposed", last_kernel=1), (19, 33)),
        (NetSpec(base=8, depth=2, quant=QuantSpec.of("fixed", 8, 8)), (33, 16)),
        (NetSpec(base=8, depth=2, quant=QuantSpec.of("fixed", 2, 2), upsampling="bilinear"), (24, 24)),
        (NetSpec(base=8, depth=2, quant=QuantSpec.of("binary", None, 1)), (24, 25)),
        (NetSpec(base=8, depth=2, quant=QuantSpec.of("ternarynet"), upsampling="transposed"), (24, 24)),
    ],
    ids=lambda value: (
        f"{value.quant.label} {value.upsampling}" if isinstance(value, NetSpec) else "x".join(map(str, value))
    ),
)
@pytest.mark.parametrize("engine", ENGINES)
def test_int8_equals_the_reference(net: NetSpec, size: tuple[int, int], engine: object, tmp_path: Path) -> None:
    graph, image = exact_in_int8(random_graph(net, 1)), made_up(net, size)
    path = write_int8(graph, Int8Form(size), tmp_path / "int8.onnx")
    want = run_reference(graph, image)["head"]
    np.testing.assert_array_equal(engine(path, image), want)  # type: ignore[operator]
    if net.quant.abits == 8:  # nothing to stretch
        np.testing.assert_array_equal(
            engine(write_int8(graph, Int8Form(size, stretch=True), path), image),  # type: ignore[operator]
            want,
        )


@pytest.mark.parametrize("wbits", [4, 8])
@pytest.mark.parametrize("engine", ENGINES)
def test_int8_of_any_numbers(engine: object, wbits: int, tmp_path: Path) -> None:
    """Steps and scales that are no powers of two: biases are rounded to the accumulator's steps, which is all that differs from
    the reference; in a network of random weights it grows from layer to layer. `stretch` rounds activations more finely."""
    size, path = (48, 40), tmp_path / "int8.onnx"
    net = NetSpec(base=16, depth=2, quant=QuantSpec.of("lsq", wbits, 6))
    graph, image = lower(trained(net)), made_up(net, size)
    got = engine(write_int8(graph, Int8Form(size), path), image)  # type: ignore[operator]
    rounded = run_reference(with_whole_biases(graph), image)["head"]
    assert np.mean(np.abs(got - rounded) < 1e-4 * rounded.std()) > 0.99
    want = np.asarray(run_reference(graph, image)["head"])
    assert np.abs(got - want).mean() < 0.1 * want.std()
    stretched = engine(write_int8(graph, Int8Form(size, stretch=True), path), image)  # type: ignore[operator]
    assert np.abs(stretched - want).mean() < 0.3 * want.std()


def with_whole_biases(graph: Graph) -> Graph:
    """What int8 leaves of the biases, but for the last layer's, which is in float."""
    params = dict(graph.params)
    for op in graph.weighted[:-1]:
        old = params[op.name]
        step = old.m.astype(np.float64) / bias_steps(old.codes)
        params[op.name] = replace(old, b=(np.rint(old.b / step) * step).astype(np.float32))
    return replace(graph, params=params)


@pytest.mark.parametrize("engine", ENGINES)
def test_logits_in_bytes(engine: object, tmp_path: Path) -> None:
    net, size = NetSpec(base=8, depth=1), (16, 24)
    graph, image = exact_in_int8(random_graph(net, 4)), made_up(net, size)
    want = np.asarray(run_reference(graph, image)["head"])
    step = float(np.abs(want).max()) / 127
    got = engine(write_int8(graph, Int8Form(size, True, step), tmp_path / "a.onnx"), image)  # type: ignore[operator]
    stretched = engine(write_int8(graph, Int8Form(size, True), tmp_path / "b.onnx"), image)  # type: ignore[operator]
    # Half a step, and the last layer's bias is rounded to the accumulator's steps.
    assert np.abs(got - stretched).max() <= step / 2 + np.abs(graph.params["head"].m).max() * 63 / 255 + 1e-6


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed"])
@pytest.mark.parametrize("engine", ENGINES)
def test_float_equals_torch(upsampling: str, engine: object, tmp_path: Path) -> None:
    net, size = NetSpec(base=6, depth=2, quant=FLOAT, upsampling=upsampling), (37, 45)  # type: ignore[arg-type]
    network, image = trained(net), made_up(net, size)
    path = write_float(network.graph, fold(network), size, tmp_path / "float.onnx")
    with torch.inference_mode():
        want = network(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(engine(path, image), want, atol=2e-5 * np.abs(want).max())  # type: ignore[operator]


@pytest.mark.parametrize("scheme", ["fixed", "lsq", "ternarynet"])
def test_dequantized_layers_are_those_that_training_saw(scheme: str) -> None:
    network = trained(NetSpec(base=4, depth=1, quant=QuantSpec.of(scheme), upsampling="transposed"))
    graph = lower(network)
    folded, dequantized = fold(network), float_layers(graph)
    assert list(folded) == list(dequantized) == [op.name for op in graph.weighted]
    for name, layer in folded.items():
        scale = np.abs(layer.weight).max()
        np.testing.assert_allclose(dequantized[name].weight, layer.weight, rtol=1e-5, atol=1e-6 * scale)
        np.testing.assert_allclose(dequantized[name].bias, layer.bias, rtol=1e-5, atol=1e-6 * scale)


def test_numbers_that_do_not_fit_bytes() -> None:
    graph = random_graph(NetSpec(base=4, depth=1), 0)
    params = graph.params["enc0.conv1"]
    codes = params.codes.copy()
    codes[:] = -128
    hard = replace(params, codes=codes, m=np.float32([1e-12, -0.5, 0, 0]), b=np.float32([3, -2, 5, 0]))
    graph = replace(graph, params={**graph.params, "enc0.conv1": hard})
    layer, into = int8_layer(graph, graph.op("enc0.conv1"), False), graph.steps["input"]
    assert (layer.scale > 0).all()
    np.testing.assert_allclose(layer.bias * layer.scale * into, hard.b * graph.steps["enc0.conv1"], rtol=1e-5)
    assert [set(channel.flat) for channel in layer.codes] == [{0}, {127}, {0}, {0}]


def test_bytes_of_a_tensor() -> None:
    graph = random_graph(NetSpec(base=4, depth=1, quant=QuantSpec.of("fixed", 4, 6)), 0)
    exact, stretched = (int8_tensor(graph, "enc0.conv1", stretch) for stretch in (False, True))
    assert (exact.lo, exact.hi, exact.zero) == (0, 63, 0) and (stretched.lo, stretched.hi) == (0, 255)
    assert stretched.scale * 255 == pytest.approx(exact.scale * 63)
    image = int8_tensor(graph, "input", True)
    assert (image.lo, image.hi, image.zero, image.scale) == (0, 255, 128, graph.steps["input"])


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    graph = random_graph(NetSpec(base=4, depth=1), 0)
    with pytest.raises(UserError, match=r"unetq\[peers\]"):
        write_int8(graph, Int8Form((8, 8)), tmp_path / "int8.onnx")
    assert list(tmp_path.iterdir()) == []


def trained(net: NetSpec) -> torch.nn.Module:
    """As if trained: batch norms with statistics and gains of both signs, biases, calibrated steps."""
    torch.manual_seed(0)
    network = build(net)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.5)
            torch.nn.init.normal_(module.bias)
    for op in network.graph.weighted:
        torch.nn.init.normal_(network.layer(op.name).bias)
    calibrate(network, [torch.randn(2, net.in_channels, 32, 32) for _ in range(3)])
    return network.eval()
