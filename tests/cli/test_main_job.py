"""The main job by its verbs: phantom, train, export, evaluate, predict, bench, report; and what `--json` promises."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from unetq.image.read import read
from unetq.runtime.model import open_model

UNETQ = [sys.executable, "-m", "unetq.cli"]
SCRIPTS = Path(__file__).parents[2] / "scripts"
CONFIG = """
name: tiny
net: {base: 4, depth: 2, cap: 8}
prep: {tile: 512}
iterations: 6
finetune_iterations: 4
batch: 2
crop: 64
validate_every: 3
save_every: 2
calibrate: 1
"""


def unetq(*args: object) -> dict[str, Any]:
    done = subprocess.run([*UNETQ, *map(str, args), "--json"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with phantom slices, a tiny configuration, a float run and a W4A6 run from it, exported."""
    folder = tmp_path_factory.mktemp("job")
    unetq("data", "phantom", "em", folder / "raw", "--cases", 7)
    unetq("data", "prepare", "em", folder / "raw", "--out", folder / "data")
    (folder / "tiny.yaml").write_text(CONFIG)
    train = ("train", "--dataset", "em", "--config", folder / "tiny.yaml", "--data", folder / "data")
    unetq(*train, "--quantizer", "float", "--out", folder / "float")
    unetq(*train, "--wbits", 4, "--abits", 6, "--init-from", folder / "float", "--out", folder / "W4A6")
    unetq("export", folder / "W4A6", "--out", folder / "model.gguf")
    return folder


def test_train_json(place: Path) -> None:
    run = place / "twin"
    result = unetq(
        "train",
        "--dataset",
        "em",
        "--config",
        place / "tiny.yaml",
        "--data",
        place / "data",
        "--out",
        run,
        "--abits",
        2,
    )
    assert set(result) == {"run", "best_val_dice", "test", "seconds"}
    assert set(result["test"]["dice"]) == {"mean", "std", "interval", "n", "per_case"}
    assert (run / "float/best.pt").is_file(), "the float twin is trained first"


def test_engines_agree(place: Path) -> None:
    unetq("export", place / "W4A6")
    scores = {}
    for engine in ("native", "reference", "torch"):
        result = unetq("evaluate", place / "W4A6", "--data", place / "data", "--engine", engine)
        assert set(result) >= {"dataset", "split", "engine", "n_cases", "dice"}
        scores[engine] = result["dice"]["mean"]
    assert scores["native"] == scores["reference"]
    assert abs(scores["torch"] - scores["reference"]) < 1e-4, "0.01 point of Dice"
    assert (
        unetq("evaluate", place / "model.gguf", "--dataset", "em", "--data", place / "data")["dice"]["mean"]
        == scores["native"]
    )


def test_info_json(place: Path) -> None:
    info = unetq("info", place / "model.gguf")
    keys = {"parameters", "bytes_file", "bytes_float32", "bytes_nominal", "bytes_honest", "layers", "hash"}
    assert set(info) == keys and all(
        set(layer) == {"name", "op", "wbits", "abits", "bytes", "bytes_nominal"} for layer in info["layers"]
    )
    assert info["bytes_file"] == (place / "model.gguf").stat().st_size


def test_info_memory(place: Path) -> None:
    taken = unetq("info", place / "model.gguf", "--memory", "300x200")["memory"]
    parts = ("weights", "arena", "scratch", "image", "logits")
    assert taken["size"] == [300, 200] and taken["total_bytes"] == sum(taken[f"{part}_bytes"] for part in parts)
    assert 0 < taken["skip_bytes"] < taken["arena_bytes"] and taken["image_bytes"] == 4 * 300 * 200
    assert max(row["offset"] + row["bytes"] for row in taken["buffers"]) == taken["arena_bytes"]
    assert 0 < taken["least_bytes"] < taken["standalone_bytes"] < taken["total_bytes"]


def test_predict_json(place: Path) -> None:
    out = place / "mask.tif"
    result = unetq("predict", place / "model.gguf", place / "raw/train-volume.tif", "--out", out, "--threads", 2)
    times = {"seconds", "inference_seconds"}
    assert set(result) == {"input", "output", "peak_rss_bytes", "voxels_per_label", "engine", *times}
    assert out.is_file()


def test_predict_with_torch(place: Path) -> None:
    study, masks = place / "raw/train-volume.tif", {}
    unetq("export", place / "W4A6")
    for run, engine in (("float", "torch"), ("W4A6", "torch"), ("W4A6", "native")):
        out = place / f"{run}-{engine}.tif"
        assert unetq("predict", place / run, study, "--out", out, "--engine", engine)["engine"] == engine
        masks[run, engine] = read(out).array
    assert masks["float", "torch"].shape == read(study).array.shape
    assert (masks["W4A6", "torch"] != masks["W4A6", "native"]).mean() < 1e-4


def test_bench_json(place: Path) -> None:
    result = unetq("bench", place / "model.gguf", "--size", "96x64", "--repeats", 3)
    assert set(result) >= {"isa", "threads", "size", "ms_median", "ms_min", "peak_rss_bytes", "gmacs", "layers"}
    assert set(result["layers"][0]) == {"name", "op", "kernel", "ms", "gmacs", "of_peak", "why"}


def test_export_to_onnx_json(place: Path) -> None:
    for source, form, size in (
        ("W4A6", "onnx-int8", "96x64"),
        ("model.gguf", "onnx", None),
        ("float", "onnx", "64x64"),
    ):
        out = place / f"{source}.onnx"
        result = unetq("export", place / source, "--format", form, "--out", out, *(["--size", size] if size else []))
        assert result == {"file": str(out), "format": form, "size": size or "512x512", "bytes_file": out.stat().st_size}
    image = read(place / "raw/train-volume.tif").array[0, :96, :64].astype(np.float32)[None]
    image = (image - image.mean()) / image.std()
    others = onnxruntime.InferenceSession(place / "W4A6.onnx", providers=["CPUExecutionProvider"])
    got, want = others.run(None, {"image": image[None]})[0][0], open_model(place / "model.gguf", 1).run(image)
    # After so few steps of training all logits are near zero: the values say more than the mask.
    assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.97


def test_report_json(place: Path) -> None:
    result = unetq("report", place / "float", place / "W4A6", "--out", place / "report")
    keys = {
        "run",
        "dataset",
        "quantizer",
        "wbits",
        "abits",
        "dice_mean",
        "dice_std",
        "bytes_nominal",
        "bytes_honest",
        "ms_median",
    }
    assert [keys <= set(row) for row in result["rows"]] == [True, True]
    assert all(row["ms_median"] > 0 and row["peak_rss_bytes"] > 0 for row in result["rows"])
    made = sorted(path.name for path in (place / "report").iterdir())
    assert made == ["index.html", "pareto.svg", "runs.csv", "table.csv", "table.json"]


def test_records_give_the_same_report(place: Path) -> None:
    """What scripts/records.py keeps is enough for the table, and says nothing about the machine."""
    runs = place / "runs"
    for name in ("float", "W4A6"):
        shutil.copytree(place / name, runs / "em" / name)
    command = [sys.executable, SCRIPTS / "records.py", runs, place / "records"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    kept = sorted((place / "records/em").iterdir())
    assert not any(str(place) in file.read_text() for folder in kept for file in folder.iterdir())
    there, here = (
        unetq("report", *folders, "--out", place / "report")["rows"]
        for folders in ([runs / "em/W4A6", runs / "em/float"], kept)
    )
    assert [row | {"run": ""} for row in there] == [row | {"run": ""} for row in here]


def test_ctrl_c_leaves_a_run_that_resume_finishes(place: Path) -> None:
    run, config = place / "stopped", place / "long.yaml"
    config.write_text(CONFIG.replace("iterations: 6", "iterations: 4000", 1))
    command = [*UNETQ, "train", "--config", config, "--data", place / "data", "--quantizer", "float", "--out", run]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (run / "metrics.jsonl").is_file() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "--resume" in said and "Traceback" not in said
    assert (run / "last.pt").is_file() and not (run / "test.json").exists()


def test_float_network_is_not_exported(place: Path) -> None:
    done = subprocess.run([*UNETQ, "export", str(place / "float")], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2 and "torch only" in done.stderr
