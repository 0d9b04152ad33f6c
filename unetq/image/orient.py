"""Turning a volume to the patient's axes and its mask back: permutations and flips only, so nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.image.volume import Volume

__all__ = ["turn", "turn_back"]


def turn(volume: Volume, orientation: str) -> Volume:
    """The volume with its axes x, y, z along the patient's, as near as whole quarter turns come.

    Args:
        volume: any study.
        orientation: where x, y and z go, like "LPS": to the left, to the back (posterior), to the head (superior).

    Returns:
        The same voxels in another order, with the affine that keeps each voxel in its place.
    """
    way = nib.orientations.ornt_transform(_axes(volume), nib.orientations.axcodes2ornt(orientation))
    grid = volume.array.T
    x, y, z = (float(s) for s in np.array(volume.spacing[::-1])[np.argsort(way[:, 0])])
    return replace(
        volume,
        array=nib.orientations.apply_orientation(grid, way).T,
        spacing=(z, y, x),
        affine=volume.affine @ nib.orientations.inv_ornt_aff(way, grid.shape),
    )


def turn_back(mask: NDArray[Any], volume: Volume, orientation: str) -> NDArray[Any]:
    """The mask (Z, Y, X) of `turn(volume, orientation)` on the grid of `volume` itself."""
    here, there = _axes(volume), nib.orientations.axcodes2ornt(orientation)
    back = nib.orientations.ornt_transform(there, here)
    turned: NDArray[Any] = nib.orientations.apply_orientation(mask.T, back).T
    return turned


def _axes(volume: Volume) -> NDArray[np.float64]:
    axes: NDArray[np.float64] = nib.orientations.io_orientation(volume.affine)
    return axes
