"""The viewer as a person meets it: the real server, headless Chromium, a study opened by its path."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

import pytest

from tests.app.made import Made, make
from unetq.app.launch import ADDRESS, command

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("viewer"), size=256)


@pytest.fixture(scope="module")
def server(made: Made) -> Iterator[str]:
    """Address of a viewer that serves the models of `made`."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(command([made.runs], port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://{ADDRESS}:{port}"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(f"{address}/_stcore/health"):
                break
            time.sleep(0.2)
        else:
            pytest.fail("the viewer did not start within a minute")
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_open_segment_compare(server: str, made: Made, tmp_path: Path) -> None:
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        page.goto(server)
        page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
        field = page.get_by_label("Study: path")
        field.fill(str(made.nifti))
        field.press("Enter")
        page.get_by_text("256 x 256, 3 slices").wait_for(timeout=120_000)
        page.locator('[data-testid="stImage"] img').first.wait_for()
        field = page.get_by_label("Ground truth (optional): path")
        field.fill(str(made.truth))
        field.press("Enter")
        page.get_by_role("button", name="Segment", exact=True).click()
        page.get_by_text("Dice, study").first.wait_for(timeout=180_000)
        images = page.locator('[data-testid="stImage"] img')
        images.nth(2).wait_for(timeout=120_000)
        page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        page.screenshot(path=tmp_path / "viewer.png")
        sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
        assert [512, 512] in sizes, "a slice of 256 pixels is enlarged by a whole number"
        assert images.count() == 3, "the model's overlay, the truth and their difference"
        assert page.locator('[data-testid="stException"]').count() == 0
        browser.close()
    assert (tmp_path / "viewer.png").stat().st_size > 20_000
    hosts = {urlparse(url).hostname for url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {ADDRESS}
