"""What the 3-D view is sent of a study: image and overlay as NIfTI files of few voxels in one space; no Streamlit in here.

The space: RAS millimetres of the study; of a study that does not say where the patient lies, x to the right of the screen, y up
and z towards the reader, so that a stack stands as its slices are read. Where a voxel is smaller than 0.1 mm everything is
larger by 1000 or a million: a graphics card counts in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.app.planes import Grid, Point
from unetq.app.render import HEAT, LABELS, Colour, heat_legend, labels_legend, legend
from unetq.app.scene import DISAGREEMENT, Scene, disagreement
from unetq.app.study import Mask
from unetq.report.paint import AGREE, ONLY_A, ONLY_B

__all__ = ["LIMIT", "Overlay", "Part", "around", "image_file", "overlay_of", "whole"]

LIMIT = 4_000_000  # voxels: what a small graphics card draws at once, and 4 to 8 MB to send
MARGIN = 0.15  # of the box around a mask, on each side


@dataclass(frozen=True)
class Part:
    """A box of a study's turned grid, of whose voxels blocks are taken together.

    Attributes:
        grid: the study's grid.
        low: first voxel (z, y, x).
        high: the one after the last.
        limit: blocks at most.
    """

    grid: Grid
    low: Point
    high: Point
    limit: int = LIMIT

    @cached_property
    def step(self) -> Point:
        """Voxels of a block along z, y and x: the axis of the smallest pixels is thinned first."""
        step, size = [1, 1, 1], [b - a for a, b in zip(self.low, self.high)]
        while np.prod([-(-n // k) for n, k in zip(size, step)]) > self.limit:
            sides = [mm * k if k < n else np.inf for mm, k, n in zip(self.grid.spacing, step, size)]
            step[int(np.argmin(sides))] += 1
        return step[0], step[1], step[2]

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        """float64 (4, 4): voxel (x, y, z, 1) of the turned grid -> the space of the 3-D view."""
        grid = self.grid
        smallest = min(grid.spacing)
        unit = next((u for u in (1.0, 1e3, 1e6) if smallest * u >= 0.1), 1e6)
        z, y, x = grid.spacing
        affine = grid.affine if grid.oriented else np.diag([x, -y, -z, 1.0])
        return np.diag([unit, unit, unit, 1.0]) @ affine

    def place(self, point: Point) -> list[float]:
        """Where a voxel of the turned grid is in the view."""
        return [float(mm) for mm in (self.affine @ [*point[::-1], 1.0])[:3]]

    def point(self, place: tuple[float, float, float]) -> Point:
        """The voxel of the turned grid at a place of the view, kept inside: the inverse of `place`."""
        x, y, z = (np.linalg.inv(self.affine) @ [*place, 1.0])[:3]
        z, y, x = (int(np.clip(np.rint(n), 0, size - 1)) for n, size in zip((z, y, x), self.grid.shape))
        return z, y, x

    def thinned(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Mean of each block of an array (Z, Y, X) of the study, float32; a block at the end may be smaller.

        It works a slice of blocks after the other: a copy of the study in float32 would be twice a CT's memory.
        """
        (z0, y0, x0), (z1, y1, x1) = self.low, self.high
        box = self.grid.turned(array)[z0:z1, y0:y1, x0:x1]
        if self.step == (1, 1, 1):
            return box.astype(np.float32)
        starts = [np.arange(0, n, k) for n, k in zip(box.shape, self.step)]
        count = [np.diff([*first, n]).astype(np.float32) for first, n in zip(starts, box.shape)]
        found = np.empty([len(first) for first in starts], np.float32)
        for number, z in enumerate(starts[0]):
            mean = box[z : z + self.step[0]].mean(axis=0, dtype=np.float32)
            mean = np.add.reduceat(mean, starts[1], axis=0) / count[1][:, None]
            found[number] = np.add.reduceat(mean, starts[2], axis=1) / count[2]
        return found

    def labels(self, mask: Mask) -> Mask:
        """A mask's label of each block that it fills by half or more, 0 elsewhere."""
        if self.step == (1, 1, 1):
            return self.thinned(mask).astype(np.uint8)
        found = np.zeros([-(-(b - a) // k) for a, b, k in zip(self.low, self.high, self.step)], np.uint8)
        for value in np.flatnonzero(np.bincount(mask.ravel(), minlength=2)[1:]) + 1:
            found[self.thinned(mask == value) >= 0.5] = value
        return found

    def file(self, array: NDArray[np.generic]) -> bytes:
        """A NIfTI of blocks; float32 is stored as int16 with a slope."""
        first = [start + (step - 1) / 2 for start, step in zip(self.low, self.step)]  # the middle of the first block
        to_grid = np.diag([*map(float, self.step[::-1]), 1.0])
        to_grid[:3, 3] = first[::-1]
        image = nib.Nifti1Image(array.T, self.affine @ to_grid)
        if array.dtype == np.float32:
            image.set_data_dtype(np.int16)
        content: bytes = image.to_bytes()
        return content


@dataclass(frozen=True)
class Overlay:
    """What lies over the image.

    Attributes:
        array: uint8 (Z, Y, X) of a part's blocks.
        colours: RGB of the values 1, 2, ... of labels; of a map, of 0 to 255 in equal steps.
        heat: whether it is a map.
        legend: (CSS colour, words).
    """

    array: Mask
    colours: tuple[Colour, ...]
    heat: bool
    legend: tuple[tuple[str, str], ...]


def whole(scene: Scene) -> Part:
    """The whole study."""
    grid = Grid(scene.study.volume)
    return Part(grid, (0, 0, 0), grid.shape)


def around(scene: Scene, names: Sequence[str]) -> Part | None:
    """The box around the masks of these names with a margin; None where they are all empty."""
    grid = Grid(scene.study.volume)
    masks = [grid.turned(scene.masks[name]) for name in names]
    low, high = [], []
    for axis, size in enumerate(grid.shape):
        rest = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(np.any([mask.any(axis=rest) for mask in masks], axis=0))
        if not len(found):
            return None
        more = max(2, round(MARGIN * (found[-1] - found[0] + 1)))
        low.append(max(int(found[0]) - more, 0))
        high.append(min(int(found[-1]) + 1 + more, size))
    return Part(grid, (low[0], low[1], low[2]), (high[0], high[1], high[2]))


def image_file(scene: Scene, part: Part) -> bytes:
    """The image of a part as NIfTI: uint8 and int16 as they are, everything else as int16 with a slope."""
    array = scene.study.volume.array
    found = part.thinned(array)
    if array.dtype in (np.uint8, np.int16):
        return part.file(np.rint(found).astype(array.dtype))
    return part.file(found)


def overlay_of(scene: Scene, names: tuple[str, ...], part: Part) -> Overlay | None:
    """What a view's last picture (`scene.views`) lays over the image; None where that is the image alone."""
    if not names:
        return None
    heat = tuple((int(r), int(g), int(b)) for r, g, b in HEAT)
    if names == (DISAGREEMENT,):
        masks = {name: part.labels(mask) for name, mask in scene.masks.items()}
        return Overlay(disagreement(masks), heat, True, tuple(heat_legend("few", "most pairs differ")))
    if names[0] in scene.maps:
        return Overlay(
            np.rint(part.thinned(scene.maps[names[0]])).astype(np.uint8), heat, True, tuple(heat_legend("low", "high"))
        )
    a = part.labels(scene.masks[names[0]])
    if len(names) == 1:
        colours = tuple(LABELS[i % len(LABELS)] for i in range(max(len(scene.labels), int(a.max()))))
        return Overlay(a, colours, False, labels_legend(scene.labels))
    b = part.labels(scene.masks[names[1]])
    compared = np.select([(a > 0) & (a == b), (b > 0) & (a == 0), a != b], [1, 3, 2], 0).astype(np.uint8)
    return Overlay(compared, (AGREE, ONLY_A, ONLY_B), False, tuple(legend(*names)))
