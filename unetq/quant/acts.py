"""Activation quantizers: one class each, found by name in `ACT_QUANTIZERS`.

An activation quantizer owns one step for all tensors that share it. `forward(x)` takes what batch norm puts out and gives the
quantized activation with gradients; codes are `lo` .. `hi`, 0 among them. `observe` and `calibrate` set the step before training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unetq.errors import UserError
from unetq.quant.functions import fake_quantize, least_squares_exponent, round_through, scale_gradient, ternary_tanh

__all__ = ["ACT_QUANTIZERS", "ActQuantizer", "FloatActs", "THT_SLOPES", "ThtActs"]

# Slope of the ternary tanh at the start and the end of training (TernaryNet).
THT_SLOPES = (3.0, 8.0)
# Values of one batch that calibration keeps of one tensor; more would not move the optimum.
SAMPLES = 1 << 16


class ActQuantizer(nn.Module):
    """What all activation quantizers are.

    Args:
        bits: width of a code.
        signed: two's complement codes (the image), else unsigned ones behind a ReLU.
    """

    is_float = False

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__()
        self.bits, self.signed = bits, signed
        self.lo, self.hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        self.observing = False

    @property
    def soft(self) -> bool:
        """True while the values are not codes times a step (a training with a smooth activation)."""
        return self.is_float

    @property
    def step(self) -> Tensor:
        """float32 scalar, above 0."""
        raise NotImplementedError

    def observe(self, on: bool) -> None:
        """Switches collecting on or off: while on, values pass unquantized and are sampled; `calibrate` uses them."""
        self.observing = on

    def calibrate(self) -> None:
        """Chooses the step for the observed values; nothing to do where it is fixed."""

    def codes(self, scaled: Tensor) -> Tensor:
        """clamp(rint(x)) of values in units of the step, float of whole numbers (DESIGN 3.3)."""
        return scaled.round().clamp(self.lo, self.hi)


class FloatActs(ActQuantizer):
    """ReLU in float; the image passes unchanged."""

    is_float = True

    def forward(self, x: Tensor) -> Tensor:
        """max(x, 0)."""
        return x if self.signed else torch.relu(x)

    @property
    def step(self) -> Tensor:
        """1: there are no steps to speak of."""
        return torch.ones(())


class _Stepped(ActQuantizer):
    """Codes times a step of its own: x_q = s * clamp(round(x / s), lo, hi); unsigned codes are the ReLU too."""

    ready: Tensor

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__(bits, signed)
        self.register_buffer("ready", torch.tensor(False))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """The quantized activation; LSQ's gradients. A first training batch without calibration calibrates."""
        if self.observing:
            self._sample(x)
            return x if self.signed else torch.relu(x)
        if self.training and not self.ready:
            self._sample(x)
            self.calibrate()
        step = scale_gradient(self._trained_step(), (x[0].numel() * self.hi) ** -0.5)
        return fake_quantize(x, step, self.lo, self.hi)

    def calibrate(self) -> None:
        if self.seen:
            self._start(torch.cat(self.seen))
            self.ready.fill_(True)
        self.seen = []

    @property
    def step(self) -> Tensor:
        """float32 scalar.

        Raises:
            UserError: there is none yet.
        """
        if not self.ready:
            raise UserError(
                "The activations were never calibrated: train the network, or calibrate it on some images, first."
            )
        return self._trained_step().detach()

    def _sample(self, x: Tensor) -> None:
        flat = x.detach().float().flatten()
        flat = flat[:: max(1, flat.numel() // SAMPLES)]
        self.seen.append(flat if self.signed else flat.clamp_min(0))

    def _start(self, values: Tensor) -> None:
        raise NotImplementedError

    def _trained_step(self) -> Tensor:
        raise NotImplementedError


class FixedActs(_Stepped):
    """Fixed point Q i.f: step 2^-f, f chosen by the least squared error on calibration batches, refined in training as for
    weights (`FixedWeights`)."""

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__(bits, signed)
        self.log2_step = nn.Parameter(torch.zeros(()))

    def _start(self, values: Tensor) -> None:
        self.log2_step.data.copy_(least_squares_exponent(values[None], self.lo, self.hi)[0])

    def _trained_step(self) -> Tensor:
        return torch.exp2(round_through(self.log2_step))


class LsqActs(_Stepped):
    """Learned step (LSQ, arXiv 1902.08153); starts at 2 mean|x| / sqrt(Qp)."""

    def __init__(self, bits: int, signed: bool = False) -> None:
        super().__init__(bits, signed)
        self.raw_step = nn.Parameter(torch.ones(()))

    def _start(self, values: Tensor) -> None:
        self.raw_step.data.copy_((2 * values.abs().mean() / self.hi**0.5).clamp_min(1e-8))

    def _trained_step(self) -> Tensor:
        return self.raw_step.abs().clamp_min(1e-8)


class ThtActs(ActQuantizer):
    """TernaryNet's ternary hyperbolic tangent (arXiv 1801.09449): y = (tanh(2bx - b) + tanh(2bx + b)) / 2 in training, with a
    slope b that the training raises from 3 to 8; at inference sign(x) 1[|x| > 0.5], which is clamp(rint(x), -1, 1)."""

    slope: Tensor

    def __init__(self, bits: int = 2, signed: bool = False) -> None:
        super().__init__(bits, signed)
        self.lo, self.hi = -1, 1
        self.register_buffer("slope", torch.tensor(THT_SLOPES[0]))

    @property
    def soft(self) -> bool:
        """True in training."""
        return self.training

    @property
    def step(self) -> Tensor:
        """1."""
        return torch.ones(())

    def forward(self, x: Tensor) -> Tensor:
        """Smooth in training, hard at inference."""
        if not self.training:
            return self.codes(x)
        return ternary_tanh(x, self.slope)


ACT_QUANTIZERS: dict[str, type[ActQuantizer]] = {
    "fixed": FixedActs,
    "lsq": LsqActs,
    "tht": ThtActs,
    "float": FloatActs,
}
