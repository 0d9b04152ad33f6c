"""A study's three planes as they are read: turned to the patient's axes, lettered, in millimetres; no Streamlit in here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.image.volume import Volume

__all__ = ["PLANES", "Grid", "Plane", "Point"]

T = TypeVar("T", int, float)
Plane = Literal["axial", "coronal", "sagittal"]
# z, y, x on the turned grid
Point = tuple[int, int, int]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
AXIS = {"axial": 0, "coronal": 1, "sagittal": 2}
TURNED = "LPS"  # x to the patient's left, y to the back, z to the head
LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
PLAIN = {"axial": "slices", "coronal": "rows", "sagittal": "columns"}


@dataclass(frozen=True)
class Grid:
    """How the voxels of a study lie on the screen. Arrays are turned as views: nothing is copied.

    Attributes:
        volume: the study.
        neurological: the patient's left is on the left of the screen, where the radiological way has the right.
    """

    volume: Volume
    neurological: bool = False

    @property
    def oriented(self) -> bool:
        """Whether the file says where the patient's left, back and head are."""
        return self.volume.format == "nifti" and self.volume.knows_orientation

    @property
    def _axes(self) -> NDArray[np.float64]:
        return _axes_of(self.volume.affine.tobytes())

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array (Z, Y, X) of the study's grid in the order of the screen, again (Z, Y, X)."""
        if not self.oriented:
            return array
        way = nib.orientations.ornt_transform(self._axes, nib.orientations.axcodes2ornt(TURNED))
        turned: NDArray[Any] = nib.orientations.apply_orientation(array.T, way).T
        return turned

    def back(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `turned`."""
        if not self.oriented:
            return array
        way = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt(TURNED), self._axes)
        back: NDArray[Any] = nib.orientations.apply_orientation(array.T, way).T
        return back

    @cached_property
    def shape(self) -> Point:
        """Slices, rows and columns of the turned grid."""
        z, y, x = self.turned(np.broadcast_to(np.uint8(0), self.volume.array.shape)).shape
        return z, y, x

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """mm along z, y and x of the turned grid."""
        if not self.oriented:
            return self.volume.spacing
        way = nib.orientations.ornt_transform(self._axes, nib.orientations.axcodes2ornt(TURNED))
        x, y, z = (float(s) for s in np.array(self.volume.spacing[::-1])[np.argsort(way[:, 0])])
        return z, y, x

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are worth showing: one of a single picture."""
        return PLANES if min(self.shape) > 1 else (self.thin,)

    @property
    def thin(self) -> Plane:
        """The plane of a study's slices: across its axis of one voxel, if it has one."""
        if not self.oriented:
            return "axial"
        return next((plane for plane in PLANES if self.shape[AXIS[plane]] == 1), "axial")

    @property
    def middle(self) -> Point:
        """The point that a study opens with."""
        z, y, x = ((n - 1) // 2 for n in self.shape)
        return z, y, x

    def cut(self, array: NDArray[Any], plane: Plane, point: Point) -> NDArray[Any]:
        """The slice (rows, columns) of a turned array through a point, as it stands on the screen."""
        index: list[int | slice] = [slice(None)] * 3
        index[AXIS[plane]] = point[AXIS[plane]]  # a view; numpy's take would copy the whole study first
        return self.on_screen(array[tuple(index)], plane)

    def on_screen(self, picture: NDArray[Any], plane: Plane) -> NDArray[Any]:
        """A slice of the turned grid as it stands on the screen, as a view."""
        if self.oriented and plane != "axial":
            picture = picture[::-1]  # the head is up
        return picture[:, ::-1] if self._mirrored(plane) else picture

    def _mirrored(self, plane: Plane) -> bool:
        return self.oriented and self.neurological and plane != "sagittal"

    def place(self, plane: Plane, point: Point) -> tuple[float, float]:
        """Where a point lies in a plane's picture: shares of its height and width, 0 to 1, of the voxel's middle."""
        row, column = self._rest(plane, point)
        rows, columns = self._rest(plane, self.shape)
        down, across = (row + 0.5) / rows, (column + 0.5) / columns
        if self.oriented and plane != "axial":
            down = 1 - down
        return down, 1 - across if self._mirrored(plane) else across

    def point(self, plane: Plane, place: tuple[float, float], point: Point) -> Point:
        """The voxel under a place of a plane's picture through `point`: the inverse of `place`."""
        down, across = place
        if self.oriented and plane != "axial":
            down = 1 - down
        if self._mirrored(plane):
            across = 1 - across
        rows, columns = self._rest(plane, self.shape)
        row, column = (min(max(int(np.floor(share * n)), 0), n - 1) for share, n in ((down, rows), (across, columns)))
        kept = point[AXIS[plane]]
        z, y, x = {"axial": (kept, row, column), "coronal": (row, kept, column), "sagittal": (row, column, kept)}[plane]
        return z, y, x

    def step(self, plane: Plane, point: Point, by: int) -> Point:
        """The point `by` slices further, kept inside."""
        axis = AXIS[plane]
        moved = [*point]
        moved[axis] = min(max(moved[axis] + by, 0), self.shape[axis] - 1)
        return moved[0], moved[1], moved[2]

    def size(self, plane: Plane) -> tuple[float, float]:
        """Height and width of a plane's picture in mm."""
        rows, columns = self._rest(plane, self.shape)
        down, across = self._rest(plane, self.spacing)
        return rows * down, columns * across

    def letters(self, plane: Plane) -> tuple[str, str, str, str]:
        """Left, right, top and bottom of the picture: R, L, A, P, S, I; nothing where the file does not say."""
        if not self.oriented:
            return "", "", "", ""
        left, right, top, bottom = tuple(LETTERS[plane])
        return (right, left, top, bottom) if self._mirrored(plane) else (left, right, top, bottom)

    def title(self, plane: Plane) -> str:
        """The plane's name; of a study without orientation what it cuts across."""
        return plane.capitalize() if self.oriented else f"Across {PLAIN[plane]}" if min(self.shape) > 1 else "Image"

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """float64 (4, 4): voxel (x, y, z, 1) of the turned grid -> RAS position in mm."""
        affine = self.volume.affine
        if self.oriented:
            way = nib.orientations.ornt_transform(self._axes, nib.orientations.axcodes2ornt(TURNED))
            affine = affine @ nib.orientations.inv_ornt_aff(way, self.volume.array.shape[::-1])
        return affine

    def world(self, point: Point) -> tuple[float, float, float]:
        """RAS position of a voxel of the turned grid in mm."""
        x, y, z = (float(mm) for mm in (self.affine @ [*point[::-1], 1.0])[:3])
        return x, y, z

    def _rest(self, plane: Plane, of: tuple[T, T, T]) -> tuple[T, T]:
        """The two entries of (z, y, x) that lie in the plane: rows, columns."""
        first, second = [n for axis, n in enumerate(of) if axis != AXIS[plane]]
        return first, second


@cache
def _axes_of(affine: bytes) -> NDArray[np.float64]:
    """Axes and directions of an affine, float64 (4, 4); a page asks for those of a study dozens of times."""
    axes: NDArray[np.float64] = nib.orientations.io_orientation(np.frombuffer(affine).reshape(4, 4))
    axes.setflags(write=False)
    return axes
