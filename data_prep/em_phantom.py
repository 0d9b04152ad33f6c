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
CELLS, MITOCHONDRIA = 260, 130
# How far a cell counts beyond its radius; pixels further off have nearer cells.
REACH = 70
# Amplitude of a cell's way, and slices after which its mitochondria come again, so that every stack has them.
SWAY, PERIOD, HALF_DEPTH = 13, 36, 6
# Power distance where no cell reaches.
FAR = np.float32(1e6)


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
        self.radius = np.exp(rng.normal(2.55, 0.85, CELLS)).clip(5, 80) * self.unit
        self.phase = rng.uniform(0, 2 * np.pi, (CELLS, 3))
        stained = rng.random(CELLS) < 0.15
        self.gray = (rng.normal(150, 7, CELLS) - 24 * stained).astype(np.float32)
        self.vesicles = (rng.exponential(0.0035, CELLS) / self.unit**2).astype(np.float32)

        def drift(sigma: float, turn: float) -> _Drift:
            return _Drift(rng, size, sigma * self.unit, turn)

        # Two scales of warp, each with a y and an x: long bends, and the short waves of a membrane.
        self.warps = [(19 * self.unit, drift(42, 0.1), drift(42, 0.1)), (2.6 * self.unit, drift(11, 0.4), drift(11, 0.4))]
        self.width, self.contrast, self.slant = drift(16, 0.8), drift(26, 0.5), drift(18, 0.6)
        self.gain, self.shade = drift(100, 0.3), drift(80, 0.2)
        self.mitochondria = self._place_mitochondria(rng)
        self.soft = _gauss(size, 4 * self.unit)
        self.ring = _bump(size, 2.6 * self.unit) - 0.85 * _bump(size, 1.7 * self.unit)
        self.noise = 13 * _grain(size, 2.0 * self.unit) + 19 * _grain(size, 0.9)

    def page(self, z: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image and label of the slice at depth z."""
        unit, shape = self.unit, (self.size, self.size)
        # Where membranes lie nearly in the plane of the cut: wide, faint, blurred.
        slant = ((self.slant.at(z) - 1.2) / 0.7).clip(0, 1)
        cell, edge = self._diagram(z, rng)
        width = 3.5 * unit * (1 + 0.18 * self.width.at(z)).clip(0.5, 2) * (1 + 1.2 * slant)
        image = self.gray[cell]
        spots = (rng.random(shape, np.float32) < self.vesicles[cell] * (edge > 5 * unit)).astype(np.float32)
        image -= 95 * _filter(spots, self.ring).clip(0, 0.8)
        self._draw_mitochondria(image, cell, edge, z)
        contrast = (84 + 14 * self.contrast.at(z)).clip(35, 125) * (1 - 0.3 * slant)
        image -= contrast * np.exp(-((edge / (0.85 * width)) ** 2))
        image += slant * (_filter(image, self.soft) - 12 - image)
        image = (image - 128) * (1.1 + 0.12 * self.gain.at(z) + 0.06 * rng.standard_normal()) + 128
        image += 9 * self.shade.at(z) + 4 * rng.standard_normal()
        image += _filter(rng.standard_normal(shape, np.float32), self.noise) + 12 * rng.standard_normal(shape, np.float32)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8), np.where(edge > width, 255, 0).astype(np.uint8)

    def _sites(self, z: int) -> NDArray[np.float64]:
        sites: NDArray[np.float64] = self.home + SWAY * self.unit * np.sin(0.3 * z + self.phase[:, :2])
        return sites

    def _diagram(self, z: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], Plane]:
        """Number of the cell at each pixel, and the distance to the nearest membrane's middle in pixels."""
        half = self.size // 2  # half resolution: membranes are wide against two pixels
        slip = rng.normal(0, 1.2 * self.unit, 2)  # slices are never quite aligned
        grid = np.meshgrid(*[2 * np.arange(half, dtype=np.float32) + 0.5] * 2, indexing="ij")
        for amount, *pair in self.warps:
            for axis, field in zip(grid, pair, strict=True):
                axis += np.float32(amount) * field.at(z)[::2, ::2]
        bend = max(float(np.abs(axis - axis.mean()).max()) for axis in (np.zeros(1), *()) ) if False else 0
        raise NotImplementedError(bend, slip)
