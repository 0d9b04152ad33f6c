"""Rounding and clipping with straight-through gradients: the arithmetic that all quantizers share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["fake_quantize", "least_squares_exponent", "round_through", "scale_gradient"]


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
        clipped = (x / step).clamp_(lo, hi)
        quantized = clipped.round().mul_(step)
        ctx.save_for_backward(clipped, quantized, step)
        ctx.bounds = lo, hi
        return quantized

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        clipped, quantized, step = ctx.saved_tensors
        lo, hi = ctx.bounds
        if _is_channels_last(clipped):  # a slice of a concatenation's gradient is not: one copy here saves three below
            grad = grad.contiguous(memory_format=torch.channels_last)
        # grad where lo < clipped < hi, else 0, in one pass.
        grad_x = torch.ops.aten.hardtanh_backward(grad, clipped, lo, hi)
        grad_step = None
        if ctx.needs_input_grad[1]:
            # Inside: round(v/s) - v/s; below: lo; above: hi. That is round(clipped), less v/s where grad_x passes.
            grad_step = _sum_of_products(grad, quantized, step) / step - _sum_of_products(grad_x, clipped, step)
        return grad_x, grad_step, None, None


def _sum_of_products(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """Sum of a * b to the shape of `like`; to a scalar by a dot product, which needs no third tensor."""
    if like.numel() != 1:
        return (a * b).sum_to_size(like.shape)
    if _is_channels_last(a):
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)  # flat without a copy
    return torch.dot(a.reshape(-1), b.reshape(-1)).reshape(like.shape)


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def round_through(x: Tensor) -> Tensor:
    """round(x), half to even; the gradient passes unchanged (straight-through estimator)."""
    result: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return result


def fake_quantize(x: Tensor, step: Tensor, lo: int, hi: int) -> Tensor:
    """step * clamp(round(x / step), lo, hi), with the gradients of LSQ (arXiv 1902.08153).

    d/dx = 1 inside [lo, hi] steps, 0 outside; d/dstep = round(x/step) - x/step inside, lo below, hi above.

    Args:
        x: any shape.
        step: above 0; a scalar, or of a shape that broadcasts to x (one step an output channel).
        lo, hi: lowest and highest code.
    """
    result: Tensor = _FakeQuantize.apply(x, step, lo, hi)  # type: ignore[no-untyped-call]
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
