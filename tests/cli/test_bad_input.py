"""Bad input: one sentence, exit code 2, no traceback, no partial output."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.models import random_graph, write
from unetq.spec import NetSpec

UNETQ = [sys.executable, "-m", "unetq.cli"]


def unetq(*args: object, before: list[str] | None = None, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def full_disk() -> None:  # a file may grow to `limit` bytes: the write fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 0, limit or 0))

    command = [*(before or []), *UNETQ, *(str(arg) for arg in args)]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", check=False, preexec_fn=full_disk if limit else None
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write(random_graph(NetSpec(base=4, depth=2), seed=1), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(96 * 80, dtype=np.uint8).reshape(96, 80)), str(path))
    return path


def nifti(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def truncated(model: Path, folder: Path) -> Path:
    path = folder / "short.gguf"
    path.write_bytes(model.read_bytes()[:-7])
    return path


def changed(model: Path, folder: Path) -> Path:
    path = folder / "changed.gguf"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damage", [truncated, changed])
@pytest.mark.parametrize("verb", ["predict", "info", "bench"])
def test_damaged_model(
    verb: str, damage: Callable[[Path, Path], Path], model: Path, image: Path, tmp_path: Path
) -> None:
    bad, out = damage(model, tmp_path), tmp_path / "mask.png"
    refused(unetq(verb, bad, *([image, "--out", out] if verb == "predict" else [])), bad.name)
    assert not out.exists()


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((8, 8, 3, 2), np.float32), "4-D"),
        (np.full((32, 32, 1), np.nan, np.float32), "NaN"),
        (np.zeros((0, 16, 1), np.float32), "empty"),
    ],
    ids=["4-D", "NaN", "empty"],
)
def test_images_that_are_refused(array: np.ndarray, word: str, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "mask.nii.gz"
    done = unetq("predict", model, nifti(tmp_path / "image.nii.gz", array), "--out", out)
    refused(done, "image.nii.gz")
    assert word.lower() in done.stderr.lower()
    assert not out.exists()


def test_predict_refusals(model: Path, image: Path, tmp_path: Path) -> None:
    refused(unetq("predict", model, image, "--out", tmp_path / "m.png", "--tile", "30"), "30")
    refused(unetq("predict", model, tmp_path / "none.png", "--out", tmp_path / "m.png"), "none.png")
    refused(unetq("predict", model, image, "--out", tmp_path / "gone/m.png"), "gone")
    refused(unetq("bench", model, "--size", "0x512"), "0x512")
    refused(unetq("bench", model, "--size", "big"), "big")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.png"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv takes root's right to write anywhere")
def test_read_only_folder(model: Path, image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    drop = "-dac_override,-dac_read_search"
    before = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"]
    refused(unetq("predict", model, image, "--out", folder / "mask.png", before=before), "mask.png")
    assert list(folder.iterdir()) == []


def test_full_disk(model: Path, image: Path, tmp_path: Path) -> None:
    refused(unetq("predict", model, image, "--out", tmp_path / "mask.png", limit=16), "mask.png")
    assert [p.name for p in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--dataset", "em", "--wbits", "9"], "wbits is 9"),
        (["--dataset", "em", "--abits", "0"], "abits is 0"),
        (["--dataset", "en"], 'did you mean "em"'),
        (["--dataset", "em", "--quantizer", "fixd"], 'did you mean "fixed"'),
        (["--dataset", "em", "--config", "dmo"], 'did you mean "demo"'),
    ],
)
def test_train_refusals(args: list[str], word: str, tmp_path: Path) -> None:
    refused(unetq("train", *args, "--data", tmp_path, "--out", tmp_path / "run"), word)
    assert not (tmp_path / "run").exists()


def test_unknown_key_in_yaml(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("iteration: 5\n")
    refused(unetq("train", "--dataset", "em", "--config", config, "--data", tmp_path), 'did you mean "iterations"')


def test_nothing_found_says_where_to_get_it(tmp_path: Path) -> None:
    refused(unetq("train", "--dataset", "em", "--data", tmp_path, "--out", tmp_path / "run"), "unetq data phantom em")


@pytest.mark.parametrize("verb", [["evaluate"], ["export"], ["report"]])
def test_run_without_checkpoint(verb: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    refused(unetq(*verb, run, "--out" if verb != ["evaluate"] else "--data", tmp_path / "out"), "run")
    assert not (tmp_path / "out").exists()


def test_usage_errors_are_one_sentence_too() -> None:
    refused(unetq("predict"), "MODEL")
    refused(unetq("trian"), "trian")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--address", "0.0.0.0"), "--password"),
        (("--address", "localhost"), "no IP address"),
        (("--data", "none"), "no folder none"),
        (("none",), "no folder none"),
        (("--password", "new"), "in a terminal once"),
    ],
)
def test_view_refuses_before_it_serves(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    pytest.importorskip("streamlit")
    command = [*UNETQ, "view", *words, "--port", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    refused(done, said)
    assert not list(tmp_path.iterdir())
