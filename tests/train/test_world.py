"""What a training asks of the machine."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Ten times 64 MiB, freed each time: without the setting 16,384 pages of 4 KiB are faulted in anew each time.
FAULTS = """
import resource, sys, torch
from unetq.train.world import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def fill():
    torch.ones(1 << 24)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    def faults(way: str) -> int:
        run = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert 4 * faults("keep") < faults("as is")
