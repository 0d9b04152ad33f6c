"""Rounding and clipping with straight-through gradients: the arithmetic that all quantizers share."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unetq import _native

__all__ = ["fake_quantize", "least_squares_exponent", "round_through", "scale_gradient", "ternary_tanh"]


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _FakeQuantize(torch.autograd.Function):
    """One function in place of a chain of five: fewer passes over memory, which is what it costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, lo: int, hi: int) -> Tensor:
        clipped = (x.float() / step).clamp_(lo, hi)
        ctx.save_for_backward(clipped, step)
        ctx.bounds = lo, hi
        return (clipped.round() * step).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        clipped, step = ctx.saved_tensors
        # grad where lo < clipped < hi, else 0, in one pass.
        grad_x = torch.ops.aten.hardtanh_backward(grad.float(), clipped, *ctx.bounds)
        # Inside: round(v/s) - v/s; below: lo; above: hi. That is round(clipped), less v/s where grad_x passes.
        grad_step = (grad * clipped.round() - grad_x * clipped).sum_to_size(step.shape)
        return grad_x.to(grad.dtype), grad_step, None, None


class _FakeQuantizeCpu(torch.autograd.Function):
    """The same for one step and a CPU, by one pass of the extension each way (unetq/native/src/fake_quantize.h).

    Beside bfloat16 convolutions the passes of torch took as long as the network itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, lo: int, hi: int) -> Tensor:
        x = x.contiguous(memory_format=_dense(x))
        ctx.save_for_backward(x, step)
        ctx.bounds = lo, hi
        y = torch.empty_like(x)
        _native.fake_quantize(_flat(x), _flat(y), step.item(), lo, hi, torch.get_num_threads())
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, step = ctx.saved_tensors
        grad = grad.contiguous(memory_format=_dense(x))
        grad_x = torch.empty_like(x)
        lo, hi = ctx.bounds
        total = _native.fake_quantize_backward(
            _flat(x), _flat(grad), _flat(grad_x), step.item(), lo, hi, torch.get_num_threads()
        )
        return grad_x, step.new_tensor(total), None, None


def _dense(x: Tensor) -> torch.memory_format:
    """The layout without gaps that x is nearest to."""
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _flat(x: Tensor) -> NDArray[Any]:
    """The memory of a dense tensor as numpy's array of one dimension; bfloat16, which numpy has not, by its bits."""
    x = x.detach()
    if _dense(x) == torch.channels_last:
        x = x.permute(0, 2, 3, 1)
    x = x.reshape(-1)
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


class _TernaryTanh(torch.autograd.Function):
    """Written out, so that it keeps two tensors and not six."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        rise = x * (2 * slope)
        left, right = (rise - slope).tanh_(), (rise + slope).tanh_()
        ctx.save_for_backward(left, right, slope)
        return (left + right).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        left, right, slope = ctx.saved_tensors
        # d/dx of either tanh, halved: b (1 - tanh^2).
        return (2 - left.square()).sub_(right.square()).mul_(slope).mul_(grad), None


def round_through(x: Tensor) -> Tensor:
    """round(x), half to even; the gradient passes unchanged (straight-through estimator)."""
    result: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return result


def fake_quantize(x: Tensor, step: Tensor, lo: int, hi: int) -> Tensor:
    """step * clamp(round(x / step), lo, hi), with the gradients of LSQ (arXiv 1902.08153).

    d/dx = 1 inside [lo, hi] steps, 0 outside; d/dstep = round(x/step) - x/step inside, lo below, hi above.

    Args:
        x: float32 or bfloat16, any shape; the result is of its type, which for bfloat16 means rounded once more (not where the
            step is a power of two).
        step: float32, above 0; a scalar, or of a shape that broadcasts to x (one step an output channel).
        lo, hi: lowest and highest code.
    """
    fast = x.device.type == "cpu" and step.ndim == 0 and x.dtype in (torch.float32, torch.bfloat16)
    function = _FakeQuantizeCpu if fast else _FakeQuantize
    result: Tensor = function.apply(x, step, lo, hi)  # type: ignore[no-untyped-call]
    return result


def ternary_tanh(x: Tensor, slope: Tensor) -> Tensor:
    """(tanh(2bx - b) + tanh(2bx + b)) / 2 with the slope b, a scalar without gradient (TernaryNet, arXiv 1801.09449)."""
    result: Tensor = _TernaryTanh.apply(x, slope)  # type: ignore[no-untyped-call]
    return result


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """x itself, bit for bit, with its gradient times `scale` (LSQ's 1 / sqrt(N Qp))."""
    return x.detach() + (x - x.detach()) * scale


def least_squares_exponent(rows: Tensor, lo: int, hi: int) -> Tensor:
    """The power of two, by row, whose quantization of the row has the least squared error.

    Args:
        rows: float (R, n).
        lo, hi: lowest and highest code.

    Returns:
        Whole exponents e, float (R,): step = 2**e, fraction bits = -e. A row of zeros gets 0.
    """
    largest = rows.abs().amax(1)
    # At the top exponent nothing is clipped; each one below halves the step and clips more.
    top = torch.ceil(torch.log2(largest.clamp_min(1e-30) / hi))
    best, least = torch.zeros_like(top), torch.full_like(top, torch.inf)
    for below in range(8):
        exponent = top - below
        step = torch.exp2(exponent)[:, None]
        error = (rows - (rows / step).round().clamp(lo, hi) * step).square().sum(1)
        better = error < least
        best, least = torch.where(better, exponent, best), torch.where(better, error, least)
    return torch.where(largest > 0, best, torch.zeros_like(best))
