"""Which bits fit which Winograd tile, against brute force, and what a tile must refuse."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unetq import _native

# Per axis, as published (Lavin and Gray 2016 for 2; Toom and Cook for 3, with the points 0, 1, -1 and 2, and for 4, with
# -2 besides): B^T, and G times what makes it integer.
AXES: dict[int, tuple[list[list[int]], list[list[int]]]] = {
    1: ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]],
    ),
    3: (
        [[2, -1, -2, 1, 0], [0, -2, -1, 1, 0], [0, 2, -3, 1, 0], [0, -1, 0, 1, 0], [0, 2, -1, -2, 1]],
        [[3, 0, 0], [3, 3, 3], [1, -1, 1], [1, 2, 4], [0, 0, 6]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, 4, 4, -1, -1, 0],
            [0, -4, 4, 1, -1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [[6, 0, 0], [2, 2, 2], [2, -2, 2], [1, 2, 4], [1, -2, 4], [0, 0, 6]],
    ),
}
ROWS = [row for row in _native.kernels() if row["limit"]]
each_row = pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])


def tile_of(row: dict[str, Any]) -> tuple[int, int]:
    high, wide = row["name"].split("_")[0].removeprefix("winograd").split("x")
    return int(high), int(wide)


def corners(count: int, most: int) -> NDArray[np.int64]:
    """Every vector of `count` numbers that are 0 or most: a linear form is largest and smallest at one of them."""
    return np.array(list(itertools.product((0, most), repeat=count)), np.int64)


@each_row
def test_activations_fit_as_brute_force_says(row: dict[str, Any]) -> None:
    (high, _), (wide, _) = (AXES[m] for m in tile_of(row))
    fits = {a for _, a in [*row["always"], *row["checked"]]}
    for abits in range(1, 9):
        # Columns first: all that one column can become, then rows of the extremes of each.
        columns = corners(len(high), 2**abits - 1) @ np.array(high).T
        spans = []
        for i in range(len(high)):
            low, most = columns[:, i].min(), columns[:, i].max()
            values = low + corners(len(wide), 1) * (most - low)
            after = values @ np.array(wide).T
            spans.append(after.max(0) - after.min(0))
        assert (np.max(spans) <= 255) == (abits in fits), abits


@each_row
def test_what_vanishes_behind_a_nearest_upsampling(row: dict[str, Any]) -> None:
    (high, _), (wide, _) = (AXES[m] for m in tile_of(row))
    rng = np.random.default_rng(0)

    def twice(inputs: int) -> NDArray[np.intp]:
        """A tile begins one pixel before a pair of equal ones; one of single outputs, which has 3 inputs, anywhere."""
        return (np.arange(inputs) + 1) // 2 if inputs > 3 and len(wide) != 5 else np.arange(inputs)

    tiles = rng.integers(0, 64, (50, 6, 6))[:, twice(len(high))][:, :, twice(len(wide))]
    left = int((np.array(high) @ tiles @ np.array(wide).T != 0).any(0).sum())
    outputs = tile_of(row)[0] * tile_of(row)[1]
    assert row["products"] * 9 * outputs == pytest.approx(len(high) * len(wide))
    assert row["products_doubled"] * 9 * outputs == pytest.approx(left)


@each_row
def test_weights_fit_as_brute_force_says(row: dict[str, Any]) -> None:
    (_, high), (_, wide) = (AXES[m] for m in tile_of(row))
    signs = np.array(list(itertools.product((-1, 1), repeat=9)), np.int64).reshape(-1, 3, 3)
    largest = int(np.abs(np.array(high) @ signs @ np.array(wide).T).max())
    # AVX2 adds two products to 16 bits: 254 (U + U) <= 32767.
    limit = 129 // (2 * largest) if row["isa"] == "avx2" else 127 // largest
    assert limit == row["limit"]
    for wbits, _ in row["always"]:
        assert (1 if wbits == 1 else 2 ** (wbits - 1)) <= limit
    for wbits, _ in row["checked"]:
        assert (1 if wbits == 1 else 2 ** (wbits - 1)) > limit


@each_row
def test_weights_that_do_not_fit_are_refused_at_the_first_that_does_not(row: dict[str, Any]) -> None:
    if not row["checked"] or row["isa"] not in _native.isas():
        pytest.skip("this tile takes any weights that it takes at all, or is not of this CPU")
    wbits, abits = max(row["checked"])
    one = np.ones(1, np.float32)
    codes = np.ones((70, 4, 5), np.int16)
    weights = np.zeros((1, 3, 3, 70), np.int8)
    settings = {"wbits": wbits, "abits": abits}
    weights[0, :, :, 68:] = row["limit"]
    _native.run_kernel(row["name"], codes, weights, one, one, **settings)
    weights[0, :, :, 68:] += 1
    with pytest.raises(ValueError, match="exact"):
        _native.run_kernel(row["name"], codes, weights, one, one, **settings)


@each_row
def test_scales_that_a_power_of_two_would_round_are_refused(row: dict[str, Any]) -> None:
    if row["isa"] not in _native.isas():
        pytest.skip("not of this CPU")
    wbits, abits = row["always"][0]
    m = np.array([1e-38], np.float32)
    with pytest.raises(ValueError, match="exact"):
        _native.run_kernel(
            row["name"],
            np.ones((1, 4, 5), np.int16),
            np.ones((1, 3, 3, 1), np.int8),
            m,
            m,
            wbits=wbits,
            abits=abits,
        )
