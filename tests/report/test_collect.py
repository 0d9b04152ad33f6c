"""Run folders become rows; what cannot be compared is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.report.fake import CASES, fake_data, fake_run, four_runs
from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.report.collect import collect, image_size, reference_of, rows_of
from unetq.spec import NetSpec, QuantSpec

W4A6 = QuantSpec.of("fixed", 4, 6)


def change(path: Path, edit: Callable[[dict], None]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return four_runs(tmp_path_factory.mktemp("report"))


def test_rows_hold_the_numbers_of_the_folders(runs: list[Path]) -> None:
    rows = rows_of(collect(runs))
    assert [row["label"] for row in rows] == ["float", "W4A6", "W2A2", "ternarynet"]
    assert [row["quantizer"] for row in rows] == ["float", "fixed", "fixed", "ternarynet"]
    assert [(row["wbits"], row["abits"]) for row in rows] == [(32, 32), (4, 6), (2, 2), (2, 2)]
    cost = net_cost(layout(NetSpec(quant=W4A6)), (512, 512))
    row = rows[1]
    assert row["run"] == str(runs[1])
    assert (row["bytes_nominal"], row["bytes_honest"]) == (cost.bytes_nominal, cost.bytes_honest)
    assert row["peak_activation_bytes"] == cost.peak_activation_bytes
    assert row["bytes_file"] == (runs[1] / "model.gguf").stat().st_size
    assert (row["ms_median"], row["isa"], row["threads"], row["peak_rss_bytes"]) == (33.0, "avx512vnni", 1, 50_000_000)
    assert (row["dataset"], row["split"], row["n_cases"], row["n_empty"], row["seed"]) == ("em", "test", 5, 0, 3)
    assert row["dice_mean"] == pytest.approx(0.929)
    assert row["dice_delta"] == pytest.approx(-0.001)
    assert rows[0]["dice_delta"] is None
    assert rows[0]["bytes_file"] is None


def test_reference_is_the_float_run_else_the_first(runs: list[Path]) -> None:
    records = collect([runs[2], runs[0]])
    assert reference_of(records).label == "float"
    assert reference_of(collect(runs[1:])).label == "W4A6"


def test_not_measured_is_none(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", W4A6, tmp_path)
    (run / "model.gguf").unlink()
    (run / "environment.json").unlink()
    (row,) = rows_of(collect([run]))
    assert all(row[key] is None for key in ("ms_median", "peak_rss_bytes", "bytes_file", "isa", "commit"))


def test_two_runs_of_one_setting_get_names_of_their_own(tmp_path: Path) -> None:
    data = fake_data(tmp_path / "data")
    runs = [fake_run(tmp_path / name, W4A6, data) for name in ("seed0", "seed1")]
    assert [record.label for record in collect(runs)] == ["W4A6 (seed0)", "W4A6 (seed1)"]


def test_other_cases_or_images_are_refused(tmp_path: Path) -> None:
    a, b = (fake_run(tmp_path / name, W4A6, tmp_path) for name in "ab")
    change(b / "environment.json", lambda e: e["data"].update(hash="cd" * 32))
    with pytest.raises(UserError, match="different images of em"):
        collect([a, b])
    change(b / "test.json", lambda t: t["dice"]["per_case"].pop(CASES[0]))
    with pytest.raises(UserError, match="different cases of em"):
        collect([a, b])
    change(b / "test.json", lambda t: t.update(dataset="gm"))
    assert [record.dataset for record in collect([a, b])] == ["em", "gm"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.yaml", None, "not a run folder"),
        ("config.yaml", "net: {bass: 4}", 'did you mean "base"'),
        ("test.json", None, "unetq evaluate"),
        ("test.json", "{", "Cannot read"),
        ("test.json", "[]", "JSON object"),
        ("test.json", '{"dataset": "em"}', "lacks split"),
        ("bench.json", '{"size": "512"}', "height x width"),
    ],
)
def test_damaged_folders_are_one_sentence(name: str, content: str | None, words: str, tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", W4A6, tmp_path)
    (run / name).write_text(content) if content is not None else (run / name).unlink()
    with pytest.raises(UserError, match=words) as caught:
        rows_of(collect([run]))
    assert "\n" not in str(caught.value)


def test_no_run_and_a_run_named_twice(runs: list[Path]) -> None:
    with pytest.raises(UserError, match="at least one"):
        collect([])
    with pytest.raises(UserError, match="named twice"):
        collect([runs[0], runs[0] / "."])


def test_mixed_quantizers_have_both_names(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", QuantSpec("float", "fixed", 32, 8), tmp_path)
    assert yaml.safe_load((run / "config.yaml").read_text())["net"]["quant"]["weights"] == "float"
    assert rows_of(collect([run]))[0]["quantizer"] == "float/fixed"


@pytest.mark.parametrize("size", ["512x384", [512, 384], "512 x 384"])
def test_image_size(size: object) -> None:
    assert image_size({"size": size}) == (512, 384)
    assert image_size({}) == (512, 512)
