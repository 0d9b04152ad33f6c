"""Run folders as the training writes them, made in a moment: for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from numpy.typing import NDArray

from unetq.report.collect import RunRecord
from unetq.spec import NetSpec, QuantSpec

SIZE = 96
CASES = ("em_000", "em_001", "em_002", "em_003", "em_004")


def cells(seed: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image with dark membranes between the regions nearest to random points, and its truth; uint8 (Y, X)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, size, (max(6, size // 8), 2))
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1)
    distance = np.sort(np.linalg.norm(grid[:, :, None] - points, axis=-1), axis=-1)
    truth = (distance[..., 1] - distance[..., 0] > 3).astype(np.uint8)
    image = np.clip(90 + 80 * truth + rng.normal(0, 18, truth.shape), 0, 255).astype(np.uint8)
    return image, truth


def save(array: NDArray[np.uint8], path: Path) -> None:
    """A (Y, X) array as a NIfTI with one slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T[:, :, None], np.diag([4e-6, 4e-6, 5e-5, 1.0])), path)


def fake_data(folder: Path) -> Path:
    """A prepared data folder with the test cases."""
    for seed, case in enumerate(CASES):
        image, truth = cells(seed)
        save(image, folder / "imagesTr" / f"{case}_0000.nii.gz")
        save(truth, folder / "labelsTr" / f"{case}.nii.gz")
    return folder


@dataclass(frozen=True)
class Fake:
    """One run: `worse` is taken from each Dice, and that share of the mask's pixels more is wrong."""

    quant: QuantSpec
    data: Path
    worse: float = 0.0
    bench: dict[str, Any] | None = None
    seed: int = 3
    fold: int = 0
    dataset: str = "em"
    cases: tuple[str, ...] = CASES
    config: Mapping[str, Any] = field(default_factory=dict)


def fake_run(folder: Path, fake: Fake) -> Path:
    """A scored run folder with predicted masks."""
    folder.mkdir(parents=True)
    net = asdict(NetSpec(quant=fake.quant))
    config = {
        "name": "demo",
        "dataset": fake.dataset,
        "seed": fake.seed,
        "fold": fake.fold,
        "net": net,
        "iterations": 10,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, **fake.config}))
    about = {"folder": str(fake.data), "name": fake.dataset, "hash": f"{fake.fold:02d}" * 32}
    environment = {"commit": "0123456789abcdef" * 2 + "01234567", "data": about}
    (folder / "environment.json").write_text(json.dumps(environment))
    per_case = {case: 0.95 - 0.01 * CASES.index(case) - fake.worse for case in fake.cases}
    for case in fake.cases:
        seed = CASES.index(case)
        _, truth = cells(seed)
        wrong = np.random.default_rng(seed).random(truth.shape) < 0.02 + fake.worse
        save(np.where(wrong, 1 - truth, truth).astype(np.uint8), folder / "test_masks" / f"{case}.nii.gz")
    about_split = {
        "dataset": fake.dataset,
        "fold": fake.fold,
        "engine": "torch",
        "n_cases": len(per_case),
        "n_empty": 0,
    }
    test = {"split": "test", **about_split, "dice": measure(per_case), "seconds": 1.0}
    (folder / "test.json").write_text(json.dumps(test))
    val = {"split": "val", **about_split, "dice": measure({"val": 0.94 - fake.worse})}
    (folder / "val.json").write_text(json.dumps(val))
    if fake.bench:
        (folder / "bench.json").write_text(json.dumps(fake.bench))
    if not fake.quant.is_float:
        (folder / "model.gguf").write_bytes(b"GGUF" + bytes(170_000 * fake.quant.wbits // 4))
    return folder


def measure(per_case: Mapping[str, float | None]) -> dict[str, Any]:
    """One measure as a score file has it."""
    values = [value for value in per_case.values() if value is not None]
    std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": std, "interval": [0.0, 1.0], "per_case": dict(per_case)}


def scored(folder: Path, seed: int, fold: int, per_case: Mapping[str, float | None], **test: Any) -> RunRecord:
    """A run that was read, with nothing on disk: float where the folder's name starts with it, else W4A6."""
    quant = QuantSpec.of("float") if folder.name.startswith("float") else QuantSpec.of("fixed", 4, 6)
    values = {"dataset": "em", "split": "test", "fold": fold, "engine": "torch", "n_cases": len(per_case), **test}
    config = {"seed": seed, "fold": fold}
    return RunRecord(folder, NetSpec(quant=quant), config, {**values, "dice": measure(per_case)}, {}, None, {}, None)


def fake_bench(ms: float, isa: str = "avx512vnni") -> dict[str, Any]:
    """bench.json."""
    return {
        "isa": isa,
        "threads": 1,
        "size": "512x512",
        "ms_median": ms,
        "ms_min": ms * 0.97,
        "peak_rss_bytes": 50_000_000,
    }


def four_runs(folder: Path) -> list[Path]:
    """float, W4A6, W2A2 and TernaryNet on one prepared folder."""
    data = fake_data(folder / "data")
    settings = (
        ("float", QuantSpec.of("float"), 0.0, fake_bench(160.0, "torch")),
        ("W4A6", QuantSpec.of("fixed", 4, 6), 0.001, fake_bench(33.0)),
        ("W2A2", QuantSpec.of("fixed", 2, 2), 0.006, fake_bench(29.0)),
        ("ternarynet", QuantSpec.of("ternarynet"), 0.024, fake_bench(31.0)),
    )
    return [fake_run(folder / "runs" / name, Fake(quant, data, worse, bench)) for name, quant, worse, bench in settings]
