"""Sliding window: every pixel covered, seams invisible, one tile untouched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetq.image.tiles import logits_to_mask, sliding_logits, tile_count
from unetq.spec import PrepSpec

SIZES = st.tuples(st.integers(1, 50), st.integers(1, 50))
PREPS = st.builds(PrepSpec, tile=st.integers(8, 24), overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]))


def noise(channels: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(sum(size)).normal(size=(channels, *size)).astype(np.float32)


def pointwise(tile: np.ndarray) -> np.ndarray:
    """A linear network without a neighbourhood: its blend is itself."""
    return np.stack([2 * tile[0] - 1, tile[-1] + 3]).astype(np.float32)


@settings(deadline=None)
@given(SIZES, PREPS)
def test_pointwise_network_is_blended_exactly(size: tuple[int, int], prep: PrepSpec) -> None:
    image = noise(2, size)
    shapes: list[tuple[int, ...]] = []
    steps: list[int] = []

    def net(tile: np.ndarray) -> np.ndarray:
        assert tile.flags.c_contiguous
        assert tile.dtype == np.float32
        shapes.append(tile.shape)
        return pointwise(tile)

    out = sliding_logits(image, prep, net, lambda: steps.append(1))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, pointwise(image), rtol=1e-5, atol=2e-6)
    assert len(shapes) == len(steps) == tile_count(size, prep)
    assert set(shapes) == {(2, min(size[0], prep.tile), min(size[1], prep.tile))}


@settings(deadline=None)
@given(SIZES, PREPS, st.floats(-1e6, 1e6, width=32, allow_subnormal=False))
def test_constant_is_preserved(size: tuple[int, int], prep: PrepSpec, value: float) -> None:
    out = sliding_logits(noise(1, size), prep, lambda t: np.full((1, *t.shape[1:]), value, np.float32))
    np.testing.assert_allclose(out, value, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("size", [(16, 16), (5, 16), (1, 1), (16, 9)])
def test_one_tile_is_returned_as_it_is(size: tuple[int, int]) -> None:
    image = noise(1, size)
    logits = noise(3, size)
    out = sliding_logits(image, PrepSpec(tile=16), lambda _: logits)
    assert out is logits


def test_narrow_image_is_tiled_in_one_direction_and_passed_whole_in_the_other() -> None:
    seen: list[tuple[int, ...]] = []
    sliding_logits(noise(1, (40, 10)), PrepSpec(tile=16, overlap=0.5), lambda t: seen.append(t.shape) or t)
    assert seen == [(1, 16, 10)] * 4


def test_pixels_of_one_tile_alone_are_untouched() -> None:
    """Weights add up to 1, so a pixel that one tile covers has weight 1 exactly."""
    image = noise(1, (16, 28))  # tiles at 0 and 12
    count = iter(range(2))
    tiles = noise(2, (16, 16))
    out = sliding_logits(image, PrepSpec(tile=16, overlap=0.25), lambda _: tiles[next(count)][None])
    np.testing.assert_array_equal(out[0, :, :12], tiles[0, :, :12])
    np.testing.assert_array_equal(out[0, :, 16:], tiles[1, :, 4:])
    low, high = np.minimum(tiles[0, :, 12:], tiles[1, :, :4]), np.maximum(tiles[0, :, 12:], tiles[1, :, :4])
    assert ((out[0, :, 12:16] >= low - 1e-6) & (out[0, :, 12:16] <= high + 1e-6)).all()


def test_middle_of_a_tile_outweighs_the_border() -> None:
    count = iter([0.0, 1.0, 1.0])
    out = sliding_logits(noise(1, (16, 32)), PrepSpec(tile=16, overlap=0.5), lambda t: np.full_like(t, next(count)))[
        0, 0
    ]
    assert (np.diff(out[8:16]) > 0).all()
    assert out[8] < 0.01
    assert out[15] > 0.99


def test_result_does_not_depend_on_the_run() -> None:
    image = noise(1, (45, 37))
    first = sliding_logits(image, PrepSpec(tile=16), pointwise)
    np.testing.assert_array_equal(sliding_logits(np.asfortranarray(image), PrepSpec(tile=16), pointwise), first)


def test_network_of_another_size_is_noticed() -> None:
    with pytest.raises(ValueError, match="tile of 16 x 16"):
        sliding_logits(noise(1, (20, 20)), PrepSpec(tile=16), lambda t: t[:, :1, :1])


def test_logits_to_mask() -> None:
    one = np.array([[[-1.0, 0.0, 1e-9]]], np.float32)
    np.testing.assert_array_equal(logits_to_mask(one), [[0, 0, 1]])
    several = np.array([[[1, 0, 0]], [[1, 2, 0]], [[0, 3, 0.5]]], np.float32)
    np.testing.assert_array_equal(logits_to_mask(several), [[0, 2, 2]])
    assert logits_to_mask(one).dtype == logits_to_mask(several).dtype == np.uint8


@settings(deadline=None)
@given(st.integers(2, 256), SIZES, st.integers(0, 2**32 - 1))
def test_mask_is_the_first_largest_channel(channels: int, size: tuple[int, int], seed: int) -> None:
    values = np.array([-np.inf, -2, -0.0, 0.0, 0.5, 3, np.inf], np.float32)
    logits = np.random.default_rng(seed).choice(values, (channels, *size))
    np.testing.assert_array_equal(logits_to_mask(logits), logits.argmax(0))
