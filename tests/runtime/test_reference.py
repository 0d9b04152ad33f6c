"""The reference's arithmetic, against torch in float64 operation by operation, and against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.models import random_graph, write
from unetq import _native
from unetq.cost import level_size
from unetq.errors import UserError
from unetq.graph import Graph, Op, Params, Tensor, layout
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, QuantSpec

Size = tuple[int, int]
NETS = [
    NetSpec(base=3, depth=1, quant=QuantSpec.of("fixed", 4, 6)),
    NetSpec(in_channels=2, out_channels=3, base=3, depth=2, upsampling="bilinear", quant=QuantSpec.of("lsq", 8, 8)),
    NetSpec(base=3, depth=2, upsampling="transposed", last_kernel=1, quant=QuantSpec.of("ternarynet")),
    NetSpec(base=3, depth=2, upsampling="bilinear", quant=QuantSpec.of("ternarynet")),
    NetSpec(base=3, depth=2, cap=5, quant=QuantSpec.of("binary", abits=1)),
]


def by_torch(graph: Graph, op: Op, inputs: list[NDArray[Any]], size: Size) -> NDArray[Any]:
    x = torch.from_numpy(np.concatenate(inputs).astype(np.float64))[None]
    if op.kind == "concat":
        return x[0].numpy()
    if op.kind == "maxpool":
        return F.max_pool2d(x, 2, ceil_mode=True)[0].numpy()
    if op.kind in ("nearest", "bilinear"):
        corners = {} if op.kind == "nearest" else {"align_corners": False}
        return F.interpolate(x, scale_factor=2, mode=op.kind, **corners).round()[0, :, : size[0], : size[1]].numpy()
    params, out = graph.params[op.name], graph.tensors[op.output]
    if op.kind == "quantize":
        return np.clip(np.rint(inputs[0] * params.m[0]), out.lo, out.hi)
    weight = torch.from_numpy(params.codes.astype(np.float64)).permute(0, 3, 1, 2)
    if op.kind == "conv":
        acc = F.conv2d(x, weight, padding="same")[0].numpy()
    else:
        acc = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)[0, :, : size[0], : size[1]].numpy()
    product = acc.astype(np.float32) * params.m[:, None, None]
    y = product + params.b[:, None, None]
    return y if out.kind == "float" else np.clip(np.rint(y), out.lo, out.hi)


@pytest.mark.parametrize("net", NETS)
@settings(max_examples=12, deadline=None)
@given(size=st.tuples(st.integers(1, 19), st.integers(1, 19)), seed=st.integers(0, 999))
def test_each_operation_is_that_of_torch_in_float64(net: NetSpec, size: Size, seed: int) -> None:
    graph = random_graph(net, seed)
    image = np.random.default_rng(seed).normal(0, 2, (net.in_channels, *size)).astype(np.float32)
    values = {"image": image, **run_reference(graph, image)}
    assert set(values) == set(graph.tensors)
    for op in graph.ops:
        out = graph.tensors[op.output]
        cut = level_size(size, out.level)
        assert values[op.output].shape == (out.channels, *cut)
        want = by_torch(graph, op, [values[name] for name in op.inputs], cut)
        np.testing.assert_array_equal(values[op.output], want, op.name)


def one_layer(codes: list[int], m: float, b: float, bits: int = 8) -> Graph:
    """image -> codes of the same numbers -> one 1x1 convolution -> logits that are its codes."""
    tensors = [
        Tensor("image", len(codes), 0, "float", 32, "image"),
        Tensor("input", len(codes), 0, "signed", 8, "input"),
        Tensor("a", 1, 0, "unsigned", bits, "a"),
        Tensor("head", 1, 0, "float", 32, "head"),
    ]
    ops = (
        Op("input", "quantize", ("image",), "input"),
        Op("a", "conv", ("input",), "a", 1, 8, "twos"),
        Op("head", "conv", ("a",), "head", 1, 8, "twos"),
    )
    weights = np.array(codes, np.int8).reshape(1, 1, 1, -1)
    none, one, zero = np.zeros(0, np.float32), np.ones(1, np.float32), np.zeros(1, np.float32)
    params = {
        "input": Params(np.zeros(0, np.int8), one, none),
        "a": Params(weights, np.array([m], np.float32), np.array([b], np.float32)),
        "head": Params(np.ones((1, 1, 1, 1), np.int8), one, zero),
    }
    return Graph({t.name: t for t in tensors}, ops, params, {t.name: 1.0 for t in tensors})


def through_both(graph: Graph, pixel: list[float], folder: Path) -> float:
    """The logit of one pixel; the same from the reference and from every instruction set here."""
    image = np.array(pixel, np.float32).reshape(-1, 1, 1)
    want = float(run_reference(graph, image)["head"].item())
    write(graph, folder / "one.gguf")
    with pytest.MonkeyPatch.context() as patch:
        for isa in _native.isas():
            patch.setenv("UNETQ_ISA", isa)
            assert _native.Model(str(folder / "one.gguf"), 1).run(image).item() == want, isa
    return want


@pytest.mark.parametrize(
    ("acc", "m", "b", "code"),
    [(1, 0.5, 0, 0), (3, 0.5, 0, 2), (5, 0.5, 0, 2), (7, 0.5, 0, 4), (1, 0.5, 1, 2), (-9, 1, 0, 0), (-9, -1, 0, 9)],
)
def test_half_goes_to_even_and_below_zero_to_zero(acc: int, m: float, b: float, code: int, tmp_path: Path) -> None:
    assert through_both(one_layer([1], m, b), [acc], tmp_path) == code


def test_codes_end_at_the_highest(tmp_path: Path) -> None:
    assert through_both(one_layer([1], 1, 0, bits=3), [100], tmp_path) == 7


def test_product_and_sum_are_rounded_apart(tmp_path: Path) -> None:
    # 4097 x (1 + 2^-12) = 4098 + 2^-12 is halfway between two float32; rounded to even it is 4098, and minus 4097.5
    # that makes 0.5 -> 0. One fused operation would make 0.5 + 2^-12 -> 1.
    graph = one_layer([17, 17], 1 + 2.0**-12, -4097.5)
    assert through_both(graph, [127, 114], tmp_path) == 0


def test_large_sums_are_rounded_to_float32(tmp_path: Path) -> None:
    # 127 x 127 x 1041 + 8 = 16790297 is odd and above 2^24: halfway between two float32, it goes to the even 16790296.
    # 0.75 of that is 12592722; of the unrounded sum it would be 12592722.75 -> 12592723.
    graph = one_layer([127] * 1041 + [1], 0.75, -12592722)
    assert through_both(graph, [127.0] * 1041 + [8.0], tmp_path) == 0


def test_the_image_is_rounded_half_to_even_and_clamped() -> None:
    image = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 1e30, -1e30, 3e38], np.float32).reshape(1, 3, 3)
    codes = run_reference(one_layer([1], 1, 0), image)["input"]
    assert codes.reshape(-1).tolist() == [0, 2, 2, 0, -2, 127, 127, -128, 127]


def test_a_product_beyond_float32_is_the_highest_code() -> None:
    graph = one_layer([127], 3e38, 0)
    assert run_reference(graph, np.full((1, 1, 1), 127, np.float32))["a"].item() == 255


def test_bilinear_by_hand() -> None:
    net = NetSpec(base=1, cap=1, depth=1, upsampling="bilinear")
    graph = random_graph(net, 0)
    values = run_reference(graph, np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32))
    (a, b), (c, d) = values["mid.conv2"][0, :2, :2].tolist()
    up = values["up0"][0]
    assert up.shape == (3, 4)
    assert up[0, 0] == a
    assert up[0, 1] == round((12 * a + 4 * b) / 16)
    assert up[1, 1] == round((9 * a + 3 * b + 3 * c + d) / 16)
    assert up[2, 2] == round((9 * d + 3 * b + 3 * c + a) / 16)
    assert up[2, 3] == round((12 * d + 4 * b) / 16)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((2, 4, 4), np.float32), r"takes an image of shape \(1, H, W\), not \(2, 4, 4\)"),
        (np.zeros((4, 4), np.float32), "takes an image of shape"),
        (np.zeros((1, 0, 4), np.float32), "takes an image of shape"),
        (np.full((1, 2, 2), np.nan, np.float32), "not finite"),
        (np.full((1, 2, 2), np.inf, np.float32), "not finite"),
    ],
)
def test_bad_images_are_refused(image: NDArray[np.float32], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        run_reference(random_graph(NetSpec(base=2, depth=1), 0), image)


def test_graphs_without_numbers_or_with_float_layers_are_refused() -> None:
    image = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(UserError, match="export the run first"):
        run_reference(layout(NetSpec(base=2, depth=1)), image)
    graph = random_graph(NetSpec(base=2, depth=1), 0)
    floating = layout(NetSpec(base=2, depth=1, float_first_last=True, quant=QuantSpec.of("ternarynet")))
    with pytest.raises(UserError, match="integer graphs"):
        run_reference(replace(floating, params=graph.params), image)


def test_a_sum_beyond_32_bits_is_refused() -> None:
    graph = one_layer([127] * 200_000, 1, 0)
    with pytest.raises(UserError, match="leaves the 32 bits"):
        run_reference(graph, np.full((200_000, 1, 1), 127, np.float32))
