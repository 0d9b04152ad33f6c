"""The committed bundle of NiiVue is what its lock file gives, and asks nobody for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
BUNDLE = ("niivue.min.js", "niivue.licences.txt")
NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH")


def committed(name: str) -> bytes:
    return (files("unetq.app") / "component" / name).read_bytes()


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm 9 or newer")
def test_the_lock_file_gives_these_bytes(tmp_path: Path) -> None:
    shutil.copytree(HERE / "scripts/niivue", tmp_path / "niivue", ignore=shutil.ignore_patterns("node_modules"))
    out = tmp_path / "out"
    out.mkdir()
    for words in (["npm", "ci", "--ignore-scripts"], ["npm", "run", "build", "--", str(out)]):
        done = subprocess.run(words, cwd=tmp_path / "niivue", capture_output=True, text=True, check=False)
        if done.returncode and any(sign in done.stderr for sign in NO_NETWORK):
            pytest.skip("npm does not reach its registry")
        assert done.returncode == 0, done.stderr
    for name in BUNDLE:
        assert (out / name).read_bytes() == committed(name), f"{name}: run npm ci and npm run build in scripts/niivue"


def test_it_is_small_and_names_every_licence() -> None:
    script, licences = (committed(name).decode() for name in BUNDLE)
    assert len(script) < 1_000_000
    assert "Copyright (c) 2021, Niivue" in licences
    heads = re.findall(r"^(\S+) [\d.]+ \((\S+)\)$", licences, re.MULTILINE)
    assert len(heads) >= 5 and {licence for _, licence in heads} <= {"BSD-2-Clause", "MIT", "ISC"}
    for part in ("fetch(", "new Image", "XMLHttpRequest", "import("):
        assert f'{part}"http' not in script
