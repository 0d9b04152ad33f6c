"""Weight quantizers: every code of every width, the published formulas, brevitas where the schemes coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brevitas.core.quant import BinaryQuant, IntQuant, TernaryQuant
from brevitas.core.scaling import ConstScaling
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unetq.quant.weights import (
    WEIGHT_QUANTIZERS,
    BinaryWeights,
    FixedWeights,
    LsqWeights,
    TernaryWeights,
    WeightQuantizer,
)

WIDTHS = range(2, 9)
weights = hnp.arrays(np.float32, (3, 2, 3, 3), elements=st.floats(-4, 4, width=32)).map(torch.from_numpy)


def made(name: str, bits: int, weight: torch.Tensor) -> WeightQuantizer:
    quantizer = WEIGHT_QUANTIZERS[name](len(weight), bits)
    quantizer.start(weight)
    return quantizer


def with_exponent(bits: int, exponent: float, channels: int = 1) -> FixedWeights:
    quantizer = FixedWeights(channels, bits)
    quantizer.log2_step.data.fill_(exponent)
    return quantizer


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("exponent", [-9, -4, 0, 3])
def test_fixed_hits_every_code_and_no_other(bits: int, exponent: int) -> None:
    """2^bits levels, not 33 for 4 bits; and saturation, not wrap-round (faults of the published code)."""
    quantizer = with_exponent(bits, exponent)
    every = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    assert torch.equal(quantizer.codes((every * 2.0**exponent).view(1, -1, 1, 1)).flatten().long(), every)
    fine = torch.linspace(-(2.0**bits), 2.0**bits, 64 * 2**bits).view(1, -1, 1, 1) * 2.0**exponent
    found = quantizer.codes(fine).unique()
    assert len(found) == 2**bits
    assert quantizer.codes(torch.full((1, 1, 1, 1), 1e6)).item() == 2 ** (bits - 1) - 1
    assert quantizer.codes(torch.full((1, 1, 1, 1), -1e6)).item() == -(2 ** (bits - 1))


@pytest.mark.parametrize("bits", WIDTHS)
def test_fixed_rounds_half_to_even(bits: int) -> None:
    quantizer = with_exponent(bits, 0)
    halves = torch.arange(quantizer.lo, quantizer.hi) + 0.5
    expected = torch.from_numpy(np.rint(halves.numpy()))
    assert torch.equal(quantizer.codes(halves.view(1, -1, 1, 1)).flatten().float(), expected)


@pytest.mark.parametrize("bits", WIDTHS)
@given(weight=weights)
@settings(max_examples=25, deadline=None)
def test_fixed_steps_are_powers_of_two_of_least_squared_error(bits: int, weight: torch.Tensor) -> None:
    quantizer = made("fixed", bits, weight)
    exponents = torch.log2(quantizer.step(weight))
    assert torch.equal(exponents, exponents.round())
    for row, exponent in zip(weight.flatten(1), exponents):
        if row.abs().max() < 1e-20:
            continue

        def error(e: float, row: torch.Tensor = row) -> float:
            step = 2.0**e
            return float(((row / step).round().clamp(quantizer.lo, quantizer.hi) * step - row).square().sum())

        best = min(error(float(exponent) + shift) for shift in range(-3, 4))
        assert error(float(exponent)) <= best * (1 + 1e-5) + 1e-12


@pytest.mark.parametrize("name", ["fixed", "lsq", "ternary", "binary"])
@given(weight=weights)
@settings(max_examples=25, deadline=None)
def test_forward_is_codes_times_step(name: str, weight: torch.Tensor) -> None:
    quantizer = made(name, {"ternary": 2, "binary": 1}.get(name, 4), weight).eval()
    expected = quantizer.codes(weight) * quantizer.step(weight).view(-1, 1, 1, 1)
    assert torch.equal(quantizer(weight), expected)


@pytest.mark.parametrize("name", ["fixed", "lsq"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@given(weight=weights)
@settings(max_examples=25, deadline=None)
def test_stepped_properties(name: str, bits: int, weight: torch.Tensor) -> None:
    quantizer = made(name, bits, weight)
    once = quantizer(weight).detach()
    assert torch.equal(quantizer.codes(once), quantizer.codes(weight)), "idempotent"
    assert torch.equal(quantizer.codes(torch.zeros_like(weight)), torch.zeros_like(weight, dtype=torch.int8)), (
        "zero is exact"
    )
    order = weight.flatten(1).argsort(1)
    sorted_codes = quantizer.codes(weight).int().flatten(1).gather(1, order)
    assert (sorted_codes.diff(dim=1) >= 0).all(), "monotone"
    assert quantizer.lo <= int(quantizer.codes(weight).min()) <= int(quantizer.codes(weight).max()) <= quantizer.hi


def test_lsq_starts_and_learns_as_published() -> None:
    weight = torch.randn(4, 8, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    quantizer = made("lsq", 3, weight)
    assert isinstance(quantizer, LsqWeights)
    expected = 2 * weight.abs().flatten(1).mean(1) / 3**0.5  # Qp = 3
    torch.testing.assert_close(quantizer.step(weight), expected.detach())
    upstream = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    quantizer(weight).backward(upstream)
    scaled = (weight / expected.view(-1, 1, 1, 1)).detach()
    inside = (scaled >= -4) & (scaled <= 3)
    slope = torch.where(inside, scaled.round() - scaled, scaled.round().clamp(-4, 3))
    scale = 1 / (72 * 3) ** 0.5  # 1 / sqrt(N Qp), N weights of a filter
    torch.testing.assert_close(quantizer.raw_step.grad, (slope * upstream).flatten(1).sum(1) * scale)
    torch.testing.assert_close(weight.grad, upstream * inside)


def test_fixed_learns_the_exponent_through_the_rounding() -> None:
    """d/d log2(s) = d/ds * s ln 2, and steps stay whole powers of two while the parameter moves."""
    weight = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    quantizer = made("fixed", 2, weight)
    assert isinstance(quantizer, FixedWeights)
    quantizer(weight).square().sum().backward()
    step = quantizer.step(weight)
    scaled = weight / step.view(-1, 1, 1, 1)
    inside = (scaled >= -2) & (scaled <= 1)
    slope = torch.where(inside, scaled.round() - scaled, scaled.round().clamp(-2, 1))
    upstream = 2 * quantizer(weight).detach()
    expected = (slope * upstream).flatten(1).sum(1) / 36**0.5 * step * np.log(2)
    torch.testing.assert_close(quantizer.log2_step.grad, expected)
    quantizer.log2_step.data += 0.3
    assert torch.equal(quantizer.step(weight), step)
    quantizer.log2_step.data += 0.3
    assert torch.equal(quantizer.step(weight), 2 * step)


@given(weight=weights)
@settings(max_examples=50, deadline=None)
def test_ternary_is_twn(weight: torch.Tensor) -> None:
    quantizer = TernaryWeights(3, 2)
    codes, step = quantizer.codes(weight).numpy(), quantizer.step(weight).numpy()
    for w, code, alpha in zip(weight.numpy(), codes, step):
        size = torch.from_numpy(np.abs(w))
        large = (size > 0.7 * size.mean()).numpy()
        assert np.array_equal(code, np.sign(w) * large)
        assert alpha == pytest.approx(np.abs(w)[large].mean() if large.any() else 0.0, rel=1e-5)


@pytest.mark.parametrize("cls", [TernaryWeights, BinaryWeights])
def test_ternary_and_binary_pass_the_gradient_straight_through(cls: type[WeightQuantizer]) -> None:
    weight = torch.randn(3, 2, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    upstream = torch.randn(weight.shape)
    cls(3, 2).train()(weight).backward(upstream)
    assert torch.equal(weight.grad, upstream)


def test_binary_is_sign_times_mean() -> None:
    weight = torch.tensor([[-2.0, 0.0, 1.0, 1.0]]).view(1, 4, 1, 1)
    assert BinaryWeights(1, 1).codes(weight).flatten().tolist() == [-1, 1, 1, 1]
    assert BinaryWeights(1, 1).step(weight).tolist() == [1.0]


@pytest.mark.parametrize("bits", WIDTHS)
def test_fixed_equals_brevitas_int_quant(bits: int) -> None:
    weight = torch.randn(1, 16, 3, 3, generator=torch.Generator().manual_seed(bits))
    quantizer = made("fixed", bits, weight)
    theirs = IntQuant(signed=True, narrow_range=False, input_view_impl=torch.nn.Identity())
    step = quantizer.step(weight)
    expected = theirs(step, torch.tensor(0.0), torch.tensor(float(bits)), weight)
    assert torch.equal(quantizer(weight).detach(), expected)


def test_binary_and_ternary_equal_brevitas() -> None:
    weight = torch.randn(1, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    mean = weight.abs().mean()
    binary = BinaryQuant(ConstScaling(float(mean)))(weight)[0]
    torch.testing.assert_close(BinaryWeights(1, 1).eval()(weight), binary)
    ternary = TernaryWeights(1, 2).eval()
    alpha = float(ternary.step(weight))
    theirs = TernaryQuant(ConstScaling(alpha), threshold=0.7 * float(mean) / alpha)(weight)[0]
    torch.testing.assert_close(ternary(weight), theirs)
