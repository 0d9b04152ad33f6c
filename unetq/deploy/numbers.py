"""The numbers of an integer graph as other engines want them: float layers, or 8-bit ones with scales and zero points.

A layer puts out q = rint(acc m + b) in steps s_out, of codes in steps s_in. So its real weight is code x m s_out / s_in, its real
bias b s_out: batch norm is in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.graph import Graph, Op, Params, Tensor

__all__ = ["FloatLayer", "Int8Layer", "Int8Tensor", "bias_steps", "float_layer", "int8_layer", "int8_tensor"]

# A bias in units of the accumulator stays below it, with room for the sum.
MAX_BIAS = 2.0**30
# A channel that is constant has any scale; this one keeps products of scales normal float32 numbers.
MIN_SCALE = 2.0**-60
NARROW = 64


@dataclass(frozen=True)
class FloatLayer:
    """Weight float32 [out, kernel, kernel, in] and bias float32 [out], batch norm folded in."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Int8Layer:
    """Weight codes int8 [out, kernel, kernel, in] times scale float32 [out], above 0; bias int32 [out] in units of the product
    of that scale and the input's."""

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]


@dataclass(frozen=True)
class Int8Tensor:
    """value = (byte - zero) x scale; bytes lo .. hi occur. `zero` is 0 for codes behind a ReLU, else 128."""

    scale: float
    zero: int
    lo: int
    hi: int


def int8_tensor(graph: Graph, name: str, stretch: bool) -> Int8Tensor:
    """How a tensor is held in unsigned bytes.

    Args:
        graph: integer graph with numbers.
        name: any tensor of it but the image and the logits.
        stretch: False: a byte is the code, so a tensor of fewer than 8 bits uses a part of the bytes. True: all bytes cover the
            range of the codes: the network that is trained for 8 bits, and what an engine needs to clamp for free.
    """
    tensor: Tensor = graph.tensors[name]
    top, zero = (255, 0) if tensor.lo == 0 else (127, 128)
    low = 0 if tensor.lo == 0 else -128
    # The signed image has one code more below zero than above: it fills the bytes by itself.
    if stretch and tensor.hi < top:
        return Int8Tensor(
            float(np.float32(graph.steps[name] * tensor.hi / top)), zero, zero + max(low, -top), zero + top
        )
    return Int8Tensor(float(np.float32(graph.steps[name])), zero, zero + tensor.lo, zero + tensor.hi)


def float_layer(graph: Graph, op: Op) -> FloatLayer:
    """A weighted operation in float. A ternary tensor's values are its codes, whatever its step: rounding makes them."""
    params = _params(graph, op)
    into, out = (
        1.0 if graph.tensors[name].kind == "ternary" else _step(graph, name) for name in (op.inputs[0], op.output)
    )
    scale = params.m.astype(np.float64) * out / into
    weight = params.codes * scale[:, None, None, None]
    return FloatLayer(weight.astype(np.float32), (params.b.astype(np.float64) * out).astype(np.float32))


def int8_layer(graph: Graph, op: Op, stretch: bool) -> Int8Layer:
    """A weighted operation in 8 bits: the file's codes, times a power of two where they are narrow.

    That makes the accumulator's steps finer, in which a bias must be whole: the only thing that an int8 network rounds and
    ours does not. Codes stay within 64, so that two products with bytes fit the 16 bits of AVX2's multiply-add.

    Scales must be positive: where batch norm's gain turned m negative, codes change their sign (of -128 becomes 127). A bias far
    beyond what the accumulator holds, of a channel that hardly depends on its input, makes its scale coarser.
    """
    params = _params(graph, op)
    finer = bias_steps(params.codes)
    m, b = params.m.astype(np.float64) / finer, params.b.astype(np.float64)
    coarse = np.maximum(np.maximum(np.abs(m), np.abs(b) / MAX_BIAS), MIN_SCALE)
    codes = np.clip(np.rint(params.codes.astype(np.float64) * finer * (m / coarse)[:, None, None, None]), -128, 127)
    into = int8_tensor(graph, op.inputs[0], stretch).scale
    # b / m counts steps of the accumulator of codes; the bytes' own steps may be finer.
    bias = np.rint(b / coarse * (_step(graph, op.inputs[0]) / into))
    scale = coarse * _step(graph, op.output) / _step(graph, op.inputs[0])
    limit = 2**31 - 1
    return Int8Layer(codes.astype(np.int8), scale.astype(np.float32), np.clip(bias, -limit, limit).astype(np.int32))


def bias_steps(codes: NDArray[np.int8]) -> int:
    """Power of two that an int8 layer multiplies its codes by: b is rounded to multiples of m over it.

    >>> bias_steps(np.array([-8, 7], np.int8)), bias_steps(np.array([-128], np.int8))
    (8, 1)
    """
    largest = int(np.abs(codes.astype(np.int16)).max())
    return 1 << max(0, (NARROW // max(1, largest)).bit_length() - 1)


def _params(graph: Graph, op: Op) -> Params:
    if op.name not in graph.params:
        raise UserError(f"Layer {op.name} has no numbers: export a trained run.")
    return graph.params[op.name]


def _step(graph: Graph, name: str) -> float:
    """The logits are real numbers."""
    return 1.0 if graph.tensors[name].kind == "float" else graph.steps[name]
