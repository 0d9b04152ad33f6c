"""Made-up EM slices: cells with dark membranes that wander from slice to slice.

What makes the real slices hard is here too: membranes of varying width and contrast, cut obliquely to a blur in places,
mitochondria and vesicles as dark as membranes inside the cells, uneven contrast, correlated and shot noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZE", "em_pages"]

Plane = NDArray[np.float32]
SIZE = 512
# All lengths below are pixels of a slice of 512 pixels; other sizes scale them.
CELLS, MITOCHONDRIA = 250, 150
# Amplitude of a cell's way, and slices after which its mitochondria come again, so that every stack has them.
SWAY, PERIOD, HALF_DEPTH = 13, 36, 6
# Side of the blocks of the (half-resolution) diagram that look for their nearest cells together.
BLOCK = 32


def em_pages(pages: int, seed: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """EM-like slices; the first ones are the same however many are made.

    Args:
        pages: number of slices.
        seed: decides every byte.
        size: side of a slice in pixels, even; what is in it scales with it.

    Returns:
        (images, labels), uint8 (pages, size, size); labels 255 = cell interior, 0 = membrane.

    >>> images, labels = em_pages(2, seed=0, size=64)
    >>> images.shape, np.unique(labels).tolist()
    ((2, 64, 64), [0, 255])
    """
    tissue = _Tissue(np.random.default_rng(seed), size)
    images = np.empty((pages, size, size), np.uint8)
    labels = np.empty_like(images)
    for page in range(pages):
        images[page], labels[page] = tissue.page(page, np.random.default_rng((seed, page)))
    return images, labels


class _Drift:
    """A smooth field of standard deviation 1 that turns into another one and back with depth."""

    def __init__(self, rng: np.random.Generator, size: int, sigma: float, turn: float) -> None:
        blurred = _filter(rng.standard_normal((2, size, size), np.float32), _gauss(size, sigma))
        blurred -= blurred.mean((1, 2), keepdims=True)
        self.pair = blurred / blurred.std((1, 2), keepdims=True)
        self.turn = turn

    def at(self, z: int) -> Plane:
        """The field at depth z."""
        near, far = np.float32(np.cos(self.turn * z)), np.float32(np.sin(self.turn * z))
        plane: Plane = near * self.pair[0] + far * self.pair[1]
        return plane


class _Tissue:
    """A power diagram of swaying, breathing cells in warped coordinates."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.size, self.unit = size, size / SIZE
        self.home = rng.uniform(-0.1, 1.1, (CELLS, 2)) * size
        self.radius = np.exp(rng.normal(2.75, 0.7, CELLS)).clip(9, 66) * self.unit
        self.phase = rng.uniform(0, 2 * np.pi, (CELLS, 3))
        stained = rng.random(CELLS) < 0.15
        self.gray = (rng.normal(150, 7, CELLS) - 24 * stained).astype(np.float32)
        self.vesicles = (rng.exponential(0.004, CELLS).clip(0, 0.009) / self.unit**2).astype(np.float32)

        def drift(sigma: float, turn: float) -> _Drift:
            return _Drift(rng, size, sigma * self.unit, turn)

        # Two scales of warp, each with a y and an x: long bends, and the short waves of a membrane.
        self.warps = [
            (19 * self.unit, drift(42, 0.1), drift(42, 0.1)),
            (2.6 * self.unit, drift(11, 0.4), drift(11, 0.4)),
        ]
        self.width, self.contrast, self.slant = drift(16, 0.8), drift(26, 0.5), drift(18, 0.6)
        self.gain, self.shade = drift(100, 0.3), drift(80, 0.2)
        self.mitochondria = self._place_mitochondria(rng)
        self.soft = _gauss(size, 4 * self.unit)
        self.ring = _bump(size, 2.6 * self.unit) - 0.85 * _bump(size, 1.7 * self.unit)
        self.noise = 5 * _grain(size, 2.0 * self.unit) + 17 * _grain(size, 0.9)

    def page(self, z: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image and label of the slice at depth z."""
        unit, shape = self.unit, (self.size, self.size)
        # Where membranes lie nearly in the plane of the cut: wide, faint, blurred.
        slant = ((self.slant.at(z) - 1.2) / 0.7).clip(0, 1)
        cell, edge = self._diagram(z, rng)
        width = 2.5 * unit * (1 + 0.12 * self.width.at(z)).clip(0.5, 2) * (1 + 1.2 * slant)
        image = self.gray[cell]
        spots = (rng.random(shape, np.float32) < self.vesicles[cell] * (edge > 5 * unit)).astype(np.float32)
        image -= 105 * _filter(spots, self.ring).clip(0, 0.8)
        self._draw_mitochondria(image, cell, edge, z)
        contrast = (86 + 9 * self.contrast.at(z)).clip(45, 125) * (1 - 0.3 * slant)
        image -= contrast * np.exp(-((edge / (0.85 * width)) ** 2))
        image += slant * (_filter(image, self.soft) - 12 - image)
        image = (image - 128) * (1.1 + 0.12 * self.gain.at(z) + 0.06 * rng.standard_normal()) + 128
        image += 9 * self.shade.at(z) + 4 * rng.standard_normal()
        image += _filter(rng.standard_normal(shape, np.float32), self.noise) + 10 * rng.standard_normal(
            shape, np.float32
        )
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), np.where(edge > width, 255, 0).astype(np.uint8)

    def _sites(self, z: int) -> NDArray[np.float64]:
        sites: NDArray[np.float64] = self.home + SWAY * self.unit * np.sin(0.3 * z + self.phase[:, :2])
        return sites

    def _diagram(self, z: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], Plane]:
        """Number of the cell at each pixel, and the distance to the nearest membrane's middle in pixels."""
        half = self.size // 2  # half resolution: membranes are wide against two pixels
        places = np.stack(np.meshgrid(*[2 * np.arange(half, dtype=np.float32) + 0.5] * 2, indexing="ij"))
        for amount, *fields in self.warps:
            places += np.float32(amount) * np.stack([field.at(z)[::2, ::2] for field in fields])
        sites = self._sites(z) + rng.normal(0, 1.2 * self.unit, 2)  # slices are never quite aligned
        radius = self.radius * (1 + 0.14 * np.sin(0.28 * z + self.phase[:, 2]))
        first, edge = np.empty((half, half), np.intp), np.empty((half, half), np.float32)
        for top in range(0, half, BLOCK):
            for left in range(0, half, BLOCK):
                block = np.s_[top : top + BLOCK, left : left + BLOCK]
                first[block], edge[block] = self._two_nearest(places[:, *block], sites, radius)
        return first.repeat(2, 0).repeat(2, 1), _double(edge / _stretch(places))

    def _two_nearest(
        self, places: Plane, sites: NDArray[np.float64], radius: NDArray[np.float64]
    ) -> tuple[NDArray[np.intp], Plane]:
        """The nearest cell, and how far the border to the second is: (P2 - P1) / (2 |site2 - site1|), P the power."""
        low, high = places.min((1, 2)), places.max((1, 2))
        nearest = np.maximum(np.maximum(low - sites, sites - high), 0)
        farthest = np.maximum(np.abs(sites - low), np.abs(sites - high))
        at_least, at_most = ((d**2).sum(1) - radius**2 for d in (nearest, farthest))
        near = np.flatnonzero(at_least <= np.partition(at_most, 1)[1])  # no other can be first or second in this block
        apart = places[None] - sites[near, :, None, None].astype(np.float32)
        power = (apart**2).sum(1) - (radius[near, None, None] ** 2).astype(np.float32)
        one = power.argmin(0)[None]
        first = np.take_along_axis(power, one, 0)[0]
        np.put_along_axis(power, one, np.inf, 0)
        two = power.argmin(0)[None]
        second = np.take_along_axis(power, two, 0)[0]
        one, two = near[one[0]], near[two[0]]
        between = np.hypot(*(sites[one] - sites[two]).transpose(2, 0, 1))
        edge = (second - first) / (2 * np.maximum(between, 12 * self.unit))
        return one, edge.astype(np.float32)

    def _place_mitochondria(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Rows of (cell, dy, dx, long, short, angle, depth), in the larger cells."""
        large = np.flatnonzero(self.radius > 17 * self.unit)
        host = rng.choice(large, MITOCHONDRIA, p=self.radius[large] / self.radius[large].sum())
        long = np.minimum(self.radius[host] * rng.uniform(0.3, 0.6, MITOCHONDRIA), 26 * self.unit)
        place = rng.normal(0, 0.4, (2, MITOCHONDRIA)) * self.radius[host]
        short, angle = long * rng.uniform(0.5, 0.9, MITOCHONDRIA), rng.uniform(0, np.pi, MITOCHONDRIA)
        return np.stack([host, *place, long, short, angle, rng.uniform(0, PERIOD, MITOCHONDRIA)], 1)

    def _draw_mitochondria(self, image: Plane, cell: NDArray[np.intp], edge: Plane, z: int) -> None:
        """Striped dark ellipses with a dark rim, inside their cell and some slices deep."""
        sites = self._sites(z)
        for host, dy, dx, long, short, angle, depth in self.mitochondria:
            off = (z - depth + PERIOD / 2) % PERIOD - PERIOD / 2
            swell = 1 - (off / HALF_DEPTH) ** 2
            if swell <= 0.05:
                continue
            (y, x), reach = sites[int(host)] + (dy, dx), long + 6 * self.unit
            top, left = max(0, int(y - reach)), max(0, int(x - reach))
            window = np.s_[top : max(0, int(y + reach)), left : max(0, int(x + reach))]
            part = image[window]
            if not part.size:
                continue
            rows, columns = np.indices(part.shape, np.float32)
            rows, columns = rows + np.float32(top - y), columns + np.float32(left - x)
            u, v = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
            inside = np.hypot(u / long, v / short) / np.sqrt(swell)
            # Out of sight where another cell or a membrane is.
            inside = np.where((cell[window] == int(host)) & (edge[window] > 6 * self.unit), inside, 9)
            stripes = 11 * np.sin(u * 2 * np.pi / (7 * self.unit) + 0.4 * v / self.unit)
            part[:] = np.where(inside < 1, 94 + stripes, part)
            part -= 36 * np.exp(-(((inside - 1) * short / (2.0 * self.unit)) ** 2))


def _stretch(places: Plane) -> Plane:
    """How much longer a step of 2 pixels is in the warped coordinates (in the worst direction), so that membranes there
    do not become thinner than they are elsewhere."""
    (yy, yx), (xy, xx) = (np.gradient(axis) for axis in places)
    total, area = yy**2 + yx**2 + xy**2 + xx**2, yy * xx - yx * xy
    longest: Plane = np.sqrt((total + np.sqrt((total**2 - 4 * area**2).clip(0, None))) / 2) / np.float32(2)
    return longest


def _gauss(size: int, sigma: float) -> Plane:
    """Spectrum of a Gaussian of sum 1, for `_filter`."""
    fy, fx = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    kernel: Plane = np.exp(-2 * (np.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx**2)).astype(np.float32)
    return kernel


def _bump(size: int, sigma: float) -> Plane:
    """Spectrum of a Gaussian of height 1."""
    return np.float32(2 * np.pi * sigma**2) * _gauss(size, sigma)


def _grain(size: int, sigma: float) -> Plane:
    """Spectrum of a Gaussian that leaves white noise its standard deviation."""
    kernel = _gauss(size, sigma)
    spread = np.sqrt((np.fft.irfft2(kernel, s=(size, size)) ** 2).sum())
    return kernel / np.float32(spread)


def _filter(field: Plane, spectrum: Plane) -> Plane:
    """Convolution of the last two axes, periodic."""
    filtered: Plane = np.fft.irfft2(np.fft.rfft2(field) * spectrum, s=field.shape[-2:]).astype(np.float32)
    return filtered


def _double(plane: Plane) -> Plane:
    """Twice the size, linear between pixel centres."""
    for axis in (0, 1):
        padded = np.concatenate([plane.take([0], axis), plane, plane.take([-1], axis)], axis)
        n = plane.shape[axis]
        before, after = padded.take(range(n), axis), padded.take(range(2, n + 2), axis)
        stacked = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis + 1)
        shape = list(plane.shape)
        shape[axis] *= 2
        plane = stacked.reshape(shape)
    return plane
