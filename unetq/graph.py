"""The integer graph: what a quantized U-Net computes, as plain data. Training, export, cost and runtimes derive from it.

`layout(NetSpec)` is the one place that knows the shape of the U-Net; its operations and tensors have the names that the
torch modules, the run's configuration and the model file use. `check` is the one place that holds the invariants.

Numbers (DESIGN 3): a tensor holds integer codes; value = code * step. An image (`image`) and the logits (`head`) are float32.

    conv, transposed:  q = clamp(rint(float32(acc) * m[k] + b[k]), lo, hi),   acc = sum of weight code x activation code
    head (last conv):  logit = float32(acc) * m[k] + b[k]
    quantize:          q = clamp(rint(x * m[0]), lo, hi)
    maxpool:           2x2, stride 2, the last window cut at the edge (size -> ceil(size / 2))
    nearest, bilinear: x2, cut to the size of the tensor's level; bilinear = rint((9 a + 3 b + 3 c + d) / 16) on codes,
                       edges repeated
    concat:            first input's channels, then the second's; both have one quantizer, so nothing is computed

Every product and sum above is one float32 or int32 operation, rint is half to even, and there is no fused multiply-add.
A tensor of level l has size ceil(n / 2**l) for an image of size n, so every size from 1x1 up is valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError, nearest
from unetq.spec import NetSpec, QuantSpec

__all__ = ["Graph", "Op", "Params", "Tensor", "WEIGHT_BITS", "check", "layout"]

TensorKind = Literal["float", "unsigned", "signed", "ternary"]
OpKind = Literal["quantize", "conv", "transposed", "maxpool", "nearest", "bilinear", "concat"]
WeightKind = Literal["none", "twos", "ternary", "binary", "float"]
WEIGHT_KINDS: Mapping[str, WeightKind] = {
    "fixed": "twos",
    "lsq": "twos",
    "ternary": "ternary",
    "binary": "binary",
    "float": "float",
}
WEIGHT_BITS: Mapping[str, range] = {"twos": range(2, 9), "ternary": range(2, 3), "binary": range(1, 2)}


@dataclass(frozen=True)
class Tensor:
    """Codes [channels, ceil(H / 2**level), ceil(W / 2**level)].

    `quantizer` names the step that the tensor shares with all others of that quantizer (concatenation needs it).
    """

    name: str
    channels: int
    level: int
    kind: TensorKind
    bits: int
    quantizer: str

    @property
    def lo(self) -> int:
        """Lowest code."""
        return {"unsigned": 0, "ternary": -1, "signed": -(1 << (self.bits - 1)), "float": 0}[self.kind]

    @property
    def hi(self) -> int:
        """Highest code."""
        return {"unsigned": (1 << self.bits) - 1, "ternary": 1, "signed": (1 << (self.bits - 1)) - 1, "float": 0}[
            self.kind
        ]


@dataclass(frozen=True)
class Op:
    """One operation; `kernel` is the side of a convolution (0 where there is none), `wbits`/`weights` its weight codes."""

    name: str
    kind: OpKind
    inputs: tuple[str, ...]
    output: str
    kernel: int = 0
    wbits: int = 0
    weights: WeightKind = "none"


@dataclass(frozen=True)
class Params:
    """Numbers of one operation.

    Attributes:
        codes: weight codes int8 [out, kernel, kernel, in]; for transposed, kernel position (dy, dx) feeds output
            pixel (2y+dy, 2x+dx); empty for quantize.
        m, b: float32 [out]; for quantize m = [1 / step] and b is empty.
    """

    codes: NDArray[np.int8]
    m: NDArray[np.float32]
    b: NDArray[np.float32]


@dataclass(frozen=True)
class Graph:
    """Tensors and operations in order of execution; `params` and `steps` are empty before training."""

    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    params: Mapping[str, Params] = field(default_factory=dict)
    steps: Mapping[str, float] = field(default_factory=dict)

    def op(self, name: str) -> Op:
        """The operation of that name."""
        for op in self.ops:
            if op.name == name:
                return op
        raise UserError(f'The network has no layer "{name}": {nearest(name, [o.name for o in self.ops])}')

    @property
    def weighted(self) -> tuple[Op, ...]:
        """The operations that have weights, in order."""
        return tuple(op for op in self.ops if op.kind in ("conv", "transposed"))

    @property
    def is_integer(self) -> bool:
        """True where everything between image and logits is codes, so that it can be exported and run natively."""
        inner = [t for name, t in self.tensors.items() if name not in ("image", "head")]
        return all(op.weights != "float" for op in self.ops) and all(t.kind != "float" for t in inner)


def layout(net: NetSpec) -> Graph:
    """The graph of a U-Net, without numbers.

    Raises:
        UserError: `net.layers` names a layer that does not exist, or gives layers that meet in a concatenation different
            activation quantizers.

    >>> [op.name for op in layout(NetSpec(depth=1)).ops]  # doctest: +NORMALIZE_WHITESPACE
    ['input', 'enc0.conv1', 'enc0.conv2', 'pool0', 'mid.conv1', 'mid.conv2', 'up0', 'cat0', 'dec0.conv1', 'dec0.conv2', 'head']
    """
    build = _Builder(net)
    x = build.quantize_image()
    skips = []
    for level in range(net.depth):
        x = build.conv(f"enc{level}.conv1", x, level)
        x = build.conv(f"enc{level}.conv2", x, level, quantizer=f"skip{level}")
        skips.append(x)
        x = build.same("maxpool", f"pool{level}", x, level + 1)
    x = build.conv("mid.conv1", x, net.depth)
    x = build.conv("mid.conv2", x, net.depth, quantizer=build.before_up(net.depth))
    for level in reversed(range(net.depth)):
        x = build.up(f"up{level}", x, level)
        x = build.concat(f"cat{level}", x, skips[level], level)
        x = build.conv(f"dec{level}.conv1", x, level)
        x = build.conv(f"dec{level}.conv2", x, level, quantizer=build.before_up(level) if level else "dec0.conv2")
    build.head(x)
    unknown = [name for name in net.layers if name not in {op.name for op in build.ops}]
    if unknown:
        raise UserError(
            f'The network has no layer "{unknown[0]}": {nearest(unknown[0], [o.name for o in build.ops if o.kernel])}'
        )
    graph = Graph(build.tensors, tuple(build.ops))
    check(graph)
    return graph


class _Builder:
    """Appends operations to a graph; one method a kind."""

    def __init__(self, net: NetSpec) -> None:
        self.net = net
        self.tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []

    def before_up(self, level: int) -> str:
        """Quantizer of the tensor that is upsampled from `level`: a copying upsampling hands its step on to the skip's."""
        return f"up{level - 1}.input" if self.net.upsampling == "transposed" else f"skip{level - 1}"

    def _add(self, op: Op, tensor: Tensor) -> str:
        self.ops.append(op)
        self.tensors[tensor.name] = tensor
        return tensor.name

    def _weighted(self, op: Op, channels: int, level: int, quantizer: str) -> str:
        spec: QuantSpec = self.net.quant_of(op.name)
        kind: TensorKind = {"tht": "ternary", "float": "float"}.get(spec.acts, "unsigned")  # type: ignore[assignment]
        tensor = Tensor(op.name, channels, level, kind, spec.abits, quantizer)
        return self._add(
            Op(op.name, op.kind, op.inputs, op.name, op.kernel, spec.wbits, WEIGHT_KINDS[spec.weights]), tensor
        )

    def quantize_image(self) -> str:
        image = Tensor("image", self.net.in_channels, 0, "float", 32, "image")
        self.tensors["image"] = image
        floating = self.net.quant_of("enc0.conv1").weights == "float"
        kind: TensorKind = "float" if floating else "signed"
        tensor = Tensor("input", image.channels, 0, kind, 32 if floating else 8, "input")
        return self._add(Op("input", "quantize", ("image",), "input"), tensor)

    def conv(self, name: str, x: str, level: int, quantizer: str | None = None) -> str:
        return self._weighted(Op(name, "conv", (x,), name, 3), self.net.channels(level), level, quantizer or name)

    def same(self, kind: OpKind, name: str, x: str, level: int) -> str:
        """An operation that keeps channels and quantizer."""
        t = self.tensors[x]
        return self._add(Op(name, kind, (x,), name), Tensor(name, t.channels, level, t.kind, t.bits, t.quantizer))

    def up(self, name: str, x: str, level: int) -> str:
        if self.net.upsampling == "transposed":
            return self._weighted(
                Op(name, "transposed", (x,), name, 2), self.net.channels(level), level, f"skip{level}"
            )
        return self.same(self.net.upsampling, name, x, level)

    def concat(self, name: str, a: str, b: str, level: int) -> str:
        t = self.tensors[a]
        channels = t.channels + self.tensors[b].channels
        return self._add(Op(name, "concat", (a, b), name), Tensor(name, channels, level, t.kind, t.bits, t.quantizer))

    def head(self, x: str) -> str:
        spec = self.net.quant_of("head")
        op = Op("head", "conv", (x,), "head", self.net.last_kernel, spec.wbits, WEIGHT_KINDS[spec.weights])
        return self._add(op, Tensor("head", self.net.out_channels, 0, "float", 32, "head"))


def check(graph: Graph) -> None:
    """Holds the invariants of a graph, with or without numbers.

    Raises:
        UserError: names the operation and what is wrong with it.
    """
    ready = {"image"}
    shared: dict[str, tuple[str, int]] = {}
    for op in graph.ops:
        for name in op.inputs:
            if name not in ready:
                raise UserError(f"Layer {op.name} reads {name} before it is made.")
        if op.output in ready:
            raise UserError(f"Layer {op.name} makes {op.output} a second time.")
        ready.add(op.output)
        out = graph.tensors[op.output]
        if shared.setdefault(out.quantizer, (out.kind, out.bits)) != (out.kind, out.bits):
            raise UserError(
                f"Layer {op.name} meets other layers in a concatenation, so they need equal abits ({out.quantizer})."
            )
        copies = op.kind in ("maxpool", "nearest", "bilinear", "concat")
        if copies and {graph.tensors[name].quantizer for name in op.inputs} != {out.quantizer}:
            raise UserError(f"Layer {op.name} copies codes, so its inputs and output need one quantizer.")
    for op in graph.weighted if graph.params else ():
        _check_params(graph, op)


def _check_params(graph: Graph, op: Op) -> None:
    params, (source,) = graph.params[op.name], op.inputs
    out, cin = graph.tensors[op.output].channels, graph.tensors[source].channels
    if params.codes.shape != (out, op.kernel, op.kernel, cin) or params.m.shape != (out,) or params.b.shape != (out,):
        raise UserError(
            f"Layer {op.name} has parameters of wrong shape: codes {params.codes.shape}, m {params.m.shape}."
        )
    if not (np.isfinite(params.m).all() and np.isfinite(params.b).all()):
        raise UserError(f"Layer {op.name} has a scale that is not finite: its training diverged.")
    valid = {"ternary": [-1, 0, 1], "binary": [-1, 1]}.get(
        op.weights, range(-(2 ** (op.wbits - 1)), 2 ** (op.wbits - 1))
    )
    if not np.isin(params.codes, list(valid)).all():
        raise UserError(f"Layer {op.name} has weight codes outside {op.wbits} bits.")
