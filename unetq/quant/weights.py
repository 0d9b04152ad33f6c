"""Weight quantizers: one class each, found by name in `WEIGHT_QUANTIZERS`.

A weight quantizer turns w (out, in, k, k) into codes times one step an output channel. `forward(w)` is the quantized weight
with gradients, `codes(w)` the int8 codes, `step(w)` the float32 steps (out,); forward(w) == codes(w) * step(w) exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unetq.quant.functions import fake_quantize, least_squares_exponent, round_through, scale_gradient

__all__ = ["WEIGHT_QUANTIZERS", "WeightQuantizer"]


class WeightQuantizer(nn.Module):
    """What all weight quantizers are.

    Args:
        channels: output channels.
        bits: width of a code.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.channels, self.bits = channels, bits
        self.lo, self.hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def start(self, weight: Tensor) -> None:
        """Fits the quantizer to a weight before training; nothing to do where the steps follow from the weight."""

    def codes(self, weight: Tensor) -> Tensor:
        """int8 codes, shape of the weight."""
        raise NotImplementedError

    def step(self, weight: Tensor) -> Tensor:
        """float32 step by output channel, (out,)."""
        raise NotImplementedError


class _Stepped(WeightQuantizer):
    """Two's complement codes with steps of its own: w_q = s * clamp(round(w / s), -2^(b-1), 2^(b-1) - 1)."""

    def _trained_step(self) -> Tensor:
        raise NotImplementedError

    def forward(self, weight: Tensor) -> Tensor:
        """The quantized weight; LSQ's gradients for weight and step."""
        per_channel = weight[0].numel()
        step = scale_gradient(self._trained_step(), (per_channel * self.hi) ** -0.5)
        return fake_quantize(weight, step.view(-1, 1, 1, 1), self.lo, self.hi)

    def codes(self, weight: Tensor) -> Tensor:
        step = self._trained_step().view(-1, 1, 1, 1)
        return (weight / step).round().clamp(self.lo, self.hi).to(torch.int8)

    def step(self, weight: Tensor) -> Tensor:
        return self._trained_step().detach()


class FixedWeights(_Stepped):
    """Fixed point Q i.f by output channel: step 2^-f, f whole (arXiv 1908.01073 with a code for every one of 2^bits levels).

    `start` chooses f by the least squared error on the weight. Training refines it: log2 of the step is a parameter that the
    forward pass rounds to a whole number; d step / d log2 = step ln 2, straight through the rounding.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__(channels, bits)
        self.log2_step = nn.Parameter(torch.zeros(channels))

    def start(self, weight: Tensor) -> None:
        self.log2_step.data.copy_(least_squares_exponent(weight.detach().flatten(1), self.lo, self.hi))

    def _trained_step(self) -> Tensor:
        return torch.exp2(round_through(self.log2_step))


class LsqWeights(_Stepped):
    """Learned step by output channel (LSQ, arXiv 1902.08153); starts at 2 mean|w| / sqrt(Qp)."""

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__(channels, bits)
        self.raw_step = nn.Parameter(torch.ones(channels))

    def start(self, weight: Tensor) -> None:
        mean = weight.detach().abs().flatten(1).mean(1)
        self.raw_step.data.copy_((2 * mean / self.hi**0.5).clamp_min(1e-8))

    def _trained_step(self) -> Tensor:
        # An optimizer's step may carry a small step across zero: its size is what counts.
        return self.raw_step.abs().clamp_min(1e-8)


class _FromWeight(WeightQuantizer):
    """Codes and step follow from the weight; the gradient passes straight through."""

    def forward(self, weight: Tensor) -> Tensor:
        """The quantized weight; d/dw = 1."""
        with torch.no_grad():
            quantized = self.codes(weight) * self.step(weight).view(-1, 1, 1, 1)
        return weight + (quantized - weight).detach() if weight.requires_grad and self.training else quantized


class TernaryWeights(_FromWeight):
    """TWN, by output filter: delta = 0.7 mean|w|; codes sign(w) 1[|w| > delta]; step alpha = mean(|w| : |w| > delta)."""

    def codes(self, weight: Tensor) -> Tensor:
        return (weight.sign() * self._large(weight)).to(torch.int8)

    def step(self, weight: Tensor) -> Tensor:
        large = self._large(weight).flatten(1)
        total = (weight.detach().abs().flatten(1) * large).sum(1)
        return total / large.sum(1).clamp_min(1)

    def _large(self, weight: Tensor) -> Tensor:
        size = weight.detach().abs()
        return size > 0.7 * size.mean((1, 2, 3), keepdim=True)


class BinaryWeights(_FromWeight):
    """sign(w), sign(0) = +1, by output filter times mean|w|."""

    def codes(self, weight: Tensor) -> Tensor:
        return torch.where(weight >= 0, 1, -1).to(torch.int8)

    def step(self, weight: Tensor) -> Tensor:
        return weight.detach().abs().flatten(1).mean(1)


WEIGHT_QUANTIZERS: dict[str, type[WeightQuantizer]] = {
    "fixed": FixedWeights,
    "lsq": LsqWeights,
    "ternary": TernaryWeights,
    "binary": BinaryWeights,
}
