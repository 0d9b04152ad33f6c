"""Made-up studies in each challenge's own on-disk layout, read by the same readers as the real thing; same seed, same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from unetq.data_prep.em import LABELS, VOLUME
from unetq.errors import UserError, nearest
from unetq.files import atomic, make_folder

__all__ = ["PHANTOMS", "em_pages", "phantom"]

Plane = NDArray[np.float32]
SIZE = 512


def phantom(dataset: str, out: Path, cases: int, seed: int) -> None:
    """Writes a phantom data set.

    Args:
        dataset: a name of `PHANTOMS`.
        out: folder to write, in the layout of the challenge.
        cases: studies (em: slices).
        seed: decides every byte.

    Raises:
        UserError: no phantom of that name, or the folder cannot be written.
    """
    if dataset not in PHANTOMS:
        raise UserError(f'There is no phantom of "{dataset}": {nearest(dataset, PHANTOMS)}')
    PHANTOMS[dataset](make_folder(out), cases, seed)


def write_em(out: Path, cases: int, seed: int) -> None:
    """`train-volume.tif` and `train-labels.tif`, a page a slice, as the ISBI 2012 challenge has them."""
    images, labels = em_pages(cases, seed)
    for name, pages in ((VOLUME, images), (LABELS, labels)):
        with atomic(out / name) as temporary:
            # One slice would be written as a 2-D file, which reads back as one page all the same.
            sitk.WriteImage(sitk.GetImageFromArray(pages), str(temporary))


PHANTOMS: dict[str, Callable[[Path, int, int], None]] = {"em": write_em}


def em_pages(pages: int, seed: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """EM-like slices: cells of many sizes with dark membranes that wander from slice to slice.

    What makes the real slices hard is here too: membranes of varying width and contrast, cut obliquely to a blur in places,
    mitochondria and vesicles as dark as membranes inside the cells, uneven contrast, correlated and shot noise.

    Args:
        pages: number of slices.
        seed: decides every byte.
        size: side of a slice in pixels.

    Returns:
        (images, labels), uint8 (pages, size, size); labels 255 = cell interior, 0 = membrane.
    """
    cells = _Cells(np.random.default_rng(seed), size)
    images = np.empty((pages, size, size), np.uint8)
    labels = np.empty_like(images)
    for page in range(pages):
        # A generator a page: a page looks the same however many there are.
        images[page], labels[page] = cells.page(page, np.random.default_rng((seed, page)))
    return images, labels


class _Cells:
    """A power diagram of drifting, breathing sites in warped coordinates."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.size = size
        self.unit = size / SIZE  # lengths below are pixels of a 512 slice
        count = 190
        self.radius = (np.exp(rng.normal(2.75, 0.8, count)).clip(6, 85) * self.unit).astype(np.float32)
        self.home = rng.uniform(-0.1, 1.1, (count, 2)).astype(np.float32) * size
        self.drift = rng.normal(0, 3.5 * self.unit, (count, 2)).astype(np.float32)
        self.pulse = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
        self.gray = rng.normal(146, 9, count).astype(np.float32)
        self.stain = np.where(rng.random(count) < 0.12, rng.uniform(12, 30, count), 0).astype(np.float32)
        # Two warps whose mixture turns slowly with depth.
        self.warps = [_smooth(rng.standard_normal((2, size, size)), 22 * self.unit) for _ in range(2)]
        self.organelles = _place_organelles(rng, self.home, self.radius)

    def page(self, z: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image and label of the slice at depth z."""
        size, unit = self.size, self.unit
        cell, edge = self._diagram(z)
        width = 3.6 * unit * (1 + 0.2 * _smooth(rng.standard_normal((size, size)), 18 * unit))
        label = np.where(edge > width, 255, 0).astype(np.uint8)
        interior = self.gray[cell] - self.stain[cell] + self._texture(rng)
        interior = self._with_organelles(interior, cell, edge, z)
        contrast = (88 + 22 * _smooth(rng.standard_normal((size, size)), 30 * unit)).clip(22, 130)
        image = interior - contrast * np.exp(-((edge / (0.72 * width)) ** 2))
        image = self._oblique(image, rng)
        field = _smooth(rng.standard_normal((size, size)), 110 * unit)
        image = (image - 125) * (1.25 + 0.15 * field) + 125 + 9 * _smooth(rng.standard_normal((size, size)), 90 * unit)
        image += 15 * _smooth(rng.standard_normal((size, size)), 0.9 * unit) + rng.normal(0, 9, (size, size))
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), label

    def _diagram(self, z: int) -> tuple[NDArray[np.intp], Plane]:
        """Number of the cell at each pixel, and the distance to the nearest membrane's middle in pixels."""
        half = self.size // 2  # half resolution: membranes are wide against two pixels
        turn = 0.10 * z
        warp = 9 * self.unit * (np.cos(turn) * self.warps[0] + np.sin(turn) * self.warps[1])
        rows, columns = np.meshgrid(*[2 * np.arange(half, dtype=np.float32) + 0.5] * 2, indexing="ij")
        rows, columns = rows + warp[0, ::2, ::2], columns + warp[1, ::2, ::2]
        sites = self.home + z * self.drift * 0.5
        radius = self.radius * (1 + 0.12 * np.sin(0.25 * z + self.pulse))
        best = second = np.full((half, half), np.inf, np.float32)
        first = other = np.zeros((half, half), np.intp)
        for i, ((y, x), r) in enumerate(zip(sites, radius, strict=True)):
            power = (rows - y) ** 2 + (columns - x) ** 2 - r * r
            nearer, next_ = power < best, power < second
            second = np.where(nearer, best, np.where(next_, power, second))
            other = np.where(nearer, first, np.where(next_, i, other))
            best, first = np.where(nearer, power, best), np.where(nearer, i, first)
        # Distance of a point to the line between two power cells: (P2 - P1) / (2 |site2 - site1|).
        apart = np.hypot(*(sites[first] - sites[other]).transpose(2, 0, 1))
        edge = (second - best) / (2 * np.maximum(apart, 14 * self.unit))
        return first.repeat(2, 0).repeat(2, 1), _double(edge.astype(np.float32))

    def _texture(self, rng: np.random.Generator) -> Plane:
        """Cytoplasm: fine grain, and vesicles as small dark rings."""
        spots = (rng.random((self.size, self.size)) < 0.0035).astype(np.float32)
        ring = _smooth(spots, 2.2 * self.unit, normalise=False) - 0.8 * _smooth(spots, 1.2 * self.unit, normalise=False)
        dark = ring.clip(0, None)
        grain = 6 * _smooth(rng.standard_normal(spots.shape), 2.2 * self.unit)
        return grain - 45 * dark / max(float(np.quantile(dark, 0.995)), 1e-6)

    def _with_organelles(self, image: Plane, cell: NDArray[np.intp], edge: Plane, z: int) -> Plane:
        """Mitochondria: striped dark ellipses with a dark rim, well inside their cell and some slices deep."""
        rows, columns = np.meshgrid(*[np.arange(self.size, dtype=np.float32)] * 2, indexing="ij")
        for y, x, long, short, angle, depth, host in self.organelles:
            swell = 1 - ((z - depth) / 7.0) ** 2
            if swell <= 0:
                continue
            y, x = y + z * self.drift[int(host), 0] * 0.5, x + z * self.drift[int(host), 1] * 0.5
            u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            v = -(columns - x) * np.sin(angle) + (rows - y) * np.cos(angle)
            inside = np.sqrt((u / long) ** 2 + (v / short) ** 2) / np.sqrt(swell)
            inside = np.where((cell == int(host)) & (edge > 6 * self.unit), inside, np.inf)
            stripes = 10 * np.sin(u * 2 * np.pi / (7 * self.unit) + 0.4 * v / self.unit)
            image = np.where(inside < 1, 92 + stripes, image)
            image = image - 38 * np.exp(-(((inside - 1) * short / (2.0 * self.unit)) ** 2))
        return image

    def _oblique(self, image: Plane, rng: np.random.Generator) -> Plane:
        """Some patches are blurred and darkened, as where a membrane lies nearly in the plane of the cut."""
        patch = _smooth(rng.standard_normal((self.size, self.size)), 20 * self.unit)
        share = ((patch - 1.15) / 0.6).clip(0, 1)
        soft = _smooth(image, 5 * self.unit, normalise=False) - 14
        return (1 - share) * image + share * soft


def _place_organelles(rng: np.random.Generator, home: Plane, radius: Plane) -> NDArray[np.float32]:
    """Rows of (y, x, long, short, angle, depth, cell): a few in each large cell."""
    rows = []
    for host in np.flatnonzero(radius > 28 * radius.max() / 85):
        for _ in range(4):
            long = radius[host] * rng.uniform(0.18, 0.4)
            place = home[host] + rng.normal(0, 0.35 * radius[host], 2)
            rows.append([*place, long, long * rng.uniform(0.5, 0.9), rng.uniform(0, np.pi), rng.uniform(-5, 35), host])
    return np.array(rows, np.float32).reshape(-1, 7)


def _smooth(field: NDArray[np.floating], sigma: float, normalise: bool = True) -> Plane:
    """Gaussian blur of the last two axes, periodic; with `normalise` to mean 0 and standard deviation 1."""
    fy, fx = (np.fft.fftfreq(n) for n in field.shape[-2:])
    kernel = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx[None, : field.shape[-1] // 2 + 1] ** 2))
    blurred = np.fft.irfft2(np.fft.rfft2(field) * kernel, s=field.shape[-2:])
    if normalise:
        blurred = (blurred - blurred.mean((-2, -1), keepdims=True)) / blurred.std((-2, -1), keepdims=True)
    return blurred.astype(np.float32)


def _double(plane: Plane) -> Plane:
    """Twice the size, linear between pixel centres."""
    for axis in (0, 1):
        before, after = np.roll(plane, 1, axis), np.roll(plane, -1, axis)
        stacked = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
        shape = list(plane.shape)
        shape[axis] *= 2
        plane = stacked.reshape(shape)
    return plane
