"""The U-Net as a torch module: it executes `unetq.graph.layout`, so what is trained is what is exported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unetq.cost import level_size
from unetq.errors import UserError
from unetq.graph import Graph, Op, layout
from unetq.quant.acts import ACT_QUANTIZERS, ActQuantizer, ThtActs
from unetq.quant.functions import round_through
from unetq.quant.layers import ConvLayer, QTensor
from unetq.spec import NetSpec

__all__ = ["UNet", "build", "calibrate", "codes", "load_float_weights", "set_slope"]


class UNet(nn.Module):
    """Image float (N, C, H, W) -> logits float (N, K, H, W), any H and W from 1 up.

    Args:
        net: channels, depth, upsampling, bits.
        dropout: share of the channels of the deepest level that is dropped in training.

    >>> UNet(NetSpec(base=4, depth=1))(torch.zeros(1, 1, 5, 7)).shape
    torch.Size([1, 1, 5, 7])
    """

    def __init__(self, net: NetSpec, dropout: float = 0.0) -> None:
        super().__init__()
        self.net, self.dropout = net, dropout
        self.graph: Graph = layout(net)
        # A module's name may hold no dot.
        self.quantizers = nn.ModuleDict()
        self.layers = nn.ModuleDict()
        for op in self.graph.ops:
            self._add_quantizer(op)
        for op in self.graph.weighted:
            channels = (self.graph.tensors[op.inputs[0]].channels, self.graph.tensors[op.output].channels)
            quantizer = None if op.name == "head" else self.quantizer(self.graph.tensors[op.output].quantizer)
            self.layers[_key(op.name)] = ConvLayer(op, channels, net.quant_of(op.name).weights, quantizer)

    def layer(self, name: str) -> ConvLayer:
        """The layer of an operation, by the operation's name."""
        found = self.layers[_key(name)]
        assert isinstance(found, ConvLayer)
        return found

    def quantizer(self, name: str) -> ActQuantizer:
        """The activation quantizer of that name (`unetq.graph.Tensor.quantizer`)."""
        found = self.quantizers[_key(name)]
        assert isinstance(found, ActQuantizer)
        return found

    def forward(self, image: Tensor) -> Tensor:
        """Logits."""
        return self.tensors(image)["head"].value

    def tensors(self, image: Tensor) -> dict[str, QTensor]:
        """Every tensor of the graph, by name."""
        size = (image.shape[-2], image.shape[-1])
        values = {"image": QTensor(image, None)}
        for op in self.graph.ops:
            cut = level_size(size, self.graph.tensors[op.output].level)
            values[op.output] = self._run(op, [values[name] for name in op.inputs], cut)
        return values

    def _run(self, op: Op, inputs: list[QTensor], size: tuple[int, int]) -> QTensor:
        x = inputs[0]
        if op.kind == "quantize":
            return self._quantize(x.value)
        if op.kind in ("conv", "transposed"):
            value, quantizer = self.layer(op.name).forward(x)
            if self.dropout and self.graph.tensors[op.output].level == self.net.depth:
                value = F.dropout2d(value, self.dropout, self.training)
            return QTensor(value[..., : size[0], : size[1]], quantizer)
        if op.kind == "concat":
            return QTensor(torch.cat([each.value for each in inputs], 1), x.quantizer)
        if op.kind == "maxpool":
            return QTensor(F.max_pool2d(x.value, 2, ceil_mode=True), x.quantizer)
        value = F.interpolate(x.value, scale_factor=2.0) if op.kind == "nearest" else _bilinear(x)
        return QTensor(value[..., : size[0], : size[1]], x.quantizer)

    def _quantize(self, image: Tensor) -> QTensor:
        quantizer = self.quantizer("input")
        if self.training or quantizer.is_float or quantizer.observing:
            return QTensor(quantizer(image), quantizer)
        # As the file has it: one float32 product with 1 / step.
        return QTensor(quantizer.codes(image.float() * (1 / quantizer.step)) * quantizer.step, quantizer)

    def _add_quantizer(self, op: Op) -> None:
        tensor = self.graph.tensors[op.output]
        if op.name == "head" or _key(tensor.quantizer) in self.quantizers:
            return
        if op.kind == "quantize":
            scheme = "lsq" if self.net.quant.acts == "lsq" else "fixed"
            name = "float" if tensor.kind == "float" else scheme
        else:
            name = self.net.quant_of(op.name).acts
        self.quantizers[_key(tensor.quantizer)] = ACT_QUANTIZERS[name](
            min(tensor.bits, 8), signed=op.kind == "quantize"
        )


def build(net: NetSpec, dropout: float = 0.0) -> UNet:
    """A network with random weights (torch's generator decides)."""
    return UNet(net, dropout)


def load_float_weights(model: UNet, state: Mapping[str, Tensor]) -> None:
    """Takes weights, biases and batch norms of the float twin, then fits the weight quantizers to them.

    Raises:
        UserError: the state is of another network.
    """
    own = {
        name: value for name, value in model.state_dict().items() if ".wq." not in name and "quantizers." not in name
    }
    for name, value in own.items():
        if name not in state or state[name].shape != value.shape:
            raise UserError(f"The float weights do not fit this network at {name}: train the twin with the same `net`.")
    model.load_state_dict({name: state[name] for name in own}, strict=False)
    for op in model.graph.weighted:
        layer = model.layer(op.name)
        if layer.wq is not None:
            layer.wq.start(layer.weight)


def calibrate(model: UNet, batches: Iterable[Tensor], statistics: bool = True) -> None:
    """Chooses the steps of all activation quantizers on some training batches, weights quantized.

    Args:
        model: gets its steps.
        batches: (N, C, H, W).
        statistics: batch norm takes its statistics along, which fits them to the quantized weights; else it keeps them, and
            the batches pass as at inference, without dropout.
    """
    quantizers = [module for module in model.quantizers.values() if isinstance(module, ActQuantizer)]
    was_training = model.training
    model.train()
    if not statistics:
        model.training = False  # of the network alone, whose dropout it is
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    for quantizer in quantizers:
        quantizer.observe(True)
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for quantizer in quantizers:
        quantizer.observe(False)
        quantizer.calibrate()
    model.train(was_training)


def codes(model: UNet, image: Tensor) -> dict[str, Tensor]:
    """Codes int32 (N, channels, h, w) of every tensor in evaluation mode, and "head": logits; to compare with other engines."""
    model.eval()
    with torch.inference_mode():
        values = model.tensors(image)
    result = {}
    for name, (value, quantizer) in values.items():
        if name == "head":
            result[name] = value
        elif quantizer is not None and not quantizer.is_float:
            result[name] = (value / quantizer.step).round().int()
    return result


def set_slope(model: UNet, slope: float) -> None:
    """Sets the slope of TernaryNet's activation wherever the network has it."""
    for module in model.modules():
        if isinstance(module, ThtActs):
            module.slope.fill_(slope)


def _bilinear(x: QTensor) -> Tensor:
    """x2 with half-pixel centres; on codes, rounded once (DESIGN 3.5)."""
    if x.quantizer is None or x.quantizer.soft or x.quantizer.observing:
        return F.interpolate(x.value, scale_factor=2.0, mode="bilinear", align_corners=False)
    # Whole numbers times 9, 3, 3, 1 sixteenths are exact in float32, so only the last rounding rounds.
    whole = round_through(x.value.float() / x.quantizer.step)
    return (
        round_through(F.interpolate(whole, scale_factor=2.0, mode="bilinear", align_corners=False)) * x.quantizer.step
    )


def _key(name: str) -> str:
    return name.replace(".", "_")
