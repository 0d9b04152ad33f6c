"""The real server and headless Chromium, for the tests of the viewer as a person meets it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app.made import Made, add_float, make
from unetq.app.launch import ADDRESS, Server, command
from unetq.app.settings import Settings

sync_api = pytest.importorskip("playwright.sync_api")
sync_api.expect.set_options(timeout=30_000)  # a machine that is busy, or draws in software, takes its time
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Python runs this in the server before anything else: every address that it connects to or looks up is written down.
WATCH = """
import os, socket
def note(*words):
    with open(os.environ["WATCHED"], "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")
for name in ("connect", "connect_ex"):
    def watched(self, address, real=getattr(socket.socket, name)):
        if self.family != socket.AF_UNIX:
            note("connect", address[0])
        return real(self, address)
    setattr(socket.socket, name, watched)
def lookup(host, *rest, real=socket.getaddrinfo, **more):
    note("lookup", host)
    return real(host, *rest, **more)
socket.getaddrinfo = lookup
note("watching", "-")
"""


@dataclass(frozen=True)
class Served:
    """A running viewer: its address, its store, and what it connected to."""

    address: str
    store: Path
    watched: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = make(tmp_path_factory.mktemp("viewer"), size=256)
    add_float(found)
    return found


@pytest.fixture(scope="module")
def server(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A viewer that serves the models of `made`."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "sitecustomize.py").write_text(WATCH)
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
    served = Served(f"http://{ADDRESS}:{port}", folder / "store", folder / "watched")
    settings = Settings((made.runs,), made.nifti.parent, served.store)
    temporary = folder / "tmp"
    temporary.mkdir()
    watch = {"PYTHONPATH": str(folder), "WATCHED": str(served.watched), "TMPDIR": str(temporary)}
    environment = {**os.environ, **watch}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    process = subprocess.Popen(command(Server(port=port, settings=settings)), **quiet)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with (
                suppress(urllib.error.URLError, ConnectionError),
                urllib.request.urlopen(f"{served.address}/_stcore/health"),
            ):
                break
            time.sleep(0.2)
        else:
            pytest.fail("the viewer did not start within a minute")
        yield served
    finally:
        process.terminate()
        process.wait(60)
    assert list(temporary.iterdir()) == [], "temporary files are gone when the server is"


def choose(page: Any, label: str, text: str) -> None:
    """Chooses from a list with the keyboard."""
    field = page.get_by_role("combobox", name=label)
    field.click()
    field.fill(text)
    page.keyboard.press("Enter")
