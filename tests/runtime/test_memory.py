"""Peak memory is that of this process, not of the one that started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unetq.runtime import memory

MIB = 2**20


def test_peak_grows_with_what_was_touched() -> None:
    before = memory.peak_rss_bytes()
    block = np.ones(before + 64 * MIB, np.uint8)
    assert memory.peak_rss_bytes() >= block.nbytes
    del block
    assert memory.peak_rss_bytes() >= before + 64 * MIB


def test_a_large_parent_does_not_count() -> None:
    block = np.ones(400 * MIB, np.uint8)
    code = "from unetq.runtime.memory import peak_rss_bytes; print(peak_rss_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < block.nbytes / 4


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STATUS", "MEMINFO", "CGROUP"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    assert memory.peak_rss_bytes() > MIB
    assert memory.available_bytes() > MIB


@pytest.mark.parametrize(("limit", "used", "free"), [("max", "5", 3 * MIB), ("4096", "96", 4000), ("4096", "5000", 0)])
def test_a_container_may_have_less(
    limit: str, used: str, free: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    3072 kB\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    assert memory.available_bytes() == free
