"""Times the viewer as a person meets it: the real server, headless Chromium, a made-up CT of 512 x 512 x 160 with an overlay.

    python scripts/bench_viewer.py [--models FOLDER] [--steps 60] [--json]

First page: from the start of `unetq view` until its page can be read, Chromium already running; and the same for one more
visitor. Slice change: from the key (one plane changes) or the click (two planes change) until the new pictures are decoded.
The server's processor time of a change does not depend on what else the machine does. Memory: the server's resident memory
with study and overlay open, and its peak, reading included. The overlay is the phantom's own truth; with `--models` the first
model of the folder segments the study, too. Needs Debian's chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from playwright.sync_api import Locator, Page, sync_playwright

from unetq.data_prep.nih_phantom import make_study

SIDE, DEPTH = 512, 160
WARM_UP = 5  # slice changes that are not counted
TARGETS = {"first_page_s": 3.0, "step_ms": 150.0, "click_ms": 150.0, "resident_mb": 600.0}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
READABLE = "Research use only, not a medical device"
# From the event in the axial plane until every picture that it changes is decoded: a key turns its own plane, a click the others.
CHANGE = """async (figure, [kind, down, across]) => {
  const images = [...figure.parentElement.querySelectorAll("img")].filter((_, n) => (kind === "click") === n > 0);
  const changed = images.map((image) => new Promise((done) => {
    const watch = new MutationObserver(() => { watch.disconnect(); image.decode().then(done); });
    watch.observe(image, { attributeFilter: ["src"] });
  }));
  const start = performance.now();
  if (kind === "click") {
    const frame = figure.querySelector(".frame"), box = frame.getBoundingClientRect();
    const place = { clientX: box.x + across * box.width, clientY: box.y + down * box.height, button: 0, pointerId: 1 };
    for (const name of ["pointerdown", "pointerup"]) frame.dispatchEvent(new PointerEvent(name, place));
  } else figure.dispatchEvent(new KeyboardEvent("keydown", { key: kind }));
  await Promise.all(changed);
  return performance.now() - start;
}"""


def write_study(folder: Path) -> None:
    """`ct.nii` (int16) and `truth.nii` (uint8), the phantom's 24 slices stretched to 160."""
    made = make_study(1, seed=0, size=SIDE)
    ends = np.linspace(0, len(made.hu) - 1, DEPTH)
    low, share = np.minimum(ends.astype(int), len(made.hu) - 2), (ends % 1).astype(np.float32)[:, None, None]
    affine = np.diag([-made.spacing[1], -made.spacing[2], made.spacing[0] * len(made.hu) / DEPTH, 1.0])
    for name, array in (("ct", made.hu), ("truth", made.label)):
        between = (1 - share) * array[low] + share * array[low + 1]  # no two slices alike, or no picture would change
        nib.save(nib.Nifti1Image(np.rint(between).astype(array.dtype).T, affine), folder / f"{name}.nii")


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def viewer(folder: Path, models: Path, port: int) -> Iterator[int]:
    """A running server's process number; it answers when this returns."""
    unetq = [str(Path(sys.executable).with_name("unetq")), "view", str(models), "--data", str(folder)]
    words = [*unetq, "--store", str(folder / "store"), "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()
                break
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def open_page(page: Page, port: int) -> None:
    """Goes to the viewer and waits until it can be read."""
    page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
    page.get_by_text(READABLE).wait_for()


def choose(page: Page, label: str, text: str) -> None:
    """Chooses from a list with the keyboard."""
    field = page.get_by_role("combobox", name=label)
    field.click()
    field.press_sequentially(text)
    page.get_by_role("option", name=text).first.wait_for()
    page.keyboard.press("Enter")


def open_study(page: Page, segment: bool) -> None:
    """Opens the study with its truth, and runs the first model where there is one."""
    choose(page, "Study: path", "ct.nii")
    page.locator("figure").first.wait_for()
    if segment:
        page.get_by_role("button", name="Segment", exact=True).click()
        page.get_by_text("Model file", exact=True).wait_for(timeout=600_000)
    page.get_by_text("Ground truth (optional)").click()
    page.wait_for_timeout(1000)  # a list that opens while the expander still moves is shut again
    choose(page, "Ground truth: path", "truth.nii")
    page.locator("table.unetq-table", has_text="Dice, study" if segment else "Ground truth").wait_for()
    choose(page, "View", "Overlay: Ground truth")
    page.locator("figcaption b", has_text="Sagittal").wait_for()


def changes(page: Page, steps: int) -> tuple[list[float], list[float]]:
    """Milliseconds of slice changes by key and by click, the first few of each left out."""
    figure: Locator = page.locator("figure").first
    taken: dict[str, list[float]] = {"step": [], "click": []}
    for number in range(-WARM_UP, steps):
        share = 0.3 + 0.4 * (number % 17) / 17
        for kind, event in (("step", ["ArrowUp", 0, 0]), ("click", ["click", share, 1 - share])):
            ms = float(figure.evaluate(CHANGE, event))
            if number >= 0:
                taken[kind].append(ms)
            page.wait_for_timeout(100)
    return taken["step"], taken["click"]


def memory(pid: int) -> dict[str, float]:
    """Resident memory of a process now and at its peak, MB (10^6 bytes)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        name: round(int(lines[key].split()[0]) * 1024 / 1e6, 1) for name, key in (("now", "VmRSS"), ("peak", "VmHWM"))
    }


def processor(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, models: Path | None, steps: int) -> dict[str, Any]:
    """All figures."""
    empty = folder / "none"
    empty.mkdir()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        start, port = time.perf_counter(), free_port()
        with viewer(folder, models or empty, port) as pid:
            ready = time.perf_counter() - start
            open_page(page, port)
            first = time.perf_counter() - start
            bare = memory(pid)["now"]
            start, second = time.perf_counter(), browser.new_page()
            open_page(second, port)
            again = time.perf_counter() - start
            second.close()
            open_study(page, models is not None)
            before = processor(pid)
            by_key, by_click = changes(page, steps)
            taken, held = processor(pid) - before, memory(pid)
        browser.close()
    return {
        "first_page_s": round(first, 2),
        "server_ready_s": round(ready, 2),
        "next_page_s": round(again, 2),
        "step_ms": round(statistics.median(by_key), 1),
        "step_best_ms": round(min(by_key), 1),
        "click_ms": round(statistics.median(by_click), 1),
        "click_best_ms": round(min(by_click), 1),
        "server_processor_ms": round(1000 * taken / (2 * (steps + WARM_UP)), 1),
        "resident_mb": held["now"],
        "resident_peak_mb": held["peak"],
        "resident_without_study_mb": bare,
        "load_average": Path("/proc/loadavg").read_text().split()[0],
    }


def main() -> int:
    """Measures and prints; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unetq-") as name:
        write_study(Path(name))
        result = measure(Path(name), args.models, args.steps)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            print(f"{name:28s} {value}" + (f"   (must be under {TARGETS[name]:g})" if name in TARGETS else ""))
    return int(any(result[name] >= limit for name, limit in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
