"""Pictures of the viewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.app.made import make
from unetq.app.planes import Grid
from unetq.app.render import HEAT, LABELS, Display, difference, heat, overlay, plain
from unetq.app.scene import DRAFT, TRUTH, Look, Scene, disagreement, pictures, scale_of, views
from unetq.app.study import open_study
from unetq.report.paint import AGREE, ONLY_A, ONLY_B

SHOWN = Display(0, 255, "Fill", 1.0)
IMAGE = np.array([[0, 100, 200, 255]], np.uint8)


def test_plain_is_the_windowed_gray() -> None:
    assert plain(IMAGE, SHOWN)[0].tolist() == [[0] * 3, [100] * 3, [200] * 3, [255] * 3]
    assert plain(IMAGE, Display(100, 200))[0, :, 0].tolist() == [0, 0, 255, 255]
    assert plain(IMAGE, Display(0, 255, scale=(3, 2))).shape == (3, 8, 3)


def test_overlay_by_style_and_opacity() -> None:
    mask = np.array([[0, 1, 1, 2]], np.uint8)
    full = overlay(IMAGE, mask, SHOWN)[0]
    assert [tuple(p) for p in full] == [(0, 0, 0), LABELS[0], LABELS[0], LABELS[1]]
    nothing = overlay(IMAGE, mask, Display(0, 255, "Fill", 0.0))
    assert np.array_equal(nothing, plain(IMAGE, SHOWN))
    lines = overlay(np.zeros((5, 5)), np.pad(np.ones((3, 3)), 1), Display(0, 1, "Outline", 0.5))
    assert lines[2, 2].tolist() == [0, 0, 0] and tuple(lines[1, 1]) == LABELS[0]


def test_difference_shows_who_is_alone() -> None:
    a, b = np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 1]])
    picture = difference(np.zeros((1, 4)), a, b, SHOWN)[0]
    assert picture[0].tolist() == [0, 0, 0]
    assert tuple(picture[2]) == ONLY_A and tuple(picture[3]) == ONLY_B
    assert tuple(picture[1]) == tuple(round(c * 127 / 255) for c in AGREE)


def test_heat_hides_nothing_where_there_is_none() -> None:
    values = np.array([[0, 0, 255, 128]], np.uint8)
    picture = heat(IMAGE, values, replace(SHOWN, opacity=0.5))[0]
    assert picture[:2].tolist() == plain(IMAGE, SHOWN)[0, :2].tolist()
    assert picture[2].tolist() == HEAT[-1].tolist()


def test_disagreement_is_the_share_of_pairs() -> None:
    masks = {"A": np.array([[0, 1, 2]]), "B": np.array([[0, 1, 1]]), "C": np.array([[0, 0, 0]])}
    assert disagreement(masks).tolist() == [[0, 170, 255]]


def test_views_and_their_pictures(tmp_path: Path) -> None:
    made = make(tmp_path)
    study = open_study(made.nifti)
    masks = {"A": made.labels, "B": 1 - made.labels, TRUTH: made.labels}
    maps = {"Entropy: A": made.labels * np.uint8(200)}
    scene = Scene(study, masks, maps=maps)
    assert list(views(Scene(study, {}))) == ["Image only"]
    assert list(views(Scene(study, {"A": made.labels}))) == ["Overlay: A", "Image only"]
    assert next(iter(views(scene))) == "Overview" and "Disagreement of all" in views(scene)
    assert views(Scene(study, dict(list(masks.items())[:2])))["Overview"] == (("A",), ("B",), ("A", "B"))
    assert next(iter(views(Scene(study, {**masks, DRAFT: made.labels})))) == f"Overlay: {DRAFT}"
    grid = Grid(study.volume)
    look = Look("", grid.planes, (1, 40, 50), Display(*study.window))
    for view, contents in views(scene).items():
        shown = pictures(scene, replace(look, view=view))
        assert [picture.plane for picture in shown] == [*grid.planes] * len(contents)
        assert all(picture.pixels.dtype == np.uint8 and picture.pixels.shape[2] == 3 for picture in shown)
        assert {picture.pixels.shape for picture in shown if picture.plane == "axial"} == {(672, 672, 3)}
    (same,) = pictures(scene, replace(look, view=f"Difference: A and {TRUTH}", planes=("axial",)))
    assert [words for _, words in same.legend] == ["agree", "only A", f"only {TRUTH}"]


def test_thick_slices_get_their_shape_in_whole_numbers(tmp_path: Path) -> None:
    made = make(tmp_path)  # 3 slices of 50 nm, 96 pixels of 4 nm
    grid = Grid(open_study(made.nifti).volume)
    assert scale_of(grid, "axial") == (7, 7)
    assert scale_of(grid, "coronal") == (64, 7), "87 times would be right, but one voxel need not fill the screen"
