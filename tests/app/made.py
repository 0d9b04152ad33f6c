"""A small phantom study with its truth, and two small models, for the viewer's tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from tests.models import random_graph, write
from tests.report.fake import cells
from unetq.spec import NetSpec, PrepSpec, QuantSpec, to_mapping


@dataclass(frozen=True)
class Made:
    """Files of one study: the same pixels as NIfTI and multi-page TIFF, its truth, and a folder of two runs' models."""

    nifti: Path
    tiff: Path
    png: Path
    truth: Path
    truth_255: Path
    runs: Path
    models: tuple[Path, Path]
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def add_float(made: Made, name: str = "float", quant: QuantSpec | None = None) -> Path:
    """A run of random weights beside the models, float unless it is told otherwise; its folder."""
    import torch
    import yaml

    from unetq.nets.unet import build
    from unetq.train.checkpoint import save_checkpoint
    from unetq.train.config import TrainConfig

    net = NetSpec(base=4, depth=2, quant=quant or QuantSpec.of("float"))
    config = TrainConfig(name=name, net=net, prep=PrepSpec(tile=64))
    folder = made.runs / name
    folder.mkdir()
    torch.manual_seed(0)
    save_checkpoint({"config": to_mapping(config), "model": build(net).state_dict()}, folder / "best.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump(to_mapping(config)), encoding="utf-8")
    return folder


def make(folder: Path, depth: int = 3, size: int = 96) -> Made:
    """Writes everything."""
    slices = [cells(seed, size) for seed in range(depth)]
    image, labels = (np.stack([pair[i] for pair in slices]) for i in (0, 1))
    affine = np.diag([4e-6, 4e-6, 5e-5, 1.0])
    nib.save(nib.Nifti1Image(image.T, affine), folder / "study.nii.gz")
    nib.save(nib.Nifti1Image(labels.T, affine), folder / "truth.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "study.tif"))
    sitk.WriteImage(sitk.GetImageFromArray(labels * np.uint8(255)), str(folder / "truth.tif"))
    sitk.WriteImage(sitk.GetImageFromArray(image[0]), str(folder / "study.png"))
    models = []
    for seed, name in enumerate(("W4A6", "W2A2")):
        (folder / "runs" / name).mkdir(parents=True)
        models.append(folder / "runs" / name / "model.gguf")
        write(random_graph(NetSpec(base=4, depth=2), seed=seed), models[-1])
    files = [folder / name for name in ("study.nii.gz", "study.tif", "study.png", "truth.nii.gz", "truth.tif", "runs")]
    return Made(*files, (models[0], models[1]), image, labels)
