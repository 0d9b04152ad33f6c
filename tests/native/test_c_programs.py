"""C programs against the static library: the documentation's example, and two models in two threads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.models import random_graph, write
from unetq import _native
from unetq.spec import NetSpec

ROOT = Path(__file__).parents[2]


def build(command: Path, source: Path, folder: Path) -> Path:
    """The program, as a user would build it: in strict C, linked with the folder that unetq-run was built in."""
    words = ["cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    words += [source, "-I", ROOT / "unetq/native/include", command.parent / "libunetq_runtime.a"]
    program = folder / source.stem
    done = subprocess.run(
        [*map(str, words), "-lstdc++", "-lm", "-pthread", "-o", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("classes", [1, 2])
def test_example(command: Path, classes: int, tmp_path: Path) -> None:
    program = build(command, ROOT / "docs/examples/segment.c", tmp_path)
    write(random_graph(NetSpec(base=4, depth=2, out_channels=classes), 0), tmp_path / "model.gguf")
    image = np.random.default_rng(0).normal(size=(1, 45, 52)).astype(np.float32)
    words = [program, tmp_path / "model.gguf", "45", "52"]
    done = subprocess.run(words, input=image.tobytes(), capture_output=True, check=True)
    logits = _native.Model(str(tmp_path / "model.gguf"), 1).run(image)
    mask = 255 * (logits[0] > (logits[1] if classes > 1 else 0)).astype(np.uint8)
    assert done.stdout == b"P5\n52 45\n255\n" + mask.tobytes()
    assert 0 < mask.mean() < 255
    short = subprocess.run(words, input=b"short", capture_output=True, check=False)
    none = subprocess.run([program, tmp_path / "none", "4", "4"], input=b"", capture_output=True, check=False)
    assert (short.returncode, none.returncode) == (2, 2)
    assert b"no such model" in none.stderr


def test_two_models_in_two_threads(command: Path, tmp_path: Path) -> None:
    program = build(command, ROOT / "tests/native/two_models.c", tmp_path)
    for i, name in enumerate(("a.gguf", "b.gguf")):
        write(random_graph(NetSpec(base=8, depth=2, out_channels=1 + i), i), tmp_path / name)
    words = [program, tmp_path / "a.gguf", tmp_path / "b.gguf"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0 failures\n"), done
