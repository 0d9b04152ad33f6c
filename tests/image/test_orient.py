"""Turning: every orientation there is, oblique too; each voxel stays in its place in the world, and the way back is exact."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from unetq.image.orient import turn, turn_back
from unetq.image.volume import Volume

ORIENTATIONS = ["".join(axes) for order in permutations(("LR", "PA", "SI")) for axes in product(*order)]


def study(orientation: str) -> Volume:
    """Voxels of 1 x 2 x 3 mm, all different, turned a little out of the patient's axes."""
    grid = np.arange(4 * 5 * 6).reshape(6, 5, 4)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (row, sign) in enumerate(nib.orientations.axcodes2ornt(orientation)):
        affine[int(row), axis] = sign * (axis + 1.0)
    affine[:3, :3] = nib.eulerangles.euler2mat(0.2, -0.1, 0.15) @ affine[:3, :3]
    affine[:3, 3] = (7, -8, 9)
    return Volume(grid.T, (3.0, 2.0, 1.0), affine, "nifti")


@pytest.mark.parametrize("here", ORIENTATIONS)
@pytest.mark.parametrize("there", ["LPS", "RAS", "PIR"])
def test_every_voxel_stays_in_its_place(here: str, there: str) -> None:
    volume = study(here)
    assert nib.aff2axcodes(volume.affine) == tuple(here)
    turned = turn(volume, there)
    assert nib.aff2axcodes(turned.affine) == tuple(there)
    np.testing.assert_allclose(nib.affines.voxel_sizes(turned.affine)[::-1], turned.spacing)
    for value in (0, 17, 119):
        (z, y, x), (c, b, a) = (np.argwhere(v.array == value)[0] for v in (volume, turned))
        np.testing.assert_allclose(turned.affine @ (a, b, c, 1), volume.affine @ (x, y, z, 1), atol=1e-9)
    np.testing.assert_array_equal(turn_back(turned.array, volume, there), volume.array)
