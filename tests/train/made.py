"""Small made-up data sets and configurations for the training tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.spec import NetSpec, PrepSpec, QuantSpec
from unetq.train.config import TrainConfig

SPLITS = {"train": [f"c{i}" for i in range(5)], "val": ["c5", "c6"], "test": ["c7", "c8"]}


def disc(seed: int, size: int = 40) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A noisy image (1, Y, X) of a bright disc, and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    center, radius = rng.uniform(0.3 * size, 0.7 * size, 2), rng.uniform(0.15 * size, 0.3 * size)
    mask = (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2
    image = 90 + 70 * mask + rng.normal(0, 20, mask.shape)
    return np.clip(image, 0, 255).astype(np.uint8)[None], mask.astype(np.uint8)[None]


def write_case(folder: Path, name: str, image: NDArray[Any], mask: NDArray[Any]) -> None:
    """Arrays are (Z, Y, X); NIfTI is (X, Y, Z)."""
    for kind, array, stem in (("imagesTr", image, f"{name}_0000"), ("labelsTr", mask, name)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nib.save(
            nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), np.eye(4)), folder / kind / f"{stem}.nii.gz"
        )


def dataset(folder: Path, splits: dict[str, list[str]] | None = None, labels: int = 1, size: int = 40) -> Path:
    """A prepared data set of discs; with two labels the left half of a disc is label 2."""
    splits = splits or SPLITS
    for index, name in enumerate(sorted({name for names in splits.values() for name in names})):
        image, mask = disc(index, size)
        if labels == 2:
            mask[..., : size // 2] *= 2
        write_case(folder, name, image, mask)
    names = {"background": 0, "disc": 1, "left": 2} if labels == 2 else {"background": 0, "disc": 1}
    about = {"channel_names": {"0": "made"}, "labels": names, "numTraining": 5, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**about, "unetq": {"dataset": "discs"}}))
    (folder / "splits_final.json").write_text(json.dumps([splits]))
    return folder


def config(quant: QuantSpec | None = None, **changes: Any) -> TrainConfig:
    """A run of a few steps of a tiny network; float unless told."""
    net = NetSpec(base=4, depth=2, cap=8, quant=quant or QuantSpec.of("float"))
    small = TrainConfig(
        name="tiny", dataset="discs", net=net, prep=PrepSpec(tile=64), iterations=8, finetune_iterations=6, batch=2, crop=32,
        calibrate=1, validate_every=4, save_every=3, lr=1e-2,
    )  # fmt: skip
    return replace(small, **changes)
