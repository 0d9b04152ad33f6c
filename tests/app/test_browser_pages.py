"""Pages, keys and a small touch screen in headless Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.made import Made
from tests.app.served import ARGUMENTS, CHROMIUM, Served, choose, made, server, sync_api
from tests.report import fake
from unetq.app.quality import Reviews
from unetq.app.study import open_study
from unetq.report.report import report

__all__ = ["made", "server"]  # fixtures
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="needs Debian's Chromium: apt-get install chromium"),
]


def test_a_click_on_a_point_shows_its_cases(server: Served, made: Made) -> None:
    report(fake.four_runs(made.runs / "reported"), made.runs / "reported/out")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{server.address}/tradeoff")
        points = page.locator(".mark-symbol.role-mark path")
        points.first.wait_for(timeout=180_000)
        heading = page.locator("table.unetq-table tr").first
        for number in range(points.count()):
            points.nth(number).click()
            setting = points.nth(number).get_attribute("aria-label").split("setting: ")[1].split(";")[0]
            sync_api.expect(heading).to_have_text(setting)
        page.get_by_role("combobox", name="Case").wait_for()
        browser.close()


def test_keys_save_a_verdict_but_not_while_one_types(server: Served, made: Made) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
        choose(page, "Study: path", "study.tif")
        page.get_by_role("radio", name="Review").click()
        comment = page.get_by_role("textbox", name="Comment")
        comment.click()
        page.keyboard.type("pnf: no fit")
        page.locator("figure").first.focus()
        page.wait_for_timeout(2000)
        assert comment.input_value() == "pnf: no fit" and not Reviews(server.store).of(open_study(made.tiff).hash)
        page.keyboard.press("f")
        page.get_by_text("✗ Fail").first.wait_for()
        (review,) = Reviews(server.store).of(open_study(made.tiff).hash)
        assert (review.verdict, review.comment, review.name) == ("fail", "pnf: no fit", "study.tif")
        page.keyboard.press("n")
        sync_api.expect(page.locator(".unetq-head b")).not_to_have_text("study.tif", timeout=60_000)
        page.get_by_text("Not reviewed yet").wait_for()
        browser.close()


def test_on_a_small_touch_screen_nothing_sticks_out(server: Served, made: Made) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(server.address)
        page.get_by_text("Research use only, not a medical device").wait_for(timeout=180_000)
        page.get_by_text("at the upper left").wait_for()
        page.get_by_test_id("stExpandSidebarButton").tap()
        choose(page, "Study: path", "study.nii.gz")
        page.get_by_text("256 x 256, 3 slices").wait_for()
        page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").tap()
        page.locator(".frame").first.wait_for()
        page.get_by_role("button", name="Slice on").first.tap()
        page.locator(".steps span", has_text="3 / 3").first.wait_for()
        width = page.evaluate("document.scrollingElement.scrollWidth")
        boxes = [box.bounding_box() for box in page.locator(".frame").all()]
        browser.close()
    assert width <= 390 and all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
