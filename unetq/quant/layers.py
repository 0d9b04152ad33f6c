"""Convolution, batch norm, activation and quantizers as one layer; its evaluation is the integer arithmetic of the file."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from unetq.graph import Op
from unetq.quant.acts import ActQuantizer
from unetq.quant.weights import WEIGHT_QUANTIZERS, WeightQuantizer

__all__ = ["ConvLayer", "QTensor"]

# A float32 holds whole numbers up to here exactly.
EXACT = 1 << 24


class QTensor(NamedTuple):
    """A tensor and the quantizer whose step it is in (None: the logits)."""

    value: Tensor
    quantizer: ActQuantizer | None


class ConvLayer(nn.Module):
    """A `conv` or `transposed` operation: convolution with bias -> batch norm -> activation -> quantizer.

    In training all is float with fake quantization. In evaluation, where weights and activations are quantized, it computes
    acc = conv of codes, q = clamp(rint(float32(acc) * m + b)): the formula of the numeric contract, with the very m and b that
    the exporter writes (`affine`).

    Args:
        op: the operation; its name, kind, kernel and width.
        channels: (in, out).
        weights: weight quantizer's name, or "float".
        quantizer: of the output; None for the logits, which have no batch norm either.
    """

    def __init__(self, op: Op, channels: tuple[int, int], weights: str, quantizer: ActQuantizer | None) -> None:
        super().__init__()
        self.op = op
        source, out = channels
        self.weight = nn.Parameter(torch.empty(out, source, op.kernel, op.kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(out))
        self.norm = nn.BatchNorm2d(out) if quantizer is not None else None
        self.wq: WeightQuantizer | None = None
        if weights != "float":
            self.wq = WEIGHT_QUANTIZERS[weights](out, op.wbits)
            self.wq.start(self.weight)
        # The quantizer belongs to the network: several layers may share it, and each parameter is to be listed once.
        self._quantizer = (quantizer,)

    @property
    def quantizer(self) -> ActQuantizer | None:
        """Quantizer of the output."""
        return self._quantizer[0]

    def forward(self, x: QTensor) -> QTensor:
        """Runs the layer on values that are codes times their step."""
        if not self.training and self._is_integer(x):
            return self._integer(x)
        weight = self.weight if self.wq is None else self.wq(self.weight)
        y = self._convolve(x.value, weight, self.bias)
        if self.norm is not None:
            y = self.norm(y)
        return QTensor(y if self.quantizer is None else self.quantizer(y), self.quantizer)

    def affine(self, source: ActQuantizer) -> tuple[Tensor, Tensor]:
        """(m, b) float32 (out,) of q = rint(float32(acc) * m + b), folded in float64 and rounded once.

        m = s_w s_in g / s_out, b = ((bias - mean) g + beta) / s_out with g = gamma / sqrt(var + eps); for the logits g = 1,
        mean = beta = 0, s_out = 1.

        Args:
            source: quantizer of the input.
        """
        if self.wq is None:
            raise ValueError("a float layer has no codes")
        with torch.no_grad():
            m = self.wq.step(self.weight).double() * source.step.double()
            b = self.bias.double()
            if self.norm is not None and self.norm.running_var is not None and self.norm.running_mean is not None:
                gain = self.norm.weight.double() / torch.sqrt(self.norm.running_var.double() + self.norm.eps)
                m, b = m * gain, (b - self.norm.running_mean.double()) * gain + self.norm.bias.double()
            if self.quantizer is not None:
                m, b = m / self.quantizer.step.double(), b / self.quantizer.step.double()
            return m.float(), b.float()

    def _is_integer(self, x: QTensor) -> bool:
        if self.wq is None or x.quantizer is None or x.quantizer.is_float:
            return False
        return self.quantizer is None or not (self.quantizer.is_float or self.quantizer.observing)

    def _integer(self, x: QTensor) -> QTensor:
        assert self.wq is not None and x.quantizer is not None
        codes = self.wq.codes(self.weight)
        m, b = self.affine(x.quantizer)
        # The largest sum that codes can make decides which float type holds it exactly.
        fan_in = self.weight[0].numel()
        bound = fan_in * max(-self.wq.lo, 1) * max(-x.quantizer.lo, x.quantizer.hi)
        # A GPU's float32 convolution may be any algorithm, Winograd among them, which is not exact on whole numbers.
        dtype = torch.float32 if bound < EXACT and x.value.device.type == "cpu" else torch.float64
        with torch.autocast(x.value.device.type, enabled=False):
            source = (x.value.float() / x.quantizer.step).round().to(dtype)
            acc = self._convolve(source, codes.to(dtype), None)
        # Two roundings: float32 product, float32 sum; no fused multiply-add between separate torch operations.
        scaled = acc.float() * m.view(-1, 1, 1) + b.view(-1, 1, 1)
        if self.quantizer is None:
            return QTensor(scaled, None)
        return QTensor(self.quantizer.codes(scaled) * self.quantizer.step, self.quantizer)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.op.kind == "transposed":
            return F.conv_transpose2d(x, weight.transpose(0, 1), bias, stride=2)
        return F.conv2d(x, weight, bias, padding=self.op.kernel // 2)
