"""Fake quantization: the pass of the extension against the chain of torch operations, and against the formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unetq import _native
from unetq.quant.functions import _FakeQuantize, fake_quantize, ternary_tanh

RANGES = [(0, 1), (0, 3), (0, 63), (0, 255), (-2, 1), (-8, 7), (-128, 127)]


def both(x: torch.Tensor, step: float, lo: int, hi: int, grad: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """(value, gradient of x, gradient of the step) of the extension and of torch."""
    results = []
    for function in (fake_quantize, _FakeQuantize.apply):
        value, width = x.clone().requires_grad_(), torch.tensor(step, requires_grad=True)
        y = function(value, width, lo, hi)
        y.backward(grad)
        assert value.grad is not None and width.grad is not None
        results.append((y.detach(), value.grad, width.grad))
    return results


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_extension_and_torch_agree(data: Any) -> None:
    lo, hi = data.draw(st.sampled_from(RANGES))
    step = data.draw(st.one_of(st.sampled_from([2.0**-f for f in range(-3, 9)]), st.floats(2.0**-10, 10, width=32)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    shape = data.draw(st.sampled_from([(1,), (1, 1, 1, 1), (2, 3, 5, 7), (1, 16, 9, 4), (3, 70, 1, 1)]))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    x = (torch.randn(shape) * step * (hi - lo)).to(dtype)
    if len(shape) == 4 and data.draw(st.booleans()):
        x = x.to(memory_format=torch.channels_last)
    # A gradient of another layout than x, as behind a concatenation.
    grad = torch.randn(shape).to(dtype)
    ours, chain = both(x, step, lo, hi, grad)
    assert ours[0].dtype == dtype and torch.equal(ours[0], chain[0])
    assert ours[1].dtype == dtype and torch.equal(ours[1], chain[1])
    torch.testing.assert_close(ours[2], chain[2], rtol=1e-3, atol=1e-3 * hi)


def test_halves_go_to_even_and_bounds_pass_no_gradient() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.25, 1.5, 9.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    y = fake_quantize(x, step, 0, 3)
    assert y.tolist() == [0, 0, 0, 0, 0.5, 1.0, 1.0, 1.5, 1.5]
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]
    # Inside round(v) - v: v = 0.5, 1, 1.5, 2.5 give -0.5, 0, 0.5, -0.5; above the range 3, twice.
    assert step.grad is not None and step.grad.item() == pytest.approx(-0.5 + 0 + 0.5 - 0.5 + 3 + 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_stays_to_be_seen(dtype: torch.dtype) -> None:
    y = fake_quantize(torch.tensor([float("nan"), 1.0], dtype=dtype), torch.tensor(0.5), 0, 3)
    assert torch.isnan(y).tolist() == [True, False]


def test_gradient_of_the_step_is_the_same_for_any_number_of_threads() -> None:
    x, grad = torch.randn(1 << 18).numpy(), torch.randn(1 << 18).numpy()
    results = set()
    for threads in (1, 2, 3):
        out = torch.empty(1 << 18).numpy()
        results.add((_native.fake_quantize_backward(x, grad, out, 0.25, -8, 7, threads), out.tobytes()))
    assert len(results) == 1


def test_bfloat16_loses_nothing_at_a_power_of_two() -> None:
    codes = torch.arange(256.0)
    y = fake_quantize((codes / 64).to(torch.bfloat16), torch.tensor(1 / 64), 0, 255)
    assert torch.equal(y.float() * 64, codes)


def test_extension_refuses_arrays_of_different_size() -> None:
    with pytest.raises(ValueError, match="different size"):
        _native.fake_quantize(torch.zeros(3).numpy(), torch.zeros(4).numpy(), 1.0, 0, 3, 1)


@pytest.mark.parametrize("slope", [3.0, 8.0])
def test_gradient_of_the_ternary_tanh(slope: float) -> None:
    x = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: ternary_tanh(v, torch.tensor(slope, dtype=torch.float64)), (x,))
