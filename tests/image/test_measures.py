"""Measures: by hand, by their properties, and beside MONAI."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label
from skimage.metrics import adapted_rand_error

from unetq.image.measures import dice, hd95, is_empty_pair, surface_dice, v_rand, volume_error_ml

SEEDS = st.integers(0, 2**32 - 1)


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """A few boxes and some specks."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.choice([0.0, 0.02, 0.3])
    for _ in range(rng.integers(0, 3)):
        ends = [np.sort(rng.integers(0, n + 1, 2)) for n in shape]
        mask[tuple(slice(*end) for end in ends)] = True
    return mask.astype(np.uint8)


def test_dice() -> None:
    pred, truth = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]])
    assert dice(pred, truth) == pytest.approx(2 / 3)
    assert dice(pred, truth, 2) == pytest.approx(2 / 3)
    assert dice(pred, truth, 3) == 1.0
    assert dice(pred, 0 * truth) == 0.0
    assert is_empty_pair(pred, truth, 3)
    assert not is_empty_pair(pred, 0 * truth)


@given(SEEDS)
def test_dice_is_symmetric_and_whole_on_itself(seed: int) -> None:
    a, b = blobs(seed, (3, 9, 8)), blobs(seed + 1, (3, 9, 8))
    assert 0 <= dice(a, b) == dice(b, a) <= 1
    assert dice(a, a) == 1.0


def test_volume_error() -> None:
    pred, truth = np.zeros((2, 10, 10), np.uint8), np.zeros((2, 10, 10), np.uint8)
    pred[0], truth[0, :5] = 1, 1
    assert volume_error_ml(pred, truth, (5, 2, 2)) == pytest.approx(1.0)
    assert volume_error_ml(truth, pred, (5, 2, 2)) == pytest.approx(-1.0)
    assert volume_error_ml(pred, truth, (5, 2, 2), 2) == 0.0


def test_hd95_by_hand() -> None:
    a, b = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    a[2, 2], b[5, 6] = 1, 1
    assert hd95(a, b, (1, 1)) == pytest.approx(5.0)
    assert hd95(a, b, (2, 0.5)) == pytest.approx(math.hypot(6, 2))
    assert hd95(a, a, (2, 0.5)) == 0.0
    assert hd95(0 * a, 0 * a, (1, 1)) == 0.0
    assert hd95(a, 0 * a, (1, 1)) == hd95(0 * a, a, (1, 1)) == math.inf
    assert hd95(3 * a, 3 * b, (1, 1), 3) == pytest.approx(5.0)


def monai_hd95(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    import torch
    from monai import metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = metrics.compute_hausdorff_distance(
            torch.from_numpy(a)[None, None],
            torch.from_numpy(b)[None, None],
            include_background=True,
            percentile=95,
            spacing=list(spacing),
        )
    return float(found)


@pytest.mark.parametrize("shape", [(14, 23), (1, 12), (5, 14, 17), (2, 9, 9)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9), (5e-5, 4e-6, 4e-6)])
@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_hd95_as_monai(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> None:
    a, b = blobs(seed, shape), blobs(seed + 1, shape)
    spacing = spacing[-len(shape) :]
    if a.any() and b.any():
        ours = hd95(a, b, spacing)
        assert ours == pytest.approx(monai_hd95(a, b, spacing), rel=1e-4, abs=1e-5 * min(spacing))
        assert ours == pytest.approx(hd95(b, a, spacing))


@pytest.mark.parametrize("shape", [(14, 23), (5, 14, 17)])
@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([0.0, 1.0, 1.5]))
def test_surface_dice_as_monai(shape: tuple[int, ...], seed: int, tolerance: float) -> None:
    import torch
    from monai.metrics import compute_surface_dice

    a, b = blobs(seed, shape) == 1, blobs(seed + 1, shape) == 1
    spacing = (2.5, 0.7, 0.9)[-len(shape) :]
    if a.any() and b.any():
        theirs = compute_surface_dice(
            torch.from_numpy(a)[None, None],
            torch.from_numpy(b)[None, None],
            class_thresholds=[tolerance],
            include_background=True,
            spacing=list(spacing),
        )
        assert surface_dice(a, b, spacing, tolerance) == pytest.approx(float(theirs), abs=1e-6)


def test_surface_dice_by_hand() -> None:
    a, b = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    a[2:5, 2:5], b[3:6, 2:5] = 1, 1
    assert surface_dice(a, b, (2, 1), 2.0) == 1.0, "one row of 2 mm apart"
    assert surface_dice(a, b, (2, 1), 1.0) < 1.0 and surface_dice(a, b, (2, 1), 0.0) < surface_dice(a, b, (2, 1), 1.0)
    assert surface_dice(0 * a, 0 * b, (1, 1), 1.0) == 1.0 and surface_dice(a, 0 * b, (1, 1), 9.0) == 0.0


def test_hd95_of_one_slice_is_that_of_the_image() -> None:
    a, b = blobs(4, (1, 20, 20)), blobs(5, (1, 20, 20))
    a[0, 3:9, 3:9], b[0, 5:15, 5:15] = 1, 1
    assert hd95(a, b, (50, 4, 4)) == hd95(a[0], b[0], (4, 4)) == pytest.approx(monai_hd95(a[0], b[0], (4, 4)), rel=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    a = np.ones((3, 4), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        dice(a, a[:2])
    with pytest.raises(ValueError, match="spacing"):
        hd95(a, a, (1, 1, 1))
    with pytest.raises(ValueError, match="spacing"):
        volume_error_ml(a, a, (1, 0))


@given(SEEDS, st.sampled_from([(12, 17), (1, 14, 9), (4, 9, 8)]))
def test_v_rand_is_scikit_images(seed: int, shape: tuple[int, ...]) -> None:
    pred, truth = blobs(seed, shape) == 1, blobs(seed + 1, shape) == 1
    parts = [label(mask, connectivity=1) for mask in (truth, pred)]
    if (counts := np.bincount(parts[0].ravel())[1:]).size == 0 or counts.max() < 2:
        return  # no pair of pixels: scikit-image divides by zero
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = adapted_rand_error(*parts, ignore_labels=(0,))[0]
    assert v_rand(pred, truth) == pytest.approx(1 - error)


def test_v_rand_by_hand() -> None:
    two = np.array([[1, 1, 0, 1, 1]], bool)
    assert v_rand(two, two) == 1.0
    assert v_rand(np.ones_like(two), two) == pytest.approx(2 * 4 / (4 + 12))  # merged: 4 pairs of 12 are right
    assert v_rand(two, np.zeros_like(two)) == 1.0
    with pytest.raises(ValueError, match="shape"):
        v_rand(two, two[:, :2])
