"""Peak resident memory of this process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

__all__ = ["peak_rss_bytes"]


def peak_rss_bytes() -> int:
    """Largest resident set of this program so far, in bytes.

    On Linux from /proc, because getrusage's figure survives exec: a small program started by a big one would report the big
    one's peak.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii", errors="replace"))):
        return int(match[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
