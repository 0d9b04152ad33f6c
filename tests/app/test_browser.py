"""The viewer as a person meets it: the real server, headless Chromium, from an upload to a reviewed and exported correction."""

from __future__ import annotations

import csv
import io
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest

from tests.app.made import Made
from tests.app.served import ARGUMENTS, CHROMIUM, Served, choose, made, server, sync_api
from unetq.app.launch import ADDRESS
from unetq.app.planes import Grid
from unetq.app.study import open_study
from unetq.app.versions import Versions
from unetq.image.read import read_mask

__all__ = ["made", "server"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's Chromium: apt-get install chromium"),
]


def drag(page: Any, frame: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drags from one place of a picture to another; shares of its height and width."""
    box = frame.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for y, x in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=12)
    page.mouse.up()


def saved(page: Any, label: str, file: str) -> bytes:
    """What a button makes and its download brings."""
    page.get_by_role("button", name=label).click()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name=f"Download {file}").click()
    return Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip of a CT series of 4 slices of 64 x 80 pixels, between slices of 2.5 mm."""
    pytest.importorskip("highdicom")
    from tests.image.seg_made import made as series_made

    folder = tmp_path_factory.mktemp("ct")
    hu = np.random.default_rng(0).integers(0, 2000, (4, 64, 80)).astype(np.int16)
    with zipfile.ZipFile(folder / "ct.zip", "w") as packed:
        for path in series_made(folder / "series", False, hu).iterdir():
            packed.write(path, path.name)
    return folder / "ct.zip"


def test_from_an_upload_to_a_reviewed_correction(server: Served, ct: Path, tmp_path: Path) -> None:
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(server.address)
        page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
        look_at(page, ct)
        correct(page)
        seg = saved(page, "Save as DICOM SEG", "mask.dcm")
        report = saved(page, "Save the report (HTML)", "report.html").decode()
        page.get_by_role("radio", name="Review").click()
        page.get_by_role("button", name="Pass").click()
        page.get_by_text("✓ Pass").first.wait_for()
        page.get_by_role("link", name="Reviews").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        assert page.locator('[data-testid="stException"]').count() == 0
        browser.close()

    assert list((server.watched.parent / "tmp").glob("unetq-*")) == [], (
        "uploads are on the disk only while they are read"
    )
    assert ("ct.zip", "pass") in {(line["name"], line["verdict"]) for line in lines}
    assert "Research use only, not a medical device" in report
    folder = Versions(server.store).folder / open_study(ct).hash
    corrected = read_mask(folder / "1.nii.gz")
    painted = [bool(page[31:33, 24:56].all()) for page in corrected]
    assert painted == [False, False, True, False], "slice 2 from the feet, of a series that is stored from the head"
    (tmp_path / "seg.dcm").write_bytes(seg)
    from unetq.image.seg import read_seg, series_headers

    assert np.array_equal(read_seg(tmp_path / "seg.dcm", series_headers(ct.parent / "series")), corrected)
    hosts = {urlparse(url).hostname for url in requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {ADDRESS}
    watched = {line.split()[1] for line in server.watched.read_text().splitlines()}
    assert watched <= {"-", ADDRESS, "localhost", "None"}, "the server itself asks nobody either"


def look_at(page: Any, study: Path) -> None:
    """Uploads a study, compares W4A6 with float, and goes through it by button, key and click."""
    page.get_by_role("tab", name="Upload").first.click()
    page.locator("input[type=file]").first.set_input_files(study)
    page.get_by_text("64 x 80, 4 slices, 2.5 x 0.8 x 0.7 mm").wait_for()
    frames = page.locator(".frame")
    frames.nth(2).wait_for()
    assert frames.count() == 3, "axial, coronal and sagittal"
    compare(page)
    choose(page, "View", "Overlay: W4A6")
    page.locator("figcaption b", has_text="Sagittal").wait_for()

    axial = page.locator("figure", has_text="Axial")
    count = axial.locator(".steps span")
    sync_api.expect(count).to_have_text("2 / 4")
    axial.get_by_role("button", name="Slice on").click()
    sync_api.expect(count).to_have_text("3 / 4")
    axial.press("ArrowDown")
    sync_api.expect(count).to_have_text("2 / 4")
    box = frames.nth(0).bounding_box()
    page.mouse.click(box["x"] + 0.26 * box["width"], box["y"] + 0.76 * box["height"])
    sync_api.expect(page.locator("figure", has_text="Sagittal").locator(".steps span")).to_have_text("21 / 80")


def compare(page: Any) -> None:
    """Runs W4A6 in the native runtime and float in torch, and sees them side by side."""
    for name in ("W2A2", "W4A6", "float"):  # the first one was chosen already
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_timeout(500)
    page.get_by_role("button", name="Segment", exact=True).click()
    page.locator("figcaption b", has_text="Difference").wait_for(timeout=600_000)
    assert page.locator("figcaption b").all_inner_texts() == ["W4A6", "float", "Difference"]
    table = page.locator("table.unetq-table", has_text="Model file").inner_text()
    assert table.split()[:2] == ["W4A6", "float"] and "Time" in table and "Memory" in table
    page.get_by_text("Float: torch, memory of its whole process").wait_for()


def correct(page: Any) -> None:
    """Paints a line into the first slice shown, keeps it as a version, and goes to where that is saved from."""
    page.get_by_role("radio", name="Correct").click()
    page.get_by_role("button", name="Start correcting").click()
    page.locator('.frame[data-tool="brush"]').first.wait_for()
    drag(page, page.locator(".frame").nth(0), (0.5, 0.3), (0.5, 0.7))
    sync_api.expect(page.get_by_role("button", name="Undo")).to_be_enabled(timeout=20_000)
    page.get_by_role("button", name="Save as a new version").click()
    page.get_by_text("Kept in").wait_for()
    page.get_by_role("radio", name="Save").click()
    choose(page, "Mask", "Correction 1")


SOFTWARE = [
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]  # WebGL 2 without a graphics card


def solid_page(browser: Any, server: Served, made: Made) -> Any:
    """A page with the small study, its truth, and the 3-D view chosen."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(server.address)
    page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
    choose(page, "Study: path", made.nifti.name)
    page.locator("figure").first.wait_for()
    page.get_by_text("Ground truth (optional)").click()
    page.wait_for_timeout(1000)  # a list that opens while the expander still moves is shut again
    choose(page, "Ground truth: path", made.truth.name)
    page.locator("table.unetq-table", has_text="Ground truth").wait_for()
    choose(page, "Show", "3-D")
    return page


def green(page: Any) -> float:
    """Share of the 3-D view that has the first label's hue, 009e73."""
    from PIL import Image

    picture = Image.open(io.BytesIO(page.locator(".stage canvas").screenshot())).convert("RGB")
    red, high, blue = (np.asarray(picture)[:, :, channel].astype(int) for channel in range(3))
    return float(((high > 60) & (high > 2 * red) & (high > blue + 15)).mean())


def test_three_d_is_linked_to_the_planes(server: Served, made: Made) -> None:
    requests: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, *SOFTWARE])
        page = solid_page(browser, server, made)
        page.on("request", lambda request: requests.append(request.url))
        page.locator('.solid[data-state="ready"]').wait_for()
        solid, steps = page.locator(".solid"), page.locator(".steps span")
        page.wait_for_timeout(500)
        shown = green(page)
        page.locator(".solid input[name=overlay]").fill("0")
        page.wait_for_timeout(500)
        assert shown > 0.02 > 0.001 > green(page), "the mask, and the image alone"
        page.locator(".solid input[name=overlay]").fill("1")

        def place() -> list[float]:
            return [float(mm) for mm in solid.get_attribute("data-place").split()]

        grid = Grid(open_study(made.nifti).volume)
        unit = 1e6  # pixels of 4 nm: the view counts in nanometres
        assert np.allclose(place(), np.multiply(grid.world(grid.middle), unit), atol=0.5)
        page.locator("figure", has_text="Axial").get_by_role("button", name="Slice on").click()
        sync_api.expect(steps.first).to_have_text("3 / 3")
        sync_api.expect(solid).not_to_have_attribute("data-place", " ".join(map(str, place())))
        z, y, x = grid.middle
        assert np.allclose(place(), np.multiply(grid.world((z + 1, y, x)), unit), atol=0.5), (
            "from the planes to the body"
        )

        page.get_by_role("button", name="Top", exact=True).click()
        box = page.locator(".stage canvas").bounding_box()
        page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 0.4 * box["height"])
        sync_api.expect(steps.nth(1)).not_to_have_text("128 / 256")
        page.wait_for_timeout(500)
        row, column = (int(steps.nth(n).inner_text().split(" ")[0]) for n in (1, 2))
        assert 30 < row < 128 and 30 < column < 226, "and from the body to the planes: in front of the middle"
        assert np.allclose(place()[:2], np.multiply(grid.world((2, row - 1, column - 1)), unit)[:2], atol=4)

        files = [url for url in {*requests} if "/media/" in url]
        images = [url for url in files if len(urllib.request.urlopen(url).read()) == 352 + made.image.size]
        assert images, "image and mask as they are, by HTTP"
        page.get_by_role("link", name="Models").click()
        page.get_by_text("Intended use").wait_for()
        page.wait_for_timeout(500)
        for url in images:
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(url)
        browser.close()
    assert {urlparse(url).hostname for url in requests if not url.startswith(("data:", "blob:"))} == {ADDRESS}


def test_without_webgl_the_page_says_so(server: Served, made: Made) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, "--disable-3d-apis"])
        page = solid_page(browser, server, made)
        page.get_by_text("The 3-D view needs WebGL 2").wait_for()
        assert page.locator(".frame").count() == 3, "and the planes are there"
        browser.close()


@pytest.mark.realdata
def test_a_real_em_stack_from_upload_to_the_csv(server: Served, realdata: Path, tmp_path: Path) -> None:
    """Upload, run two models, compare, edit, export, read back, pass, and find it in the CSV."""
    source = realdata / "em/train-volume.tif"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
        page.get_by_role("tab", name="Upload").first.click()
        page.locator("input[type=file]").first.set_input_files(source)
        page.get_by_text("512 x 512, 23 slices").wait_for()
        compare(page)
        correct(page)
        (tmp_path / "mask.tif").write_bytes(saved(page, "Save mask as TIFF", "train-volume-mask.tif"))
        page.get_by_role("radio", name="Review").click()
        page.get_by_role("button", name="Pass").click()
        page.get_by_text("✓ Pass").first.wait_for()
        page.get_by_role("link", name="Reviews").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as CSV").click()
        lines = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
        browser.close()
    study = open_study(source)
    corrected = Versions(server.store).load(study, 1)
    assert corrected[11, 254:258, 160:350].all() and np.array_equal(read_mask(tmp_path / "mask.tif"), corrected)
    assert ("train-volume.tif", "pass") in {(line["name"], line["verdict"]) for line in lines}
