"""Pictures and scores of the viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.app.made import make
from unetq.app.render import LABELS, Display, difference, overlay, plain
from unetq.app.scene import TRUTH, Scene, pictures, score, views
from unetq.app.study import open_study
from unetq.image.measures import dice
from unetq.report.paint import AGREE, ONLY_A, ONLY_B

SHOWN = Display(0, 255, "Fill", 1.0, side=4)
IMAGE = np.array([[0, 100, 200, 255]], np.uint8)


def test_plain_is_the_windowed_gray() -> None:
    assert plain(IMAGE, SHOWN)[0].tolist() == [[0] * 3, [100] * 3, [200] * 3, [255] * 3]
    assert plain(IMAGE, Display(100, 200, side=4))[0, :, 0].tolist() == [0, 0, 255, 255]
    assert plain(IMAGE, Display(0, 255, side=8)).shape == (2, 8, 3)


def test_overlay_by_style_and_opacity() -> None:
    mask = np.array([[0, 1, 1, 2]], np.uint8)
    full = overlay(IMAGE, mask, SHOWN)[0]
    assert [tuple(p) for p in full] == [(0, 0, 0), LABELS[0], LABELS[0], LABELS[1]]
    nothing = overlay(IMAGE, mask, Display(0, 255, "Fill", 0.0, side=4))
    assert np.array_equal(nothing, plain(IMAGE, SHOWN))
    lines = overlay(np.zeros((5, 5)), np.pad(np.ones((3, 3)), 1), Display(0, 1, "Outline", 0.5, side=5))
    assert lines[2, 2].tolist() == [0, 0, 0] and tuple(lines[1, 1]) == LABELS[0]


def test_difference_shows_who_is_alone() -> None:
    a, b = np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 1]])
    picture = difference(np.zeros((1, 4)), a, b, SHOWN)[0]
    assert picture[0].tolist() == [0, 0, 0]
    assert tuple(picture[2]) == ONLY_A and tuple(picture[3]) == ONLY_B
    assert tuple(picture[1]) == tuple(round(c * 127 / 255) for c in AGREE)


def test_scores_are_the_measured_dice() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 3, (4, 9, 8)).astype(np.uint8) for _ in range(2))
    a[2] = b[2] = 0
    a[3], b[3] = 0, 1
    found = score(a, b)
    assert found.study == pytest.approx(np.mean([dice(a, b, 1), dice(a, b, 2)]))
    assert found.slices[0] == pytest.approx(np.mean([dice(a[0], b[0], 1), dice(a[0], b[0], 2)]))
    assert found.slices[2:] == (1.0, 0.0)
    assert score(np.zeros_like(a), np.zeros_like(a)).study == 1.0


def test_views_and_their_pictures(tmp_path: Path) -> None:
    made = make(tmp_path)
    study = open_study(made.nifti)
    masks = {"A": made.labels, "B": 1 - made.labels, TRUTH: made.labels}
    scene = Scene(study, masks)
    assert list(views(Scene(study, {}))) == ["Image only"]
    assert list(views(Scene(study, {"A": made.labels}))) == ["Overlay: A", "Image only"]
    assert next(iter(views(scene))) == "Overview"
    for view, contents in views(scene).items():
        shown = pictures(scene, view, 1, Display(*study.window))
        assert len(shown) == len(contents)
        assert all(picture.pixels.dtype == np.uint8 and picture.pixels.shape == (672, 672, 3) for picture in shown)
    (same,) = pictures(scene, f"Difference: A and {TRUTH}", 0, Display(*study.window))
    assert [words for _, words in same.legend] == ["agree", "only A", f"only {TRUTH}"]
