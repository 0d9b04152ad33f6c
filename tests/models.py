"""Made-up quantized U-Nets for tests: legal codes, scales that spread activations over their range, files to load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from unetq.cost import level_size
from unetq.deploy import container
from unetq.graph import Graph, Op, Params, Tensor, check, layout
from unetq.runtime.meta import ModelMeta
from unetq.spec import NetSpec, PrepSpec

__all__ = ["exact_in_int8", "random_graph", "write"]


def random_graph(net: NetSpec, seed: int) -> Graph:
    """The graph of `net` with random numbers, the same for the same seed.

    A made-up image is run through the network, and each channel's m and b are chosen so that its codes have their mean
    near the middle of the range and a standard deviation of 0.3 of it. Some m are negative (as behind a batch norm with
    a negative scale), and half of the layers have powers of two for m and halves for b, so that ties occur.
    """
    rng = np.random.default_rng(seed)
    bare = layout(net)
    steps = _steps(bare, rng)
    height = max(24, 3 * 2**net.depth)  # the bottom needs a few pixels too
    image = rng.normal(size=(net.in_channels, height, height - 4)).astype(np.float32)
    values: dict[str, NDArray[Any]] = {"image": image}
    params: dict[str, Params] = {}
    for op in bare.ops:
        out = bare.tensors[op.output]
        x = values[op.inputs[0]]
        size = level_size((height, height - 4), out.level)
        if op.kind == "quantize":
            m = np.float32(1) / np.array([steps[op.output]], np.float32)
            params[op.name] = Params(np.zeros(0, np.int8), m, np.zeros(0, np.float32))
            values[op.output] = np.clip(np.rint(x * m[0]), out.lo, out.hi).astype(np.int32)
        elif op.kind in ("conv", "transposed"):
            codes = _codes(op, out.channels, bare.tensors[op.inputs[0]].channels, rng)
            acc = (_conv if op.kind == "conv" else _transposed)(x, codes, size).astype(np.float32)
            m, b = _scales(acc, out, rng)
            params[op.name] = Params(codes, m, b)
            y = acc * m[:, None, None] + b[:, None, None]
            values[op.output] = y if out.kind == "float" else np.clip(np.rint(y), out.lo, out.hi).astype(np.int32)
        else:
            values[op.output] = _copy(op, [values[name] for name in op.inputs], size)
    graph = Graph(bare.tensors, bare.ops, params, steps)
    check(graph)
    return graph


def exact_in_int8(graph: Graph) -> Graph:
    """A graph like `graph` whose numbers an int8 network with scales has exactly: steps and m powers of two, b whole multiples
    of m, no weight code -128 (which has no negative)."""

    def power(x: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(np.copysign(2.0 ** np.round(np.log2(np.abs(x))), x), np.float32)

    steps = {name: float(power(np.array(step))) for name, step in graph.steps.items()}
    params = {"input": replace(graph.params["input"], m=np.array([1 / steps["input"]], np.float32))}
    for op in graph.weighted:
        old = graph.params[op.name]
        m = power(old.m)
        params[op.name] = Params(np.maximum(old.codes, -127), m, (np.round(old.b / m) * m).astype(np.float32))
    exact = replace(graph, params=params, steps=steps)
    check(exact)
    return exact


def write(graph: Graph, path: Path | str, extra: Mapping[str, str] | None = None) -> None:
    """A model file of any graph, also one that `write_model` would refuse; `extra` are further keys."""
    meta = ModelMeta(PrepSpec(window=(-1000.0, 1000.0)), intended_use="Tests of this software only.")
    writer = gguf.GGUFWriter(path, "unetq")
    writer.add_custom_alignment(container.ALIGNMENT)
    writer.add_uint32("unetq.schema_version", container.SCHEMA_VERSION)
    writer.add_string("unetq.content_hash", container.HASH_PLACE.decode())
    container._add_graph(writer, graph)
    container._add_meta(writer, meta)
    container._add_numbers(writer, graph)
    for key, value in (extra or {}).items():
        writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    container._sign(Path(path))


def _steps(graph: Graph, rng: np.random.Generator) -> dict[str, float]:
    """One step a quantizer; the input's spreads a standard normal image over its codes."""
    of: dict[str, float] = {}
    for tensor in graph.tensors.values():
        low, high = (0.02, 0.03) if tensor.quantizer == "input" else (0.01, 1.0)
        step = 1.0 if tensor.kind == "float" else float(np.float32(rng.uniform(low, high)))
        of.setdefault(tensor.quantizer, step)
    return {name: of[tensor.quantizer] for name, tensor in graph.tensors.items()}


def _codes(op: Op, out: int, cin: int, rng: np.random.Generator) -> NDArray[np.int8]:
    shape = (out, op.kernel, op.kernel, cin)
    if op.weights == "binary":
        return (2 * rng.integers(0, 2, shape) - 1).astype(np.int8)
    if op.weights == "ternary":
        return rng.integers(-1, 2, shape).astype(np.int8)
    return rng.integers(-(2 ** (op.wbits - 1)), 2 ** (op.wbits - 1), shape).astype(np.int8)


def _scales(
    acc: NDArray[np.float32], out: Tensor, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    middle, spread = (0.0, 1.0) if out.kind == "float" else ((out.lo + out.hi) / 2, 0.3 * (out.hi - out.lo))
    # A channel that is nearly constant in the made-up image must not get an enormous scale.
    deviation = np.maximum(acc.std(axis=(1, 2)), 0.05 * acc.std() + 1e-3)
    m = spread / deviation * rng.choice([-1.0, 1.0, 1.0, 1.0], out.channels)
    if rng.random() < 0.5:
        m = np.copysign(2.0 ** np.round(np.log2(np.abs(m))), m)
        b = np.round(2 * (middle - acc.mean(axis=(1, 2)) * m)) / 2
    else:
        b = middle - acc.mean(axis=(1, 2)) * m
    return m.astype(np.float32), b.astype(np.float32)


def _conv(x: NDArray[Any], codes: NDArray[np.int8], size: tuple[int, int]) -> NDArray[Any]:
    pad = codes.shape[1] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    acc = np.zeros((codes.shape[0], *size))  # float64: exact for such sums, and a matrix product is fast
    for dy in range(codes.shape[1]):
        for dx in range(codes.shape[2]):
            window = x[:, dy : dy + size[0], dx : dx + size[1]].reshape(x.shape[0], -1)
            acc += (codes[:, dy, dx].astype(np.float64) @ window.astype(np.float64)).reshape(acc.shape)
    return acc


def _transposed(x: NDArray[Any], codes: NDArray[np.int8], size: tuple[int, int]) -> NDArray[Any]:
    acc = np.zeros((codes.shape[0], 2 * x.shape[1], 2 * x.shape[2]))
    for dy in range(2):
        for dx in range(2):
            acc[:, dy::2, dx::2] = np.tensordot(codes[:, dy, dx].astype(np.float64), x.astype(np.float64), 1)
    return acc[:, : size[0], : size[1]]


def _copy(op: Op, inputs: list[NDArray[Any]], size: tuple[int, int]) -> NDArray[Any]:
    x = inputs[0]
    if op.kind == "concat":
        return np.concatenate(inputs)
    if op.kind == "maxpool":
        low = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)), mode="edge")
        windows = np.stack([low[:, dy::2, dx::2] for dy in range(2) for dx in range(2)])
        return np.asarray(windows.max(axis=0))
    if op.kind == "nearest":
        return x.repeat(2, 1).repeat(2, 2)[:, : size[0], : size[1]]
    p = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="edge")
    sums = [(3 * p[:, 1:-1] + p[:, :-2]), (3 * p[:, 1:-1] + p[:, 2:])]
    rows = np.stack(sums, 2).reshape(x.shape[0], 2 * x.shape[1], -1)
    cols = np.stack([3 * rows[:, :, 1:-1] + rows[:, :, :-2], 3 * rows[:, :, 1:-1] + rows[:, :, 2:]], 3)
    full: NDArray[Any] = np.rint(cols.reshape(x.shape[0], 2 * x.shape[1], -1) / 16)
    return full[:, : size[0], : size[1]].astype(np.int32)
