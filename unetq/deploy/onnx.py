"""The network as ONNX: for engines other than ours, to compare with, or to run where they run already.

    float:  weights dequantized, batch norm folded in, ReLU; no activation is rounded, except TernaryNet's
    int8:   QDQ: QuantizeLinear and DequantizeLinear around float operations, which engines fuse into 8-bit ones. Weights are the
            file's codes (int8, a scale per output channel), activations unsigned bytes, biases int32

An int8 network clamps to the file's own codes, so that it computes what our runtime does, but for ties and for biases rounded to
whole steps of the accumulator. The clamp costs other engines a pass over each tensor of less than 8 bits: `stretch` spreads all
256 bytes over the range of the codes instead, which clamps for free and is what a network trained for 8 bits looks like.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.cost import level_size
from unetq.deploy.numbers import FloatLayer, float_layer, int8_layer, int8_tensor
from unetq.errors import UserError
from unetq.files import atomic
from unetq.graph import Graph, Op

__all__ = ["Int8Form", "float_layers", "write_float", "write_int8"]

OPSET, IR_VERSION = 17, 9


@dataclass(frozen=True)
class Int8Form:
    """How an int8 network is written.

    Attributes:
        size: (height, width) of the image; ONNX is written for one size.
        stretch: all 256 bytes cover the range of a tensor's codes, in place of the codes themselves.
        logits_step: the logits are bytes of this step, too; None: float32. An engine that has no convolution of bytes to floats
            (ONNX Runtime) runs the last layer in float otherwise.
    """

    size: tuple[int, int]
    stretch: bool = False
    logits_step: float | None = None


def float_layers(graph: Graph) -> dict[str, FloatLayer]:
    """All weighted layers of an integer graph, dequantized."""
    return {op.name: float_layer(graph, op) for op in graph.weighted}


def write_float(graph: Graph, layers: Mapping[str, FloatLayer], size: tuple[int, int], path: Path) -> Path:
    """Writes the float network: image float32 (1, C, H, W) -> logits float32 (1, K, H, W).

    Args:
        graph: its shape; the numbers are those of `layers`.
        layers: by operation's name.
        size: (height, width).
        path: file to write, whole or not at all.

    Raises:
        UserError: the package onnx is missing, or the file cannot be written.
    """
    return _Float(graph, size, layers).write(path)


def write_int8(graph: Graph, form: Int8Form, path: Path) -> Path:
    """Writes the int8 network of an integer graph with numbers; see `write_float`."""
    return _Int8(graph, form).write(path)


class _Builder:
    """Nodes in order; a tensor of the graph is a float tensor of the same name here."""

    def __init__(self, graph: Graph, size: tuple[int, int]) -> None:
        try:
            self.onnx: Any = importlib.import_module("onnx")
        except ImportError:
            raise UserError("ONNX files need the package onnx: pip install 'unetq[peers]'.") from None
        self.graph, self.size = graph, size
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def write(self, path: Path) -> Path:
        for op in self.graph.ops:
            self._operation(op)
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        ends = [
            helper.make_tensor_value_info(name, kind, [1, self.graph.tensors[name].channels, *self.size])
            for name in ("image", "head")
        ]
        graph = helper.make_graph(self.nodes, "unetq", ends[:1], ends[1:], self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="unetq",
        )
        self.onnx.checker.check_model(model)
        with atomic(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
        return path

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    def finish(self, op: Op, x: str) -> None:
        """Activation and rounding of what an operation made; names the result as the graph does."""
        raise NotImplementedError

    def weights(self, op: Op) -> list[str]:
        """Names of weight and bias as float tensors."""
        raise NotImplementedError

    def _operation(self, op: Op) -> None:
        raw, sources = f"{op.name}.raw", list(op.inputs)
        if op.kind == "quantize":
            self.finish(op, sources[0])
            return
        if op.kind == "conv":
            half = op.kernel // 2
            self.node("Conv", sources + self.weights(op), raw, kernel_shape=[op.kernel] * 2, pads=[half] * 4)
        elif op.kind == "transposed":
            self.node("ConvTranspose", sources + self.weights(op), raw, kernel_shape=[2, 2], strides=[2, 2])
        elif op.kind == "maxpool":
            self.node("MaxPool", sources, raw, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=int(self._odd(op)))
        elif op.kind == "concat":
            self.node("Concat", sources, raw, axis=1)
        else:
            self._upsample(op, raw)
        self.finish(op, self._cut(op, raw))

    def _upsample(self, op: Op, raw: str) -> None:
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if op.kind == "bilinear":
            how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        scales = self.constant(f"{op.name}.scales", np.array([1, 1, 2, 2], np.float32))
        self.node("Resize", [op.inputs[0], "", scales], raw, **how)

    def _odd(self, op: Op) -> bool:
        """Whether the larger of an operation's two levels has a side that the smaller one cannot say."""
        level = min(self.graph.tensors[name].level for name in (*op.inputs, op.output))
        return any(side % 2 for side in level_size(self.size, level))

    def _cut(self, op: Op, raw: str) -> str:
        if op.kind not in ("transposed", "nearest", "bilinear") or not self._odd(op):
            return raw
        ends = np.array(level_size(self.size, self.graph.tensors[op.output].level), np.int64)
        bounds = [self.constant(f"{raw}.{word}", v) for word, v in (("from", ends * 0), ("to", ends), ("axes", AXES))]
        return self.node("Slice", [raw, *bounds], f"{raw}.cut")

    def spatial_first(self, op: Op, weight: NDArray[Any]) -> NDArray[Any]:
        """[out, k, k, in] -> what ONNX has: [out, in, k, k], or for a transposed convolution [in, out, k, k]."""
        return weight.transpose((3, 0, 1, 2) if op.kind == "transposed" else (0, 3, 1, 2))


AXES = np.array([2, 3], np.int64)


class _Float(_Builder):
    def __init__(self, graph: Graph, size: tuple[int, int], layers: Mapping[str, FloatLayer]) -> None:
        super().__init__(graph, size)
        self.layers = layers

    def weights(self, op: Op) -> list[str]:
        layer = self.layers[op.name]
        weight = self.constant(f"{op.name}.weight", self.spatial_first(op, layer.weight))
        return [weight, self.constant(f"{op.name}.bias", layer.bias)]

    def finish(self, op: Op, x: str) -> None:
        out = self.graph.tensors[op.output]
        if not op.kernel or op.name == "head":
            self.node("Identity", [x], out.name)
        elif out.kind == "ternary":  # sign(x) where |x| > 1/2: no network without it
            bounds = [self.constant(f"{op.name}.{word}", np.float32(v)) for word, v in (("lo", -1), ("hi", 1))]
            self.node("Clip", [self.node("Round", [x], f"{x}.whole"), *bounds], out.name)
        else:
            self.node("Relu", [x], out.name)


class _Int8(_Builder):
    def __init__(self, graph: Graph, form: Int8Form) -> None:
        super().__init__(graph, form.size)
        self.form = form

    def weights(self, op: Op) -> list[str]:
        layer = int8_layer(self.graph, op, self.form.stretch)
        name, scale = op.name, self.constant(f"{op.name}.scale", layer.scale)
        zero = self.constant(f"{name}.zero", np.zeros(len(layer.scale), np.int8))
        codes = self.constant(f"{name}.codes", self.spatial_first(op, layer.codes))
        axis = 1 if op.kind == "transposed" else 0
        weight = self.node("DequantizeLinear", [codes, scale, zero], f"{name}.weight", axis=axis)
        if (
            op.name == "head" and self.form.logits_step is None
        ):  # no bytes come out, so that no engine wants whole numbers
            return [weight, self.constant(f"{name}.bias", self.graph.params[name].b)]
        into = np.float32(int8_tensor(self.graph, op.inputs[0], self.form.stretch).scale)
        units = self.constant(f"{name}.units", layer.scale * into)
        whole = self.constant(f"{name}.whole", layer.bias)
        return [weight, self.node("DequantizeLinear", [whole, units], f"{name}.bias", axis=0)]

    def finish(self, op: Op, x: str) -> None:
        if op.name == "head":
            self._logits(x)
            return
        held = int8_tensor(self.graph, op.output, self.form.stretch)
        codes = self._bytes(x, op.output, held.scale, held.zero)
        if (held.lo, held.hi) != (0, 255) and op.kind not in ("maxpool", "nearest", "bilinear", "concat"):
            words = (("lo", held.lo), ("hi", held.hi))
            bounds = [self.constant(f"{op.output}.{word}", np.uint8(value)) for word, value in words]
            codes = self.node("Clip", [codes, *bounds], f"{op.output}.clamped")
        self._values(codes, op.output)

    def _logits(self, x: str) -> None:
        if self.form.logits_step is None:
            self.node("Identity", [x], "head")
        else:
            self._values(self._bytes(x, "head", self.form.logits_step, 128), "head")

    def _bytes(self, x: str, name: str, scale: float, zero: int) -> str:
        self.constant(f"{name}.step", np.float32(scale))
        self.constant(f"{name}.middle", np.uint8(zero))
        return self.node("QuantizeLinear", [x, f"{name}.step", f"{name}.middle"], f"{name}.bytes")

    def _values(self, codes: str, name: str) -> None:
        self.node("DequantizeLinear", [codes, f"{name}.step", f"{name}.middle"], name)
