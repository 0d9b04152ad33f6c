"""Trained networks for the comparison of machines: `python scripts/arm/make_trained.py FOLDER`, in seconds.

W4A6, W2A2 and TernaryNet learn two kinds of patches in noise for a few steps: enough that codes, steps and batch norms are those
of a training, which made-up weights are not, and that masks hold all three classes. FOLDER gets, for each, trained-NAME.gguf with
image and logits as in scripts/arm/make_cases.py, and a line more in logits.txt; a line more in cases.txt for a slice of the test
split, and the numpy reference's mask of it, reference-MASK. Run behind scripts/make_sanitizer_cases.py and make_cases.py, which
begin the lists.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from unetq.data_prep.folder import FolderOptions, prepare
from unetq.image.segment import segment
from unetq.image.volume import Volume
from unetq.pipeline import export_run
from unetq.runtime.dataset import Dataset
from unetq.runtime.model import open_model
from unetq.runtime.reference import run_reference
from unetq.spec import QuantSpec
from unetq.train.config import TrainConfig, load_config
from unetq.train.loop import TrainOptions, train

SETTINGS = {
    "W4A6": QuantSpec.of("fixed", 4, 6),
    "W2A2": QuantSpec.of("fixed", 2, 2),
    "ternarynet": QuantSpec.of("ternarynet"),
}
SLICES, SIDE = 10, 96
# A slice: gray values of the three classes, the noise, the share of pixels below each of the two patches, their size in pixels.
GRAYS, NOISE, QUANTILES, PATCH = np.array([80, 130, 170]), 30, (0.5, 0.8), 5
STEPS, FINETUNE_STEPS = 60, 30
STUDY = "trained.npy"
# Odd, so that strips, tiles of Winograd and panels end inside.
SHAPE = (61, 77)


def pairs(folder: Path) -> Path:
    """Slices with their masks, as files."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(SLICES):
        smooth = gaussian_filter(rng.standard_normal((SIDE, SIDE)), PATCH)
        mask = np.digitize(smooth, np.quantile(smooth, QUANTILES)).astype(np.uint8)
        pixels = np.clip(GRAYS[mask] + rng.normal(0, NOISE, mask.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return folder


def configuration(quant: QuantSpec) -> TrainConfig:
    """The demonstration's, for fewer steps on smaller crops."""
    demo = load_config("demo")
    steps = {"iterations": STEPS, "finetune_iterations": FINETUNE_STEPS, "validate_every": FINETUNE_STEPS}
    return replace(demo, net=replace(demo.net, quant=quant, out_channels=len(GRAYS)), batch=2, crop=64, **steps)


def models(data: Path, runs: Path) -> Iterator[tuple[str, Path]]:
    """Name and model file of each network, trained from one float twin where it wants one."""
    train(configuration(QuantSpec.of("float")), data, runs / "float", TrainOptions(progress=False))
    for name, quant in SETTINGS.items():
        config = configuration(quant)
        options = TrainOptions(runs / "float" if config.needs_twin else None, progress=False)
        result = train(config, data, runs / name, options)
        print(f"{name}: Dice {result.test['dice']['mean']:.3f}", file=sys.stderr)
        yield name, export_run(runs / name, runs / f"{name}.gguf")


def save(name: str, path: Path, pixels: NDArray[np.uint8], folder: Path) -> None:
    """What the reference makes of a slice (Y, X) with one network."""
    model = open_model(path, 1)

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.asarray(run_reference(model.graph, image)["head"], np.float32)
        np.ascontiguousarray(image).tofile(folder / f"{name}.image")
        logits.tofile(folder / f"{name}.logits")
        return logits

    study, mask = Volume(pixels[None], (1.0, 1.0, 1.0), np.eye(4), "tiff"), f"{name}-{STUDY}"
    np.save(folder / f"reference-{mask}", segment([study], model.meta.prep, run)[0])
    (folder / f"{name}.gguf").write_bytes(path.read_bytes())
    for file, line in (("logits.txt", f"{name} 1 {SHAPE[0]} {SHAPE[1]}"), ("cases.txt", f"{name}.gguf {STUDY} {mask}")):
        with (folder / file).open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")


def main(folder: Path) -> None:
    """Trains and saves all."""
    torch.set_num_threads(1)  # networks this small are fastest on one
    with tempfile.TemporaryDirectory() as made:
        options = FolderOptions(labels={0: "background", 1: "gray", 2: "bright"})
        data = prepare(pairs(Path(made) / "pairs"), Path(made) / "data", options)
        case = next(Dataset.open(data).read_split("test"))
        pixels = np.ascontiguousarray(case.channels[0].array[0, : SHAPE[0], : SHAPE[1]])
        np.save(folder / STUDY, pixels)
        for name, path in models(data, Path(made) / "runs"):
            save(f"trained-{name}", path, pixels, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
