"""The cart: a wheel in an empty environment, without torch, segments a study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models import random_graph, write
from unetq.data_prep.phantom import phantom
from unetq.image.read import read
from unetq.spec import NetSpec

ROOT = Path(__file__).parents[2]


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def cart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bin` of an environment that holds nothing but the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("cart")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    run(sys.executable, "-m", "venv", folder / "venv")
    (wheel,) = folder.glob("unetq-*.whl")
    run(folder / "venv/bin/pip", "install", "--quiet", wheel)
    return folder / "venv/bin"


def test_wheel_segments_a_study_without_torch(cart: Path, tmp_path: Path) -> None:
    phantom("em", tmp_path / "em", 6, 1)
    study, model, mask = tmp_path / "em/train-volume.tif", tmp_path / "model.gguf", tmp_path / "mask.tif"
    write(random_graph(NetSpec(base=4, depth=2), seed=1), model)
    result = json.loads(run(cart / "unetq", "predict", model, study, "--out", mask, "--json"))
    segmented = read(mask)
    assert segmented.array.shape == read(study).array.shape
    assert result["voxels_per_label"] == {"1": int(np.count_nonzero(segmented.array))} or sum(
        result["voxels_per_label"].values()
    ) == int(np.count_nonzero(segmented.array))
    assert json.loads(run(cart / "unetq", "info", model, "--json"))["parameters"] > 0
    bench = json.loads(run(cart / "unetq", "bench", model, "--size", "64x64", "--repeats", "3", "--json"))
    assert bench["ms_median"] > 0
    absent = subprocess.run([cart / "python", "-c", "import torch"], capture_output=True, check=False)
    assert absent.returncode != 0
