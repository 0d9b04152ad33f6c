"""Small raw files for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from unetq.data_prep.em import LABELS, VOLUME


def stacks(pages: int, size: tuple[int, int] = (64, 72)) -> tuple[NDArray, NDArray]:
    """Images and two-valued labels."""
    rng = np.random.default_rng(pages)
    images = rng.integers(0, 256, (pages, *size)).astype(np.uint8)
    return images, np.where(rng.random(images.shape) < 0.7, 255, 0).astype(np.uint8)


def save(pages: NDArray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    one = pages.ndim == 3 and len(pages) == 1
    sitk.WriteImage(sitk.GetImageFromArray(pages[0] if one else pages), str(path))
    return path


def challenge(folder: Path, images: NDArray, labels: NDArray) -> Path:
    """The challenge's two files."""
    save(images, folder / VOLUME)
    save(labels, folder / LABELS)
    return folder


def pairs(folder: Path, images: NDArray, labels: NDArray, names: list[str] | None = None) -> Path:
    """A folder of PNG pairs."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = names[i] if names else f"s{i}.png"
        save(image, folder / "images" / name)
        save(label, folder / "labels" / name)
    return folder
