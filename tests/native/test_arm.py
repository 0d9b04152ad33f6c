"""What can be said about ARM without building for it; scripts/arm/test.sh builds and runs everything there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "armv7": "arm-linux-gnueabihf-gcc"}


def run(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize("preset", COMPILERS)
def test_example_compiles(preset: str, tmp_path: Path) -> None:
    if not shutil.which(COMPILERS[preset]):
        pytest.skip(f"no {COMPILERS[preset]}")
    warnings = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    include = ROOT / "unetq/native/include"
    done = run(
        COMPILERS[preset],
        *warnings,
        "-I",
        include,
        "-c",
        ROOT / "docs/examples/segment.c",
        "-o",
        tmp_path / "segment.o",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "segment.o").stat().st_size > 0


def test_every_preset_has_its_command() -> None:
    presets = json.loads((ROOT / "unetq/native/CMakePresets.json").read_text(encoding="utf-8"))["configurePresets"]
    named = {preset["name"] for preset in presets if not preset.get("hidden")}
    assert named == {"run", *COMPILERS}
    refused = run("sh", ROOT / "scripts/build_standalone.sh", "riscv")
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in named)


def test_missing_tools_are_named(tmp_path: Path) -> None:
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    done = run("/bin/bash", ROOT / "scripts/arm/test.sh", PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (2, "scripts/arm/test.sh needs aarch64-linux-gnu-g++\n")
