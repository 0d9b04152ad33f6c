"""The standalone command and the runtime's static library, built once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def command() -> Path:
    """unetq-run, built where the last test run left it, so that only what changed is compiled."""
    if not shutil.which("cmake") and not (ROOT / ".venv/bin/cmake").exists():
        pytest.skip("no cmake")
    done = subprocess.run(["sh", ROOT / "scripts/build_standalone.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "build/run/unetq-run"
