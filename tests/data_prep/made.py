"""Small raw files for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from tests.train.made import dataset
from unetq.data_prep.em import LABELS, VOLUME

# Of `nnunet`.
CASES = [f"c{k}" for k in range(10)]


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


def nnunet(folder: Path, folds: Any = None, **about: Any) -> Path:
    """A folder as nnU-Net has it: without our entry in dataset.json, and its own splits or none."""
    dataset(folder, {"train": CASES})
    (folder / "splits_final.json").unlink()
    described = json.loads((folder / "dataset.json").read_text())
    del described["unetq"]
    (folder / "dataset.json").write_text(json.dumps({**described, "name": "Discs", **about}))
    if folds is not None:
        (folder / "splits_final.json").write_text(json.dumps(folds))
    return folder
