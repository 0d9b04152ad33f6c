"""The planes against nibabel's own canonical orientation, for every orientation a file may have."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetq.app.planes import AXIS, PLANES, Grid
from unetq.image.read import read
from unetq.image.volume import Volume

CODES = ["".join(c) for p in permutations(("LR", "PA", "IS")) for c in product(*p)]
SIZE = {"R": 5, "L": 5, "A": 6, "P": 6, "S": 7, "I": 7}
MM = {"R": 0.5, "L": 0.5, "A": 0.75, "P": 0.75, "S": 3.0, "I": 3.0}


def stored(code: str) -> Volume:
    """A patient of 5 x 6 x 7 voxels whose voxel values say where they lie, stored in an orientation."""
    ras = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    affine = np.diag([0.5, 0.75, 3.0, 1.0])
    affine[:3, 3] = (-10, 20, 5)
    image = nib.Nifti1Image(ras.astype(np.int16), affine)
    there = nib.orientations.axcodes2ornt(code)
    turned = image.as_reoriented(nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), there))
    x, y, z = turned.header.get_zooms()
    return Volume(np.asarray(turned.dataobj).T, (float(z), float(y), float(x)), turned.affine, "nifti", None)


@pytest.mark.parametrize("code", CODES)
def test_every_orientation_shows_the_same_patient(code: str) -> None:
    volume = stored(code)
    grid = Grid(volume)
    lps = grid.turned(volume.array)
    assert np.shares_memory(lps, volume.array), "a copy of every study for every slice would be slow"
    assert np.array_equal(lps, np.arange(5 * 6 * 7).reshape(5, 6, 7)[::-1, ::-1].T)
    assert np.array_equal(grid.back(lps), volume.array)
    assert grid.shape == (7, 6, 5) and grid.spacing == pytest.approx((3.0, 0.75, 0.5))
    assert grid.world((0, 5, 4)) == pytest.approx((-10, 20, 5)), "left, back, feet: the first voxel of RAS is its last"


@pytest.mark.parametrize("neurological", [False, True])
def test_pictures_stand_as_their_letters_say(neurological: bool) -> None:
    grid = Grid(stored("RAS"), neurological)
    lps = grid.turned(grid.volume.array)
    for plane in PLANES:
        left, right, top, bottom = grid.letters(plane)
        assert (left == "L") == (neurological and plane != "sagittal")
        shape = grid.cut(lps, plane, grid.middle).shape
        places = {left: (0.5, 1e-6), right: (0.5, 1 - 1e-6), top: (1e-6, 0.5), bottom: (1 - 1e-6, 0.5)}
        for letter, place in places.items():
            world = grid.world(grid.point(plane, place, grid.middle))
            middle = grid.world(grid.middle)
            axis, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}[letter]
            assert sign * (world[axis] - middle[axis]) > 0, (plane, letter)
        height, width = grid.size(plane)
        rest = [mm for k, mm in enumerate(grid.spacing) if k != AXIS[plane]]
        assert (height, width) == pytest.approx((shape[0] * rest[0], shape[1] * rest[1]))


@pytest.mark.parametrize("neurological", [False, True])
@pytest.mark.parametrize("code", ["RAS", "LPS", "ASL"])
def test_place_and_point_are_inverse_and_hit_the_pixel(code: str, neurological: bool) -> None:
    grid = Grid(stored(code), neurological)
    lps = grid.turned(grid.volume.array)
    for plane in PLANES:
        for point in np.ndindex(*grid.shape):
            down, across = grid.place(plane, point)
            assert grid.point(plane, (down, across), point) == point
            cut = grid.cut(lps, plane, point)
            assert cut[int(down * cut.shape[0]), int(across * cut.shape[1])] == lps[point]


def test_steps_stay_inside() -> None:
    grid = Grid(stored("RAS"))
    assert grid.step("axial", (3, 1, 1), 100) == (6, 1, 1)
    assert grid.step("sagittal", (3, 1, 1), -2) == (3, 1, 0)


def test_without_orientation_nothing_is_turned_or_lettered(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    stack = Grid(Volume(array, (1.0, 1.0, 1.0), np.eye(4), "tiff"))
    assert stack.turned(array) is array and stack.letters("axial") == ("", "", "", "")
    assert stack.planes == PLANES and stack.title("coronal") == "Across rows"
    assert np.array_equal(stack.cut(array, "coronal", (0, 1, 0)), array[:, 1])
    one = Grid(Volume(array[:1], (1.0, 1.0, 1.0), np.eye(4), "png"))
    assert one.planes == ("axial",) and one.title("axial") == "Image"
    bare = nib.Nifti1Image(array.T, None)
    nib.save(bare, tmp_path / "bare.nii")
    with pytest.warns(UserWarning, match="no orientation"):
        assert not Grid(read(tmp_path / "bare.nii")).oriented


def test_one_sagittal_slice_is_shown_as_such() -> None:
    volume = stored("RAS")
    one = Volume(volume.array[:, :, :1], volume.spacing, volume.affine, "nifti")
    assert Grid(one).planes == ("sagittal",)
    assert Grid(one).cut(Grid(one).turned(one.array), "sagittal", (0, 0, 0)).shape == (7, 6)
