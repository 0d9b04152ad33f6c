"""The files of a report, and the page as a reader opens it: offline."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.report.fake import CASES, Fake, fake_bench, fake_data, fake_run, four_runs, measure
from unetq.errors import UserError
from unetq.report.cases import detail, pick_cases
from unetq.report.plot import lowest, pareto_svg
from unetq.report.recommend import Limits
from unetq.report.report import ReportOptions, report
from unetq.report.tables import bench_table, rich_table
from unetq.report.words import show_bytes, show_ms
from unetq.spec import QuantSpec

NAMED_BY_THE_ISSUE = {
    *("run", "dataset", "quantizer", "wbits", "abits"),
    *("dice_mean", "dice_std", "bytes_nominal", "bytes_honest", "ms_median"),
}
FLOAT, W4A6 = QuantSpec.of("float"), QuantSpec.of("fixed", 4, 6)
VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """Collects what the tests ask for, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path, dict]:
    folder = tmp_path_factory.mktemp("report")
    runs = four_runs(folder)
    return runs, folder / "out", report(runs, folder / "out")


def test_files_and_keys(made: tuple[list[Path], Path, dict]) -> None:
    runs, out, result = made
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "pareto.svg",
        "runs.csv",
        "table.csv",
        "table.json",
    ]
    assert json.loads((out / "table.json").read_text(encoding="utf-8")) == result
    assert len(result["rows"]) == len(runs)
    assert not NAMED_BY_THE_ISSUE - set(result["rows"][0])
    with (out / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == ["float", "W4A6", "W2A2", "ternarynet"]
    assert float(lines[1]["dice_mean"]) == result["rows"][1]["dice_mean"]
    assert lines[0]["bytes_file"] == ""
    with (out / "runs.csv").open(newline="") as file:
        assert [line["run"] for line in csv.DictReader(file)] == [str(run) for run in runs]


def test_page_is_self_contained(made: tuple[list[Path], Path, dict]) -> None:
    _, out, _ = made
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1 + 4 * 3
    assert all(str(image["src"]).startswith("data:image/") and image["alt"] for image in images)
    assert set(re.findall(r"url\((.{5})", text)) == {"data:"}
    assert text.count("background-image") == 3, "an image of a case is in the page once"
    assert "not a medical device" in page.text


def test_every_number_leads_to_its_run(made: tuple[list[Path], Path, dict]) -> None:
    runs, out, _ = made
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    ids = {attributes.get("id") for _, attributes in page.tags}
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    files = [unquote(link) for link in links if not link.startswith("#")]
    assert all((out / file).exists() for file in files)
    for run in runs:
        assert any((out / file).resolve() == (run / "test.json").resolve() for file in files)
    assert page.text.count("0123456789ab") == len(runs)


def test_captions_have_the_dice_of_the_cases(made: tuple[list[Path], Path, dict]) -> None:
    _, out, _ = made
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    alts = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert f"float, best case {CASES[0]}: Dice 0.9500" in alts
    assert f"W2A2, median case {CASES[2]}: Dice 0.9240" in alts
    assert f"ternarynet, worst case {CASES[4]}: Dice 0.8860" in alts


def test_same_runs_same_bytes(made: tuple[list[Path], Path, dict]) -> None:
    runs, out, result = made
    first, second = (pareto_svg({"em": result["rows"]}) for _ in range(2))
    assert first == second == (out / "pareto.svg").read_text(encoding="utf-8")
    report(runs, out.parent / "again")
    assert (out.parent / "again/index.html").read_bytes() == (out / "index.html").read_bytes()


def test_names_are_escaped(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    evil = ["<script>alert(1)<", "a&b \"quoted' $x_1$"]
    runs = [fake_run(tmp_path / name, Fake(W4A6, data, seed=i, config={"lr": name})) for i, name in enumerate(evil)]
    report(runs, tmp_path / "out", ReportOptions(title="<b>title</b>"))
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text and "<b>title" not in text
    assert evil[0] in page.text and evil[1] in page.text
    console = Console(record=True, width=200, file=None)
    console.print(rich_table([{**row, "label": "[red]x"} for row in report(runs, tmp_path / "out")["rows"]]))
    assert "[red]x" in console.export_text()


def test_data_that_is_gone_becomes_a_sentence(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    run = fake_run(tmp_path / "run", Fake(W4A6, data, bench=fake_bench(33.0)))
    moved = data.rename(tmp_path / "moved")
    result = report([run], tmp_path / "out")
    assert "no longer at" in Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).text
    assert result["rows"][0]["ms_median"] == 33.0
    report([run], tmp_path / "out", ReportOptions(data={"em": moved}))
    assert "No overlays" not in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    (run / f"test_masks/{CASES[2]}.nii.gz").unlink()
    report([run], tmp_path / "out", ReportOptions(data={"em": moved}))
    assert "kept no mask" in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_three_data_sets_with_folds_and_seeds(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    runs = []
    for name in ("em", "gm", "mine"):
        for fold, cases in enumerate((CASES[:2], CASES[2:])):
            for seed in (0, 1):
                for quant, worse in ((QuantSpec.of("float"), 0.0), (W4A6, 0.02)):
                    fake = Fake(quant, data, worse + 0.001 * seed, None, seed, fold, name, cases)
                    runs.append(fake_run(tmp_path / f"runs/{name}-{quant.label}-{fold}-{seed}", fake))
    path = runs[-1] / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "n_empty": 2}))
    result = report(runs, tmp_path / "out", ReportOptions(limits=Limits(3.0, 0.3)))
    assert [(row["dataset"], row["label"], row["n_runs"], row["n_cases"]) for row in result["rows"]] == [
        (name, label, 4, 5) for name in ("em", "gm", "mine") for label in ("float", "W4A6")
    ]
    assert len(result["runs"]) == 24
    assert {row["dice_std_over"] for row in result["rows"]} == {"seeds"}
    assert result["rows"][1]["dice_delta"] == pytest.approx(-0.02)
    assert {name: advice["label"] for name, advice in result["recommended"].items()} == dict.fromkeys(
        ("em", "gm", "mine"), "W4A6"
    )
    page = Page((tmp_path / "out/index.html").read_text(encoding="utf-8"))
    assert all(f"Data set {name}" in page.text for name in ("em", "gm", "mine"))
    assert "The data sets side by side" in page.text and "± sd over seeds" in page.text
    assert page.text.count("2.21") == 1 and page.text.count("0.57") == 1
    assert "2 in W4A6" in page.text and "No run was timed" in page.text
    assert rich_table(result["rows"]).columns[0].header == "Data"


def test_classes_distances_and_v_rand_have_columns(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", Fake(W4A6, fake_data(tmp_path / "data")))
    test = json.loads((run / "test.json").read_text(encoding="utf-8"))
    distances = {case: 4e-5 if case != CASES[0] else None for case in CASES}
    one = {"dice": test["dice"], "hd95_mm": measure(distances), "volume_error": measure(dict.fromkeys(CASES, -0.125))}
    test |= {"classes": {"interior": one, "membrane": one}, "v_rand": measure(dict.fromkeys(CASES, 0.875))}
    (run / "test.json").write_text(json.dumps(test))
    (row,) = report([run], tmp_path / "out")["rows"]
    assert row["classes"]["membrane"]["hd95_mm"]["n"] == 4
    text = Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).text
    for words in ("Membrane: HD95", "40.0 nm (4 of 5)", "−12.5% ± 0.0%", "V_rand", "0.8750 ± 0.0000"):
        assert words in text
    with (tmp_path / "out/table.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["classes.membrane.volume_error.mean"]) == -0.125


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    runs = [
        fake_run(tmp_path / f"float{fold}", Fake(FLOAT, data, fold=fold, cases=CASES[fold : fold + 1]))
        for fold in (0, 1)
    ]
    runs.append(fake_run(tmp_path / "part", Fake(W4A6, data, cases=CASES[:1])))
    result = report(runs, tmp_path / "out")
    assert [row["label"] for row in result["rows"]] == ["float"]
    assert result["left_out"][0] in Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).text


def test_overlays_of_many_settings_are_few(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    quants = [FLOAT, *(QuantSpec.of("fixed", w, 6) for w in (8, 6, 4, 3, 2)), QuantSpec.of("ternarynet")]
    runs = [fake_run(tmp_path / quant.label, Fake(quant, data, 0.001 * i)) for i, quant in enumerate(quants)]
    report(runs, tmp_path / "out")
    alts = [
        str(a["alt"]) for tag, a in Page((tmp_path / "out/index.html").read_text(encoding="utf-8")).tags if tag == "img"
    ]
    assert {alt.split(",")[0] for alt in alts[1:]} == {"float", "W2A6", "W3A6", "W4A6", "ternarynet"}


def test_nothing_is_written_where_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        report([tmp_path / "none"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    run = fake_run(tmp_path / "run", Fake(W4A6, fake_data(tmp_path / "data")))
    with pytest.raises(UserError, match="Cannot make the folder"):
        report([run], tmp_path / "file")


def test_pick_cases() -> None:
    assert pick_cases({"a": 0.5}) == {"best": "a"}
    assert pick_cases({"a": 0.5, "b": 0.6}) == {"best": "b", "worst": "a"}
    assert pick_cases({"a": 0.5, "b": 0.5, "c": 0.5}) == {"best": "a", "median": "b", "worst": "c"}


def test_detail_is_a_square_about_a_small_label_within_the_slice() -> None:
    truth = np.zeros((300, 200), np.uint8)
    assert detail(truth) == (slice(0, 300), slice(0, 200))
    truth[290:300, 4:34] = 1
    assert detail(truth) == (slice(240, 300), slice(0, 60))
    truth[:, :] = 1
    assert detail(truth) == (slice(0, 300), slice(0, 200))


@given(st.lists(st.floats(0, 1), min_size=1))
def test_most_points_stay_in_the_plot(gains: list[float]) -> None:
    assert min(gains) <= lowest(gains) <= max(gains)
    assert sum(gain >= lowest(gains) for gain in gains) * 2 >= len(gains)


def test_words_for_numbers() -> None:
    assert [show_bytes(n) for n in (0, 999, 1023, 10_239, 2**20, 2**30)] == [
        *("0 B", "999 B", "1.00 KiB", "10.0 KiB", "1.00 MiB", "1.00 GiB")
    ]
    assert show_ms(None) == "–"


def test_bench_table() -> None:
    layers = [{"name": "enc0.conv1", "op": "conv", "kernel": "k3_vnni", "ms": 1.5, "gmacs": 80.0}]
    layers.append({"name": "pool0", "op": "maxpool", "kernel": "pool", "ms": 0.5, "gmacs": 0.0})
    console = Console(record=True, width=120, file=None)
    console.print(bench_table({**fake_bench(2.0), "gmacs": 60.0, "layers": layers}))
    text = console.export_text()
    assert "k3_vnni" in text and "75%" in text and "median 2.00 ms" in text
