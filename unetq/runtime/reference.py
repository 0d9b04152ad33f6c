"""The definition of the arithmetic: a numpy executor of the integer graph. Every kernel must equal it bit for bit.

The formulas stand in `unetq.graph`. All integer sums are exact: float64 holds whole numbers up to 2^53, is
fast through BLAS, and the sums are checked to fit the int32 of the kernels. Each of `float32(acc)`, `* m`, `+ b` is one float32
rounding; rint is half to even.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unetq.cost import level_size
from unetq.errors import UserError
from unetq.graph import Graph, Op, Tensor

__all__ = ["run_reference"]


def run_reference(graph: Graph, image: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Executes a graph with numbers.

    Args:
        graph: integer graph with `params`.
        image: float32 (C, H, W), any H and W from 1 up.

    Returns:
        By tensor name: codes int32 (channels, ceil(H / 2**level), ceil(W / 2**level)); "head": logits float32 (K, H, W).

    Raises:
        UserError: the image has the wrong shape, or the graph has no numbers or is not integer.
    """
    channels = graph.tensors["image"].channels
    if image.ndim != 3 or image.shape[0] != channels or 0 in image.shape:
        raise UserError(f"The network takes an image of shape ({channels}, H, W), not {image.shape}.")
    if not np.isfinite(image).all():
        raise UserError("The image holds values that are not finite.")
    if not (graph.params and graph.is_integer):
        raise UserError("The reference runs integer graphs with numbers: export the run first.")
    size = (image.shape[1], image.shape[2])
    values: dict[str, NDArray[np.generic]] = {"image": np.asarray(image, dtype=np.float32)}
    with np.errstate(over="ignore"):  # a product beyond float32 is infinite, and its code the highest or lowest
        for op in graph.ops:
            cut = level_size(size, graph.tensors[op.output].level)
            values[op.output] = RULES[op.kind](graph, op, [values[name] for name in op.inputs], cut)
    del values["image"]
    return values


def requantize(
    acc: NDArray[np.float64], m: NDArray[np.float32], b: NDArray[np.float32], out: Tensor
) -> NDArray[np.generic]:
    """float32(acc) * m + b by output channel; rounded and clamped to codes, unless `out` is the logits.

    Args:
        acc: whole numbers (out, H, W).
        m, b: (out,).
    """
    if acc.size and not -(2**31) <= int(acc.min()) <= int(acc.max()) < 2**31:
        raise UserError(f"The accumulator of {out.name} leaves the 32 bits that kernels have.")
    product: NDArray[np.float32] = acc.astype(np.float32) * m[:, None, None]
    shifted: NDArray[np.float32] = product + b[:, None, None]
    if out.kind == "float":
        return shifted
    return to_codes(shifted, out)


def to_codes(x: NDArray[np.float32], out: Tensor) -> NDArray[np.generic]:
    """clamp(rint(x), lo, hi)."""
    return np.asarray(np.clip(np.rint(x), out.lo, out.hi), np.int32)


def quantize(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """q = clamp(rint(x * m[0]), lo, hi)."""
    out = graph.tensors[op.output]
    scaled = np.asarray(inputs[0], np.float32) * graph.params[op.name].m[0]
    return to_codes(scaled, out)


def conv(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """Odd side k, stride 1, padded with code 0; one matrix product a kernel position."""
    params, x = graph.params[op.name], inputs[0].astype(np.float64)
    half = op.kernel // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half)))
    codes = params.codes.astype(np.float64)
    height, width = size
    acc = np.zeros((codes.shape[0], height, width), np.float64)
    for dy in range(op.kernel):
        for dx in range(op.kernel):
            window = padded[:, dy : dy + height, dx : dx + width]
            acc += np.tensordot(codes[:, dy, dx], window, axes=1)
    return requantize(acc, params.m, params.b, graph.tensors[op.output])


def transposed(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """2x2, stride 2: kernel position (dy, dx) makes the output pixels (2y+dy, 2x+dx); cut to `size`."""
    params, x = graph.params[op.name], inputs[0].astype(np.float64)
    codes = params.codes.astype(np.float64)
    acc = np.zeros((codes.shape[0], 2 * x.shape[1], 2 * x.shape[2]), np.float64)
    for dy in range(2):
        for dx in range(2):
            acc[:, dy::2, dx::2] = np.tensordot(codes[:, dy, dx], x, axes=1)
    return requantize(acc[:, : size[0], : size[1]], params.m, params.b, graph.tensors[op.output])


def maxpool(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """2x2, stride 2; an edge of odd size is repeated, which leaves the maximum of the cut window as it is."""
    x = inputs[0]
    padded = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2)), mode="edge")
    result: NDArray[np.generic] = padded.reshape(x.shape[0], size[0], 2, size[1], 2).max(axis=(2, 4))
    return result


def nearest(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """Each code four times; cut to `size`."""
    return inputs[0].repeat(2, axis=1).repeat(2, axis=2)[:, : size[0], : size[1]]


def bilinear(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """x2 with half-pixel centres: the nearest code weighs 3/4 in each direction, its neighbour 1/4; rounded once."""
    x = inputs[0].astype(np.int64)
    for axis in (1, 2):
        edge = [(0, 0)] * 3
        edge[axis] = (1, 1)
        padded = np.pad(x, edge, mode="edge")
        centre, before, after = (np.take(padded, range(s, s + x.shape[axis]), axis) for s in (1, 0, 2))
        x = np.stack([3 * centre + before, 3 * centre + after], axis=axis + 1)
        shape = list(centre.shape)
        shape[axis] *= 2
        x = x.reshape(shape)
    return np.rint(x[:, : size[0], : size[1]] / 16).astype(np.int32)


def concat(graph: Graph, op: Op, inputs: list[NDArray[np.generic]], size: tuple[int, int]) -> NDArray[np.generic]:
    """The first input's channels, then the second's."""
    return np.concatenate(inputs)


Rule = Callable[[Graph, Op, list[NDArray[np.generic]], tuple[int, int]], NDArray[np.generic]]
RULES: dict[str, Rule] = {
    "quantize": quantize,
    "conv": conv,
    "transposed": transposed,
    "maxpool": maxpool,
    "nearest": nearest,
    "bilinear": bilinear,
    "concat": concat,
}
