"""Memory of this process and of this machine."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

__all__ = ["available_bytes", "copy_bandwidth", "peak_rss_bytes"]

STATUS = Path("/proc/self/status")
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def peak_rss_bytes() -> int:
    """Largest resident set of this program so far, in bytes.

    On Linux from /proc, because getrusage's figure survives exec: a small program started by a big one would report the big
    one's peak.
    """
    peak = _kib(STATUS, "VmHWM")
    if peak is not None:
        return peak
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def available_bytes() -> int:
    """Bytes that can be allocated without swapping, within the container's limit where there is one."""
    free = _kib(MEMINFO, "MemAvailable")
    if free is None:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
    return free if limit is None or used is None else min(free, max(0, limit - used))


def copy_bandwidth() -> float:
    """Bytes a second, read and written ones together, of a copy that no cache holds: the fastest of some, now."""
    source = np.ones(1 << 26, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(12):
        start = perf_counter()
        np.copyto(target, source)
        best = min(best, perf_counter() - start)
    return 2 * source.nbytes / best


def _kib(path: Path, key: str) -> int | None:
    """The value of a "Key: 123 kB" line, in bytes; None where the system has no such file or line."""
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
