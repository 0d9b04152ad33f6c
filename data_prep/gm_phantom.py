"""Made-up T2*-weighted MR of the spinal cord in the SCGM challenge's layout: four sites, four raters.

What makes the real studies hard is here too: a butterfly of gray matter only a few pixels wide and little brighter than the
white matter around it, coils that shade, sites of other spacing, contrast, orientation and noise, one whose images carry no
orientation codes and one whose cord lies far off the centre, and raters who do not quite agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.phantom_files import put
from unetq.errors import UserError

__all__ = ["RATERS", "SITES", "SIZE", "Site", "Study", "make_study", "write_studies"]

SIZE, MIN_SIZE, RATERS = 160, 64, 4
# Each pixel is the mean of so many by so many points, so that borders are as soft as a scanner makes them.
POINTS = 3

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Site:
    """A scanner.

    Attributes:
        pixel, step: mm in the plane and from slice to slice.
        slices: their number.
        axes: where x, y and z of its files go.
        tissue: intensity of gray and white matter, fluid, muscle, fat, bone.
        noise: standard deviation, as a share of the white matter's intensity.
        shade: by how much (a natural logarithm) its coils brighten the back against the front of the field of view.
        aside: how far the cord lies off the centre, as a share of the field of view (left, back).
        coded: False where its images carry no sform and qform code.
    """

    pixel: float
    step: float
    slices: int
    axes: str
    tissue: tuple[float, float, float, float, float, float]
    noise: float
    shade: float
    aside: tuple[float, float] = (0.0, 0.05)
    coded: bool = True


SITES = (
    Site(0.5, 5.0, 3, "LAS", (650, 560, 840, 420, 900, 90), 0.045, 0.5),
    Site(0.4, 5.0, 6, "RPI", (6900, 6150, 6500, 3900, 5200, 1500), 0.05, 0.9),
    Site(0.6, 3.0, 6, "LPS", (1480, 1240, 2100, 700, 1500, 300), 0.06, 0.4, (0.26, 0.1)),
    Site(0.5, 5.0, 4, "LAS", (320, 282, 300, 260, 240, 50), 0.05, 1.1, coded=False),
)
# Centres and radius (mm) along a half of the butterfly, to the left and to the back: commissure, then either horn.
FRONT = ((0.0, 0.1, 0.35), (0.9, 0.0, 0.5), (1.7, -0.5, 0.85), (2.2, -1.3, 1.0))
BACK = ((0.9, 0.0, 0.5), (1.5, 0.9, 0.5), (2.1, 1.8, 0.45), (2.7, 2.6, 0.35))
# Half axes of the cord and of the fluid around it, mm.
CORD, CANAL = (6.3, 4.3), (10.5, 7.5)
# How far raters' borders lie from the true one: each one's habit, and his hand's waves of some mm.
HABIT, HAND, WAVE = 0.05, 0.09, 1.0


@dataclass(frozen=True)
class Study:
    """A made-up session, x to the left, y to the back, z to the head.

    Attributes:
        image: int16 (Z, Y, X).
        raters: uint8 like the image, 1 = gray matter, 2 = white matter.
        cord: middle of the cord, mm from the centre of the image (left, back).
    """

    image: NDArray[np.int16]
    raters: tuple[NDArray[np.uint8], ...]
    cord: tuple[float, float]


def make_study(site: int, number: int, seed: int, size: int = SIZE) -> Study:
    """A session at a site.

    Args:
        site: 1 to 4.
        number: of the person there.
        seed: with the other two it decides every voxel.
        size: side of a slice in pixels; a smaller one shows less around the cord.

    >>> study = make_study(1, 1, seed=0, size=64)
    >>> study.image.shape, np.unique(study.raters[0]).tolist()
    ((3, 64, 64), [0, 1, 2])
    """
    scanner, rng = SITES[site - 1], np.random.default_rng((seed, site, number))
    view = scanner.pixel * size
    person = _Person(rng, view, scanner)
    images, masks = [], []
    for z in range(scanner.slices):
        inside = person.plane(z, size * POINTS)
        images.append(_scan(inside, scanner, rng, size))
        masks.append([_rate(inside, person.habits[rater], rng, size) for rater in range(RATERS)])
    return Study(np.stack(images), tuple(np.stack(planes) for planes in zip(*masks, strict=True)), person.cord)


def write_studies(out: Path, cases: int, seed: int, size: int = SIZE) -> None:
    """Writes `siteN-scNN-image.nii.gz` and `-mask-r1..4.nii.gz`, all or nothing.

    Args:
        out: a folder.
        cases: sessions, dealt out to the sites in turn.
        seed: decides every byte.
        size: side of a slice in pixels.

    Raises:
        UserError: a size too small, or `out` holds other studies, which may be real.
    """
    if size < MIN_SIZE:
        raise UserError(f"Phantom MR slices of {size} pixels cannot be made: ask for {MIN_SIZE} or more.")

    def write(folder: Path) -> None:
        for case in range(cases):
            site, number = case % len(SITES) + 1, case // len(SITES) + 1
            _write_study(folder, site, number, make_study(site, number, seed, size))

    put(out, ("site*-sc*",), write)


@dataclass(frozen=True)
class _Plane:
    """A slice at fine points `mm` apart: distances in mm, negative inside, and the intensity of all but the cord."""

    gray: Field
    cord: Field
    around: Field
    mm: float


class _Person:
    """Shapes of one neck, from slice to slice."""

    def __init__(self, rng: np.random.Generator, view: float, scanner: Site) -> None:
        self.rng, self.view, self.scanner = rng, view, scanner
        aside = np.multiply(scanner.aside, view) + rng.normal(0, 0.02 * view, 2)
        self.cord = (float(aside[0]), float(aside[1]))
        self.scale = float(rng.normal(1.0, 0.05))
        self.tilt, self.lean = rng.normal(0, 0.08), rng.normal(0, 0.06, 2)
        self.front, self.back = (
            np.array(way) + rng.normal(0, 0.07, (2, len(way), 3)) * (1, 1, 0.4) for way in (FRONT, BACK)
        )
        self.swell = rng.uniform(-0.12, 0.2)
        self.habits = rng.normal(0, HABIT, RATERS)

    def plane(self, z: int, points: int) -> _Plane:
        """The slice z on points x points fine points."""
        rng, scanner, mm = self.rng, self.scanner, self.view / points
        depth = z - (scanner.slices - 1) / 2
        axis = (np.arange(points, dtype=np.float32) - (points - 1) / 2) * np.float32(mm)
        middle = np.array(self.cord) + self.lean * depth * scanner.step + rng.normal(0, 0.15, 2)
        left, back = axis[None, :] - np.float32(middle[0]), axis[:, None] - np.float32(middle[1])
        turn = self.tilt + rng.normal(0, 0.02)
        u = np.float32(np.cos(turn)) * left + np.float32(np.sin(turn)) * back
        v = np.float32(np.cos(turn)) * back - np.float32(np.sin(turn)) * left
        grown = self.scale * (1 + self.swell * depth / scanner.slices)
        gray = np.full(u.shape, np.inf, np.float32)
        for side, mirror in enumerate((-1, 1)):
            for way in (self.front[side], self.back[side]):
                np.minimum(gray, _tube(u, v, way * (mirror * grown, grown, grown)), out=gray)
        cord = _ellipse(u, v, np.multiply(CORD, grown * (1 + rng.normal(0, 0.01, 2))))
        # The fissure in front and the septum behind part the halves of the white matter.
        cord = np.maximum(cord, 0.25 - np.hypot(u, np.maximum(v + 2.2 * grown, 0)).astype(np.float32))
        canal = _ellipse(left, back, np.multiply(CANAL, self.scale))
        return _Plane(gray, cord, self._around(left, back, canal, z), mm)

    def _around(self, left: Field, back: Field, canal: Field, z: int) -> Field:
        """Neck, vertebra, vessels and air; inside the canal fluid with roots."""
        rng, mm = self.rng, self.view / canal.shape[0]
        _, white, fluid, muscle, fat, bone = self.scanner.tissue
        skin = _ellipse(left, back + 0.12 * self.view, np.multiply((0.55, 0.5), self.view))
        value = np.where(skin < 0, muscle, 0).astype(np.float32)
        value[(skin < 0) & (skin > -3)] = fat
        value = np.where(skin < -3, value * np.exp(0.18 * _smooth(rng, value.shape, 2.5 / mm)), value)
        shapes: list[tuple[tuple[float, float], tuple[float, float], float]] = [
            ((0, -15), (11, 7.5), bone if z % 2 else 0.5 * (bone + muscle)),
            ((0, 11), (3.5, 9), bone),
            ((-13, 2), (5, 8), bone),
            ((13, 2), (5, 8), bone),
            ((-16, -9), (2.4, 2.2), 1.25 * fluid),
            ((16, -9), (2.1, 2.4), 1.25 * fluid),
            ((0, -34), (8, 6), 0.02 * bone),
        ]
        for (x, y), half, shade in shapes:
            value[_ellipse(left - x, back - y, np.add(half, rng.normal(0, 0.4, 2))) < 0] = shade
        value[canal < 1.2] = 0.9 * fat
        value[canal < 0.5] = 0.3 * bone  # dura
        value[canal < 0] = fluid
        for x, y in ((-6.5, -3.4), (6.5, -3.4), (-6.8, 3.2), (6.8, 3.2)):
            value[(_ellipse(left - x, back - y, (1.1, 0.6)) < 0) & (canal < 0)] = white
        return value


def _scan(plane: _Plane, scanner: Site, rng: np.random.Generator, size: int) -> NDArray[np.int16]:
    """What the scanner makes of a slice."""
    gray, white, *_ = scanner.tissue
    value = np.where(plane.cord < 0, white, plane.around)
    value = np.where(plane.gray < 0, gray, value).astype(np.float32)
    value = _pooled(value, size)
    waves = _smooth(rng, value.shape, 0.15 * size)
    row = np.linspace(-0.5, 0.5, size, dtype=np.float32)[:, None]
    value *= np.exp(scanner.shade * row + 0.08 * waves) * np.float32(rng.normal(1, 0.03))
    sigma = np.float32(scanner.noise * white)
    real, imaginary = rng.standard_normal((2, size, size), np.float32) * sigma
    seen: NDArray[np.int16] = np.rint(np.hypot(value + real, imaginary)).clip(0, 32767).astype(np.int16)
    return seen


def _rate(plane: _Plane, habit: float, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """What a rater marks."""
    hand = np.float32(habit) + HAND * _smooth(rng, plane.gray.shape, WAVE / plane.mm)
    white = _pooled((plane.cord - hand < 0).astype(np.float32), size) > 0.5
    gray = _pooled((plane.gray - hand < 0).astype(np.float32), size) > 0.5
    return np.where(gray, 1, np.where(white, 2, 0)).astype(np.uint8)


def _pooled(fine: Field, size: int) -> Field:
    pooled: Field = fine.reshape(size, POINTS, size, POINTS).mean((1, 3))
    return pooled


def _ellipse(left: Field, back: Field, half: NDArray[np.float64] | tuple[float, ...]) -> Field:
    """About the distance to an ellipse in mm, negative inside."""
    a, b = (np.float32(axis) for axis in half)
    distance: Field = (np.hypot(left / a, back / b) - 1) * np.sqrt(a * b)
    return distance


def _tube(u: Field, v: Field, way: NDArray[np.float64]) -> Field:
    """Distance to a line of discs (u, v, radius), negative inside."""
    line = np.linspace(0, len(way) - 1, 4 * len(way))
    fine = np.stack([np.interp(line, np.arange(len(way)), column) for column in way.T], 1).astype(np.float32)
    outside = np.full(u.shape, np.inf, np.float32)
    for x, y, radius in fine:
        np.minimum(outside, np.hypot(u - x, v - y) - radius, out=outside)
    return outside


def _smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Field:
    """A smooth random field of standard deviation 1, its waves some `sigma` points long."""
    fy, fx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx**2))
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape, np.float32)) * kernel, s=shape)
    smooth: Field = ((field - field.mean()) / field.std()).astype(np.float32)
    return smooth


def _write_study(folder: Path, site: int, number: int, study: Study) -> None:
    scanner, name = SITES[site - 1], f"site{site}-sc{number:02d}"
    affine = np.diag([-scanner.pixel, -scanner.pixel, scanner.step, 1.0])
    affine[:3, 3] = -(affine[:3, :3] @ (np.array(study.image.shape[::-1]) - 1)) / 2
    there = nib.orientations.axcodes2ornt(scanner.axes)
    files: list[tuple[NDArray[Any], str, bool]] = [(study.image, "image", scanner.coded)]
    files += [(rater, f"mask-r{r}", True) for r, rater in enumerate(study.raters, 1)]
    for array, what, coded in files:
        picture = nib.Nifti1Image(array.T, affine)
        picture = picture.as_reoriented(nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), there))
        picture.header.set_xyzt_units("mm")
        if not coded:
            picture = nib.Nifti1Image(np.asarray(picture.dataobj), None, picture.header)
            picture.set_sform(None, 0)
            picture.set_qform(None, 0)
        nib.save(picture, folder / f"{name}-{what}.nii.gz")
