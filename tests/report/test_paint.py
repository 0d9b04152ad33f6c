"""Pictures as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from unetq.report.paint import AGREE, ONLY_A, ONLY_B, auto_window, difference_layer, enlarge, outline, png, window


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (1, 1)])
def test_png_is_read_back(shape: tuple[int, ...], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png"))), pixels)


def test_outline_is_inside_the_object_and_not_at_the_edge() -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[1:5, 2:] = 1
    edge = outline(mask)
    assert not edge[mask == 0].any()
    assert edge[1, 3] and edge[2, 2] and not edge[2, 3]
    assert not edge[2, 5], "the image's edge is no border"
    assert not outline(np.ones((4, 4), np.uint8)).any()


def test_outline_between_two_labels_belongs_to_both() -> None:
    assert outline(np.array([[1, 1, 2, 2]], np.uint8)).tolist() == [[False, True, True, False]]


def test_difference_colours() -> None:
    a, b = np.array([[0, 1, 1, 0, 2]], np.uint8), np.array([[0, 1, 0, 1, 1]], np.uint8)
    layer = difference_layer(a, b, 0.8)[0]
    assert [tuple(p[:3]) for p in layer] == [(0, 0, 0), AGREE, ONLY_A, ONLY_B, ONLY_A]
    assert layer[:, 3].tolist() == [0, 102, 204, 204, 204]


def test_window_of_odd_images() -> None:
    assert auto_window(np.zeros((3, 3))) == (0.0, 1.0)
    assert auto_window(np.full((2, 2), np.nan)) == (0.0, 1.0)
    low, high = auto_window(np.array([0.0, np.inf, 10.0, np.nan]))
    assert 0 <= low < high <= 10
    assert window(np.array([np.nan, 5.0]), 0, 10).tolist() == [0, 128]


def test_enlarge_repeats_whole_pixels() -> None:
    assert enlarge(np.array([[1, 2]]), 4).tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert enlarge(np.zeros((500, 400)), 384).shape == (500, 400)
