"""The report's points and a study's report, as numbers and as pages."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zlib
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.app.made import Made, make
from tests.app.test_viewer import button, finished, opened, words
from tests.report import fake
from unetq.app.bench import Bench
from unetq.app.card import card_of
from unetq.app.inference import Results, segment
from unetq.app.letters import Typeface, typeface_for
from unetq.app.pdf import pdf
from unetq.app.planes import Grid
from unetq.app.quality import Review
from unetq.app.render import Display
from unetq.app.scene import Look
from unetq.app.sheet import Sheet, sheet
from unetq.app.study import open_study
from unetq.app.tradeoff import cases_of, find_reports, open_case, points, read_report
from unetq.errors import UserError
from unetq.report.recommend import front
from unetq.report.report import report
from unetq.runtime.meta import Label


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("tradeoff"))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three made-up runs."""
    folder = tmp_path_factory.mktemp("report")
    report(fake.four_runs(folder), folder / "out")
    return folder / "out/table.json"


def test_points_are_the_rows_of_the_report(reported: Path) -> None:
    assert find_reports([reported.parent.parent, reported.parent]) == [reported.resolve()]
    found = read_report(reported)
    dataset = found["rows"][0]["dataset"]
    shown = points(found, dataset, "Memory of the parameters")
    rows = [row for row in found["rows"] if row["dataset"] == dataset]
    assert [(p["setting"], p["dice"], p["cost"] * 1024) for p in shown] == [
        (row["label"], row["dice_mean"], pytest.approx(row["bytes_honest"])) for row in rows
    ]
    best = front([(row["bytes_honest"], row["dice_mean"]) for row in rows])
    assert [i for i, p in enumerate(shown) if p["best"] == "on the front"] == sorted(best)


def test_a_point_opens_its_cases_the_worst_first(reported: Path) -> None:
    found = read_report(reported)
    row = found["rows"][0]
    cases = cases_of(found, row["dataset"], row["label"], reported.parent)
    run = next(run for run in found["runs"] if run["label"] == row["label"])
    said = json.loads((Path(run["run"]) / "test.json").read_text())["dice"]["per_case"]
    assert cases == pytest.approx(said) and list(cases.values()) == sorted(cases.values())
    assert cases_of({"runs": [{**run, "run": "gone"}]}, row["dataset"], row["label"], reported.parent) == {}
    beside = {**run, "run": str(Path(run["run"]).relative_to(reported.parent.parent))}
    assert cases_of({"runs": [beside]}, row["dataset"], row["label"], reported.parent) == cases, "started elsewhere"


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}]}', '{"rows": 3}'])
def test_another_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(UserError, match="unetq report"):
        read_report(tmp_path / "table.json")


def test_the_tradeoff_page(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    testing = pytest.importorskip("streamlit.testing.v1")
    import unetq.app.main

    words = ["main.py", "--models", str(reported.parent), "--root", str(tmp_path), "--store", str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", words)
    page = testing.AppTest.from_file(str(unetq.app.main.__file__), default_timeout=60).run()
    page.switch_page("page_tradeoff.py").run()
    assert not page.exception and not page.error
    setting = next(box for box in page.selectbox if box.label == "Setting")
    assert setting.options == [row["label"] for row in read_report(reported)["rows"]]
    setting.set_value(setting.options[-1]).run()
    assert not page.exception and setting.options[-1] in "".join(m.value for m in page.markdown)
    assert len(page.dataframe[0].value) == len(cases_of(read_report(reported), "em", setting.options[-1], tmp_path))


def listed(page: Any) -> Any:
    """The page, whose lists hold the chosen path, too: AppTest knows no word for another one."""
    for key in ("study_path", "truth_path"):
        field = page.selectbox(key=key)
        field.options += [] if field.value in field.options else [field.value]
    return page


def real_case(reported: Path, made: Made) -> tuple[Path, str]:
    """The first run of the report gets a model and a data folder that holds its worst case; the run and the case."""
    found = read_report(reported)
    run = Path(next(run for run in found["runs"] if run["label"] == found["rows"][0]["label"])["run"])
    case = next(iter(cases_of(found, "em", found["rows"][0]["label"], reported.parent)))
    data = made.nifti.parent / ".prepared"
    for source, folder, name in ((made.nifti, "imagesTr", f"{case}_0000"), (made.truth, "labelsTr", case)):
        (data / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(source, data / folder / f"{name}.nii.gz")
    (run / "environment.json").write_text(json.dumps({"data": {"folder": str(data)}}))
    shutil.copy(made.models[0], run / "model.gguf")
    return run, case


def test_a_case_opens_with_its_truth_and_its_model(
    reported: Path, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, case = real_case(reported, made)
    found = read_report(reported)
    label = found["rows"][0]["label"]
    assert open_case(found, "em", label, tmp_path, "none") is None
    page = opened(
        monkeypatch,
        *("--models", reported.parent, "--models", run, "--root", made.nifti.parent, "--store", tmp_path / "store"),
    )
    page.switch_page("page_tradeoff.py").run()
    next(box for box in page.selectbox if box.label == "Setting").set_value(label).run()
    assert next(box for box in page.selectbox if box.label == "Case").value == case
    button(page, "Open this case").click().run()
    assert not page.exception and not page.error
    assert f"{case}_0000.nii.gz" in words(page), "on the study's page"
    listed(page).switch_page("page_study.py").run()  # AppTest does not stay on a page that another has switched to
    assert not page.exception and not page.error and page.pills(key="models").value == [run.name]
    button(listed(page), "Segment").click().run()
    finished(listed(page))
    assert "Dice, study" in words(page) and run.name in words(page), "and its truth is there"


class Page(HTMLParser):
    """Sources and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def sheet_of(made: Made, nameless: bool) -> Sheet:
    study = open_study(made.nifti, "<Muster & Max>.nii.gz")
    results = {"W4A6": segment(made.models[0], study, Results())}
    bench = Bench(study, {"W4A6": made.models[0]}, results, {"W4A6": results["W4A6"].mask}, (Label("cell"),))
    look = Look("Overlay: W4A6", Grid(study.volume).planes, (1, 4, 5), Display(*study.window))
    review = Review("2026-01-01T10:00:00+00:00", "anna", study.hash, study.name, "W4A6", "pass", "<script>x</script>")
    lines = {"": ["W4A6"], "Cell": [], "Volume\u200b": ["3 ml"], "Volume error\u200b": ["\u22121.5%"]}
    return Sheet(bench, look, lines, ["In W4A6 the cell touches ..."], [review], "anna", nameless)


@pytest.mark.parametrize("nameless", [False, True])
def test_a_study_s_report_is_one_page_that_loads_nothing(made: Made, nameless: bool) -> None:
    about = sheet_of(made, nameless)
    study, text = about.bench.study, sheet(about)
    page = Page()
    page.feed(text)
    assert "script" not in page.tags and text.count("<script") == 0
    assert len(page.sources) == 3 and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "Research use only, not a medical device" in text and "default-src 'none'" in text
    assert ("Muster &amp; Max" in text) == (not nameless) and ("anna" in text) == (not nameless)
    for part in ("3 ml", "touches", study.hash, card_of(made.models[0])["Hash"], "R left, L right, A up"):
        assert part in text
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize("nameless", [False, True])
def test_the_same_report_as_a_pdf_of_one_page(made: Made, nameless: bool) -> None:
    pytest.importorskip("fpdf")
    about = sheet_of(made, nameless)
    made_pdf = pdf(about)
    assert made_pdf.startswith(b"%PDF-") and len(re.findall(rb"/Type /Page\b", made_pdf)) == 1
    assert len(re.findall(rb"/Subtype /Image", made_pdf)) == 3
    text = b""
    for stream in re.findall(rb"stream\n(.*?)\nendstream", made_pdf, re.DOTALL):
        with suppress(zlib.error):
            text += zlib.decompress(stream)
    for part in ("Research use only, not a medical device", "3 ml", "-1.5%", "touches", about.bench.study.hash):
        assert part.encode() in text
    assert card_of(made.models[0])["Hash"].encode() in text and b"R left, L right" in text.replace(b"\\", b"")
    assert (b"Muster & Max" in text) == (not nameless) and (b"anna" in text) == (not nameless)


NAMES = "Łukasz Żółć, Жуков, Δημήτρης"


def pdf_text(content: bytes) -> str:
    """Characters that a PDF's fonts are said to write (their ToUnicode tables)."""
    found = set()
    for stream in re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL):
        with suppress(zlib.error):
            stream = zlib.decompress(stream)
        if b"begincmap" in stream:
            found |= {int(code, 16) for code in re.findall(rb"<[0-9A-Fa-f]+> <([0-9A-Fa-f]{4})>", stream)}
    return "".join(map(chr, sorted(found)))


def test_names_from_everywhere_print(made: Made) -> None:
    pytest.importorskip("fpdf")
    about = replace(sheet_of(made, False), user=NAMES)
    if typeface_for(NAMES).lacking:
        pytest.skip("needs a font of many alphabets, as matplotlib brings it")
    assert typeface_for("Müller − 3 µm") == Typeface(), "the PDF's own fonts are enough"
    content = pdf(about)
    assert set(NAMES) - {" "} <= set(pdf_text(content)) and len(content) < 1_000_000
    assert len(re.findall(rb"/Type /Page\b", content)) == 1


def test_a_letter_that_no_font_has_is_named(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fpdf")
    monkeypatch.setattr("unetq.app.letters._fonts", lambda: iter([made.nifti]))
    face = typeface_for("Жук")
    assert face.lacking == set("Жук") and face.text("Жук 3") == "??? 3"
    content = pdf(replace(sheet_of(made, False), user="Жук"))
    text = b"".join(
        zlib.decompress(stream)
        for stream in re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL)
        if stream[:1] == b"x"
    )
    assert b"Made for ???" in text and b"question mark" in text
