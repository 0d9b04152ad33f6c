"""torch as a contender: float through oneDNN, or int8 through one of its quantized engines."""

from __future__ import annotations

import importlib
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unetq.cost import level_size
from unetq.graph import Graph, Op
from unetq.peers.worker import Entrant, Image, Job

__all__ = ["load"]

Layer = Callable[[Tensor], Tensor]
FLOAT = ("traced", "compiled")


def load(job: Job) -> Entrant:
    """Builds the network of the arrays in `job.file`."""
    warnings.filterwarnings("ignore", category=UserWarning)  # that quantized tensors will leave torch some day
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", module=r"unetq\.peers\.pytorch")  # that a trace is of one size
    torch.set_num_threads(job.threads)
    folder = Path(job.file)
    graph, scales = pickle.loads((folder / "graph.pickle").read_bytes())
    backend = job.backend
    if backend in FLOAT:
        layers = {op.name: _float(op, graph, folder) for op in graph.weighted}
    else:
        torch.backends.quantized.engine = backend
        layers = {op.name: _int8(op, graph, folder, *scales[op.output]) for op in graph.weighted}
    network: Any = _Network(graph, layers, None if backend in FLOAT else scales).eval()
    if backend == "compiled":
        network = _compiled(network, folder)
    if backend == "traced":
        jit: Any = torch.jit
        with torch.inference_mode():
            traced = jit.trace(network, _tensor(job.image()), check_trace=False)
            network = jit.optimize_for_inference(jit.freeze(traced))

    def run(image: Image) -> Image:
        with torch.no_grad():  # not inference_mode, with which a frozen graph is compiled without its weights
            return np.asarray(network(_tensor(image)).numpy())

    words = ["float" if isinstance(layer, nn.Module) else "int8" for layer in layers.values()]
    return Entrant(run, lambda: {word: words.count(word) for word in dict.fromkeys(words)})


def _compiled(network: nn.Module, folder: Path) -> Any:
    """torch.compile with weights as constants; needs a C++ compiler."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    config: Any = importlib.import_module("torch._inductor.config")
    # No pool of compiling processes, which would outlive this one.
    config.freezing, config.compile_threads = True, 1
    return torch.compile(network)


class _Network(nn.Module):
    """Executes the graph; with `scales` on quantized tensors."""

    def __init__(self, graph: Graph, layers: dict[str, Layer], scales: dict[str, tuple[float, int]] | None) -> None:
        super().__init__()
        self.graph, self.layers, self.scales = graph, layers, scales
        self.modules_of_layers = nn.ModuleList(layer for layer in layers.values() if isinstance(layer, nn.Module))

    def forward(self, image: Tensor) -> Tensor:
        size = (image.shape[2], image.shape[3])
        values = {"image": image}
        for op in self.graph.ops:
            height, width = level_size(size, self.graph.tensors[op.output].level)
            y = self._run(op, [values[name] for name in op.inputs])
            # Only where an odd size needs it: a traced graph would break its fusions at every cut.
            values[op.output] = y if y.shape[2:] == (height, width) else y[:, :, :height, :width]
        return values["head"] if self.scales is None else values["head"].dequantize()

    def _run(self, op: Op, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        if op.kind in ("conv", "transposed"):
            return self.layers[op.name](x)
        if op.kind == "maxpool":
            return F.max_pool2d(x, 2, ceil_mode=True)
        if op.kind == "nearest":
            return F.interpolate(x, scale_factor=2.0)
        if op.kind == "bilinear":
            return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        if self.scales is None:
            return torch.cat(inputs, 1) if op.kind == "concat" else x
        scale, zero = self.scales[op.output]
        if op.kind == "concat":
            joined: Tensor = torch.ops.quantized.cat(inputs, 1, scale, zero)
            return joined
        return torch.quantize_per_tensor(x, scale, zero, torch.quint8)


class _FloatLayer(nn.Module):
    """Convolution and activation; `kind` is the output's."""

    def __init__(self, op: Op, kind: str, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.op, self.kind = op, kind
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.op.kind == "transposed":
            y = F.conv_transpose2d(x, self.weight, self.bias, stride=2)
        else:
            y = F.conv2d(x, self.weight, self.bias, padding=self.op.kernel // 2)
        if self.kind == "ternary":
            return torch.clamp(torch.round(y), -1, 1)
        return torch.relu(y) if self.kind == "unsigned" else y


def _float(op: Op, graph: Graph, folder: Path) -> Layer:
    return _FloatLayer(op, graph.tensors[op.output].kind, _array(op, folder, "weight"), _array(op, folder, "bias"))


def _int8(op: Op, graph: Graph, folder: Path, scale: float, zero: int) -> Layer:
    """A convolution of bytes: ReLU is the clamp at the zero point 0."""
    if op.kind == "transposed" and torch.backends.quantized.engine != "qnnpack":
        return _Between(_float(op, graph, folder), scale, zero)  # "Per Channel Quantization is currently disabled"
    weight = torch._make_per_channel_quantized_tensor(
        _array(op, folder, "codes"),
        _array(op, folder, "scale").double(),
        torch.zeros(len(_array(op, folder, "scale")), dtype=torch.int64),
        1 if op.kind == "transposed" else 0,
    )
    ops, bias = torch.ops.quantized, _array(op, folder, "bias")
    if op.kind == "transposed":
        packed = ops.conv_transpose2d_prepack(weight, bias, [2, 2], [0, 0], [0, 0], [1, 1], 1)
        return lambda x: ops.conv_transpose2d(x, packed, scale, zero)
    half = op.kernel // 2
    packed = ops.conv2d_prepack(weight, bias, [1, 1], [half, half], [1, 1], 1)
    convolve = ops.conv2d_relu if zero == 0 else ops.conv2d
    return lambda x: convolve(x, packed, scale, zero)


class _Between(nn.Module):
    """A float layer between quantized ones."""

    def __init__(self, inner: Layer, scale: float, zero: int) -> None:
        super().__init__()
        self.inner, self.scale, self.zero = inner, scale, zero

    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(self.inner(x.dequantize()), self.scale, self.zero, torch.quint8)


def _array(op: Op, folder: Path, name: str) -> Tensor:
    return torch.from_numpy(np.load(folder / f"{op.name}.{name}.npy"))


def _tensor(image: Image) -> Tensor:
    return torch.from_numpy(image).contiguous(memory_format=torch.channels_last)
