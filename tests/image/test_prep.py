"""Preparation: the same bits for the same slice, finite for any slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unetq.errors import UserError
from unetq.image.prep import prepare_slice
from unetq.spec import PrepSpec

ZSCORE, UNIT = PrepSpec(), PrepSpec(normalise="unit")
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=12)
INTS = st.sampled_from([np.uint8, np.uint16, np.int16, np.int32]).flatmap(lambda t: arrays(t, SHAPES))
FLOATS = arrays(np.float64, SHAPES, elements=st.floats(-1e300, 1e300, allow_nan=False))


@given(st.one_of(INTS, FLOATS), st.sampled_from([ZSCORE, UNIT, PrepSpec((-10, 200)), PrepSpec((0, 100), "unit")]))
def test_finite_float32_of_the_same_shape_and_order_free(image: np.ndarray, spec: PrepSpec) -> None:
    out = prepare_slice(image, spec)
    assert out.dtype == np.float32
    assert out.shape == image.shape
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(prepare_slice(np.asfortranarray(image), spec), out)
    np.testing.assert_array_equal(prepare_slice(np.repeat(image, 2, 1)[:, ::2], spec), out)


@given(INTS)
def test_zscore(image: np.ndarray) -> None:
    out = prepare_slice(image, ZSCORE).astype(np.float64)
    if image.min() == image.max():
        assert not out.any()
    else:
        np.testing.assert_allclose([out.mean(), out.std()], [0, 1], atol=1e-5)
        expected = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0, 0.1, -3e7, 255])
@pytest.mark.parametrize("spec", [ZSCORE, UNIT, PrepSpec((300, 400))])
def test_constant_slice_is_zero(value: float, spec: PrepSpec) -> None:
    assert not prepare_slice(np.full((7, 9), value), spec).any()


@given(INTS)
def test_unit(image: np.ndarray) -> None:
    out = prepare_slice(image, UNIT)
    if image.min() != image.max():
        assert (out.min(), out.max()) == (-1.0, 1.0)
    fixed = prepare_slice(image, PrepSpec((10, 60), "unit"))
    expected = (np.clip(image.astype(np.float64), 10, 60) - 35) / 25
    np.testing.assert_allclose(fixed, expected, atol=1e-6)


def test_window_is_clipped_before_the_mean() -> None:
    image = np.array([[0, 10, 20, 60000]])
    np.testing.assert_array_equal(
        prepare_slice(image, PrepSpec((0, 20))), prepare_slice(np.array([[0, 10, 20, 20]]), ZSCORE)
    )


def test_constant_slice_in_a_unit_window_keeps_its_place() -> None:
    assert (prepare_slice(np.full((2, 2), 75), PrepSpec((0, 100), "unit")) == 0.5).all()


def test_too_far_apart() -> None:
    with pytest.raises(UserError, match="too far apart"):
        prepare_slice(np.array([[-1.7e308, 1.7e308]]), ZSCORE)
