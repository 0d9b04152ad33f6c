"""Exact bytes, multiply-accumulates and activation memory of a graph, without weights. "Nominal" and "honest": DESIGN 7."""

from __future__ import annotations

from dataclasses import dataclass

from unetq.graph import Graph, Op
from unetq.spec import FLOAT_BITS

__all__ = ["LayerCost", "NetCost", "layer_cost", "net_cost", "packed_bytes"]


@dataclass(frozen=True)
class LayerCost:
    """One weighted layer.

    Attributes:
        parameters: weights, biases and batch-norm scales and shifts, as trained.
        bytes_nominal: every parameter at the layer's width.
        bytes_honest: what the file holds: packed codes and two float32 a channel (float layers: every parameter in float32).
        macs: multiply-accumulates for one image of the size asked for.
    """

    name: str
    parameters: int
    bytes_nominal: int
    bytes_honest: int
    macs: int


@dataclass(frozen=True)
class NetCost:
    """A whole network; `peak_activation_bytes` is the largest sum of tensors alive at once, a byte a code, concat shared."""

    layers: tuple[LayerCost, ...]
    peak_activation_bytes: int

    @property
    def parameters(self) -> int:
        """Weights, biases and batch-norm scales and shifts."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def bytes_float32(self) -> int:
        """The float network."""
        return 4 * self.parameters

    @property
    def bytes_nominal(self) -> int:
        """Every parameter at its layer's width."""
        return sum(layer.bytes_nominal for layer in self.layers)

    @property
    def bytes_honest(self) -> int:
        """What the file holds."""
        return sum(layer.bytes_honest for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs for layer in self.layers)


def packed_bytes(codes: int, bits: int) -> int:
    """Bytes of `codes` codes of `bits` bits side by side.

    >>> packed_bytes(9, 3)
    4
    """
    return (codes * bits + 7) // 8


def level_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    """(height, width) of a level: ceil(n / 2**level)."""
    height, width = (-(-n // 2**level) for n in size)
    return height, width


def layer_cost(graph: Graph, op: Op, size: tuple[int, int]) -> LayerCost:
    """Cost of one convolution for an image of `size` (height, width) pixels."""
    out, source = graph.tensors[op.output], graph.tensors[op.inputs[0]]
    weights = out.channels * source.channels * op.kernel**2
    # A bias; and a batch norm's scale and shift everywhere but behind the head.
    parameters = weights + out.channels * (1 if op.name == "head" else 3)
    honest = 4 * parameters if op.wbits == FLOAT_BITS else packed_bytes(weights, op.wbits) + 8 * out.channels
    height, width = level_size(size, source.level if op.kind == "transposed" else out.level)
    return LayerCost(op.name, parameters, packed_bytes(parameters, op.wbits), honest, weights * height * width)


def net_cost(graph: Graph, size: tuple[int, int] = (512, 512)) -> NetCost:
    """Cost of the whole graph for an image of `size` (height, width) pixels."""
    return NetCost(tuple(layer_cost(graph, op, size) for op in graph.weighted), _peak_activation(graph, size))


def _peak_activation(graph: Graph, size: tuple[int, int]) -> int:
    """Inputs of a concatenation are parts of its output, so they count once: from the first part's birth to the last use."""
    home = {name: op.output for op in graph.ops if op.kind == "concat" for name in op.inputs}
    born: dict[str, int] = {}
    dies: dict[str, int] = {}
    for index, op in enumerate(graph.ops):
        for name in (*op.inputs, op.output):
            place = home.get(name, name)
            born.setdefault(place, index)
            dies[place] = index

    def volume(name: str) -> int:
        tensor = graph.tensors[name]
        height, width = level_size(size, tensor.level)
        return tensor.channels * height * width * (4 if tensor.kind == "float" else 1)

    return max(sum(volume(n) for n in born if born[n] <= i <= dies[n]) for i in range(len(graph.ops)))
