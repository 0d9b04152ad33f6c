"""What can be said about ARM without building for it; scripts/arm/test.sh builds and runs everything there."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.instruction_table import InstructionTable

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


def test_counted_instructions_are_held_to_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = InstructionTable(tmp_path / "table.csv", "kernels", "count --write")
    table.write({"same": 1000, "slower": 1000, "gone": 1}, "gcc 1")
    assert table.check(lambda: {"same": 1029, "slower": 1000, "gone": 1}, "gcc 1") == 0
    capsys.readouterr()
    assert table.check(lambda: {"same": 1000, "slower": 1040, "new": 2}, "gcc 1") == 1
    assert capsys.readouterr().out.splitlines() == [
        "gone is in the table only",
        "new is not in the table",
        "slower: 1,040 instructions, the table has 1,000 (+4.0%)",
        "If that is meant: count --write",
    ]
    assert table.check(lambda: {}, "gcc 2") == 0  # another compiler makes other code
    assert "not compared" in capsys.readouterr().out


def test_every_kernel_and_network_on_arm_is_counted() -> None:
    rows = (ROOT / "unetq/native/kernels/kernels.inc").read_text(encoding="utf-8")
    kernels = set(re.findall(r"^UNETQ_(?:CONV|LOWBIT)\((\w+_(?:neon|dotprod|i8mm|armv7)),", rows, re.MULTILINE))
    with (ROOT / "tests/native/instructions_arm.csv").open(newline="", encoding="utf-8") as file:
        names = [row[0].split() for row in list(csv.reader(file))[2:]]
    assert {name for _, name, _ in names if name != "network"} == kernels, "scripts/arm/check_counts.py --write"
    networks = {(core, bits) for core, name, bits in names if name == "network"}
    cores = {core for core, _, _ in names}
    assert networks == {(core, bits) for core in cores for bits in ("W4A6", "W2A2", "ternarynet")}
