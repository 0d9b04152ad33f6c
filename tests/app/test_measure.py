"""Volumes, diameters and remarks against brute force; agreement against the measures of `unetq.image`."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetq.app.measure import agreement, longest, remarks, show_area, show_volume, size_of
from unetq.app.study import Study
from unetq.image.measures import dice, hd95, surface_dice
from unetq.image.volume import Volume


def study(shape: tuple[int, ...], spacing: tuple[float, float, float] = (2.5, 0.8, 0.7)) -> Study:
    volume = Volume(np.zeros(shape, np.int16), spacing, np.diag([*spacing[::-1], 1.0]), "nifti")
    return Study("s", volume, "hash", (0.0, 1.0), (0.0, 1.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 3.0))
def test_longest_is_that_of_all_corners(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    there = rng.random((rng.integers(1, 9), rng.integers(1, 9))) < 0.3
    spacing = (1.0, ratio)
    corners = [(r + d, c + e) for r, c in np.argwhere(there) for d, e in product((0, 1), repeat=2)]
    points = np.array(corners).reshape(-1, 2) * spacing
    brute = np.sqrt(((points[:, None] - points) ** 2).sum(2).max()) if len(points) else 0.0
    assert longest(there, spacing) == pytest.approx(brute)


def test_size_counts_in_millimetres() -> None:
    mask = np.zeros((4, 10, 12), np.uint8)
    mask[1:3, 2:5, 3:8] = 2
    found = size_of(mask, study(mask.shape), 2)
    assert found.voxels == 30 and found.volume_mm3 == pytest.approx(30 * 2.5 * 0.8 * 0.7)
    # An affine without a flip is RAS: the turned grid mirrors x and y, and z stays.
    assert found.areas_mm2 == pytest.approx((0, 15 * 0.56, 15 * 0.56, 0))
    assert found.longest_mm == pytest.approx(np.hypot(3 * 0.8, 5 * 0.7))
    assert found.touches == ()
    mask[0, 0, 5] = 2
    assert set(size_of(mask, study(mask.shape), 2).touches) == {"first slice", "lower edge"}


def test_a_single_slice_does_not_touch_its_own_ends() -> None:
    mask = np.zeros((1, 6, 6), np.uint8)
    mask[0, 2, 2] = 1
    assert size_of(mask, study(mask.shape), 1).touches == ()


def test_empty_and_cut_off_masks_are_named() -> None:
    a, b = np.zeros((2, 4, 4), np.uint8), np.ones((2, 4, 4), np.uint8)
    sizes = {name: {"pancreas": size_of(m, study(m.shape), 1)} for name, m in (("W2A2", a), ("W4A6", b))}
    empty, touching = remarks(sizes)
    assert "W2A2 shows no pancreas" in empty and "In W4A6 the pancreas touches the border" in touching


def test_agreement_is_the_measures_and_says_what_is_empty() -> None:
    rng = np.random.default_rng(1)
    a, b = ((rng.random((3, 12, 11)) < 0.4).astype(np.uint8) for _ in range(2))
    about = study(a.shape)
    found = agreement(a, b, about, 1, 0.8)
    spacing = about.volume.spacing
    assert (found.dice, found.hd95_mm) == (dice(a, b), hd95(a, b, spacing))
    assert found.surface == surface_dice(a, b, spacing, 0.8) and found.empty == ""
    assert found.slices == tuple(dice(a[z], b[z]) for z in range(3))
    assert found.volume_error == pytest.approx((int(a.sum()) - int(b.sum())) / b.sum())
    for one, other, said in ((a * 0, b, "mask"), (a, b * 0, "truth"), (a * 0, b * 0, "both")):
        nothing = agreement(one, other, about, 1, 0.8)
        assert (nothing.empty, nothing.hd95_mm, nothing.surface) == (said, None, None)


def test_units_suit_the_size() -> None:
    assert [show_volume(v) for v in (0, 999, 1e3, 5e5, 3e-7)] == ["0 mm³", "999 mm³", "1 ml", "500 ml", "300 µm³"]
    assert [show_area(a) for a in (0, 81.25, 1e3, 5e5, 2e-6)] == ["0 mm²", "81.2 mm²", "10 cm²", "5,000 cm²", "2 µm²"]
