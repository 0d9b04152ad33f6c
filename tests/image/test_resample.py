"""Resampling: linear, centre to centre, and labels that follow their share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unetq.image.resample import resample, resample_labels, resampled_size

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@given(sizes, sizes, st.integers(0, 9))
def test_as_torch_interpolates(size: tuple[int, int], other: tuple[int, int], seed: int) -> None:
    planes = np.random.default_rng(seed).normal(size=(2, *size))
    expected = torch.nn.functional.interpolate(torch.from_numpy(planes)[None], other, mode="bilinear")[0]
    np.testing.assert_allclose(resample(planes, other), expected.numpy(), atol=1e-12)


@given(sizes, sizes)
def test_a_plane_stays_in_its_range_and_a_constant_stays(size: tuple[int, int], other: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, *size)).astype(np.uint8)
    out = resample(noise, other)
    assert noise.min() <= out.min() <= out.max() <= noise.max()
    assert (resample(np.full((1, *size), 7), other) == 7).all()


def test_half_the_size_is_the_mean_of_four() -> None:
    planes = np.random.default_rng(1).normal(size=(1, 6, 8))
    np.testing.assert_allclose(resample(planes, (3, 4)), planes.reshape(1, 3, 2, 4, 2).mean((2, 4)))


@pytest.mark.parametrize(("target", "size"), [(0.25, (200, 400)), (0.5, (100, 200)), (2.0, (25, 50)), (1e9, (1, 1))])
def test_size(target: float, size: tuple[int, int]) -> None:
    assert resampled_size((100, 100), (0.5, 1.0), target) == size


def test_labels_go_by_the_largest_share_and_stay_whole() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:6, 2:6], labels[4:6, 4:6] = 1, 2
    twice = resample_labels(labels, (16, 16))
    assert np.array_equal(twice[::2, ::2][3:5, 3:5], labels[3:5, 3:5]) and set(np.unique(twice)) == {0, 1, 2}
    assert abs(int((twice > 0).sum()) - 64) <= 4  # 16 pixels, each now four; corners may go
    assert np.array_equal(resample_labels(twice, (8, 8)), labels)
    assert resample_labels(labels, (8, 8)) is labels
