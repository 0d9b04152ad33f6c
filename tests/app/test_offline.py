"""The viewer with the network down: the whole way through the browser again, in a namespace that has only its own loopback."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("highdicom")
UNSHARE = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
NOBODY = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
BROWSER = Path(__file__).with_name("test_browser.py")


def alone() -> bool:
    """Whether this machine lets a process leave the network."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.browser
@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="needs Debian's Chromium: apt-get install chromium")
def test_nothing_needs_the_network() -> None:
    if not alone():
        pytest.skip("needs unshare and ip (util-linux, iproute2), and the right to use them")
    lost = subprocess.run([*UNSHARE, sys.executable, "-c", NOBODY], capture_output=True, text=True, check=False)
    assert "unreachable" in lost.stderr, "the network is down there"
    tests = ("test_from_an_upload_to_a_reviewed_correction", "test_three_d_is_linked_to_the_planes")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        *(f"{BROWSER}::{test}" for test in tests),
    ]  # quiet by pyproject.toml, but with the last line
    done = subprocess.run([*UNSHARE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout[-3000:]
