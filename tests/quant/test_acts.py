"""Activation quantizers: every code of every width, calibration, TernaryNet's activation as published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unetq.errors import UserError
from unetq.nets import build
from unetq.quant.acts import ACT_QUANTIZERS, ActQuantizer, FixedActs, LsqActs, ThtActs
from unetq.spec import NetSpec

activations = hnp.arrays(np.float32, (2, 3, 4, 4), elements=st.floats(-20, 20, width=32)).map(torch.from_numpy)


def calibrated(name: str, bits: int, batch: torch.Tensor, signed: bool = False) -> ActQuantizer:
    quantizer = ACT_QUANTIZERS[name](bits, signed)
    quantizer.observe(True)
    quantizer(batch)
    quantizer.observe(False)
    quantizer.calibrate()
    return quantizer


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("signed", [False, True])
def test_every_code_and_rounding_not_truncation(bits: int, signed: bool) -> None:
    """Codes are rounded half to even and saturate at both ends (the published Q6.0 truncates)."""
    if signed and bits == 1:
        return  # no layer has 1-bit signed codes
    quantizer = FixedActs(bits, signed)
    lo, hi = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    fine = torch.arange(8 * (lo - 2), 8 * (hi + 2) + 1) / 8
    assert torch.equal(quantizer.codes(fine), torch.from_numpy(np.clip(np.rint(fine.numpy()), lo, hi)))
    assert len(quantizer.codes(fine).unique()) == 2**bits


@pytest.mark.parametrize("name", ["fixed", "lsq"])
@pytest.mark.parametrize("bits", [1, 2, 6, 8])
@given(x=activations)
@settings(max_examples=25, deadline=None)
def test_properties(name: str, bits: int, x: torch.Tensor) -> None:
    quantizer = calibrated(name, bits, x).eval()
    once = quantizer(x).detach()
    assert torch.equal(quantizer(once), once), "idempotent"
    assert torch.equal(quantizer(torch.zeros_like(x)), torch.zeros_like(x)), "zero is code 0"
    assert (quantizer(-x.abs()) == 0).all(), "negative values are cut as by a ReLU"
    order = x.flatten().argsort()
    assert (once.flatten()[order].diff() >= 0).all(), "monotone"
    codes = once / quantizer.step
    torch.testing.assert_close(codes, codes.round())
    assert codes.min() >= 0 and codes.max() <= 2**bits - 1 + 1e-4


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_fixed_calibration_has_the_least_squared_error_of_all_powers_of_two(bits: int) -> None:
    batch = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(bits)).mul(3)
    quantizer = calibrated("fixed", bits, batch)
    values = batch.clamp_min(0)

    def error(step: float) -> float:
        return float(((values / step).round().clamp(0, 2**bits - 1) * step - values).square().sum())

    best = min((2.0**e for e in range(-12, 6)), key=error)
    assert quantizer.step.item() == best


def test_gradients_are_those_of_lsq() -> None:
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    quantizer = calibrated("lsq", 2, x.detach())
    assert isinstance(quantizer, LsqActs)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    quantizer(x).backward(upstream)
    scaled = (x / quantizer.step).detach()
    inside = (scaled >= 0) & (scaled <= 3)
    slope = torch.where(inside, scaled.round() - scaled, scaled.round().clamp(0, 3))
    torch.testing.assert_close(x.grad, upstream * inside)
    torch.testing.assert_close(quantizer.raw_step.grad, (slope * upstream).sum() / (100 * 3) ** 0.5)


def test_first_training_batch_calibrates_what_was_not_calibrated() -> None:
    x = torch.randn(2, 4, 5, 5).mul(100)
    quantizer = FixedActs(4)
    quantizer.train()(x)
    assert quantizer.step.item() == calibrated("fixed", 4, x).step.item()


def test_evaluation_without_calibration_is_one_sentence() -> None:
    with pytest.raises(UserError, match="never calibrated"):
        _ = FixedActs(4).step
    with pytest.raises(UserError, match="never calibrated"):
        build(NetSpec(base=4, depth=1)).eval()(torch.zeros(1, 1, 8, 8))


def test_state_survives_a_checkpoint() -> None:
    quantizer = calibrated("fixed", 4, torch.randn(1, 2, 8, 8))
    other = FixedActs(4)
    other.load_state_dict(quantizer.state_dict())
    assert other.step.item() == quantizer.step.item() and bool(other.ready)


@given(x=activations)
@settings(max_examples=50, deadline=None)
def test_tht_is_hard_at_inference(x: torch.Tensor) -> None:
    """The released TernaryNet code never takes the hard form; here evaluation does."""
    expected = x.sign() * (x.abs() > 0.5)
    assert torch.equal(ThtActs().eval()(x), expected)


@pytest.mark.parametrize("slope", [3.0, 5.5, 8.0])
def test_tht_slope_takes_effect(slope: float) -> None:
    """The released TernaryNet code writes the slope where the forward pass does not read it."""
    quantizer = ThtActs().train()
    quantizer.slope.fill_(slope)
    x = torch.linspace(-2, 2, 101)
    expected = (torch.tanh(2 * slope * x - slope) + torch.tanh(2 * slope * x + slope)) / 2
    torch.testing.assert_close(quantizer(x), expected)
