"""Whether a label belongs to its image: one shape, one pixel size, one orientation, one place."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np

from unetq.errors import UserError
from unetq.image.volume import Volume

__all__ = ["axes", "refuse_misfit"]

# Corners may lie so far apart, in voxels: headers are written in float32.
TOLERANCE = 0.1


def axes(volume: Volume) -> str:
    """Where the axes x, y, z of a study go, like "LPS"."""
    return "".join(nib.orientations.aff2axcodes(volume.affine))


def refuse_misfit(image: tuple[Path, Volume], label: tuple[Path, Volume]) -> None:
    """Refuses a label of another shape than its image; for two NIfTI files of another spacing, orientation or place, too.

    Of a NIfTI that says voxel sizes only, these are compared.

    Args:
        image, label: file and what it holds.

    Raises:
        UserError: names both files and what differs.
    """
    (path, a), (label_path, b) = image, label
    differs = ""
    if a.array.shape != b.array.shape:
        differs = f"the shape {_times(a.array.shape)}, but its label {{}} {_times(b.array.shape)}"
    elif a.format == b.format == "nifti":
        differs = _other_grid(a, b)
    if differs:
        raise UserError(f"{path} has {differs.format(label_path)}: make the label again on the grid of the image.")


def _other_grid(a: Volume, b: Volume) -> str:
    known = a.knows_orientation and b.knows_orientation
    if known and _same_place(a, b):
        return ""
    if known and axes(a) != axes(b):
        return f"the orientation {axes(a)}, but its label {{}} {axes(b)}"
    if not np.allclose(a.spacing, b.spacing, rtol=1e-3):
        return f"a spacing of {_mm(a)}, but its label {{}} {_mm(b)}"
    return "another place or angle in the patient than its label {}" if known else ""


def _same_place(a: Volume, b: Volume) -> bool:
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in a.array.shape[::-1]))])
    apart = np.linalg.norm((corners @ (a.affine - b.affine).T)[:, :3], axis=1).max()
    return bool(apart <= TOLERANCE * min(a.spacing))


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[1:] if shape[0] == 1 else shape))


def _mm(volume: Volume) -> str:
    return " x ".join(f"{mm:.4g}" for mm in volume.spacing) + " mm"
