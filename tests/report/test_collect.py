"""Run folders are read; what cannot be compared is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.report.fake import CASES, Fake, fake_bench, fake_run, four_runs
from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.report.collect import collect
from unetq.report.pool import reference_of, settings_of
from unetq.report.rows import Row, image_size, row_of
from unetq.spec import NetSpec, QuantSpec

W4A6 = QuantSpec.of("fixed", 4, 6)


def change(path: Path, edit: Callable[[dict], None]) -> None:
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def rows(*runs: Path) -> list[Row]:
    settings = settings_of(collect(runs))
    return [row_of(setting, reference_of(settings)) for setting in settings]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return four_runs(tmp_path_factory.mktemp("report"))


def test_rows_hold_the_numbers_of_the_folders(runs: list[Path]) -> None:
    found = rows(*runs)
    assert [row["label"] for row in found] == ["float", "W4A6", "W2A2", "ternarynet"]
    assert [row["quantizer"] for row in found] == ["float", "fixed", "fixed", "ternarynet"]
    assert [(row["wbits"], row["abits"]) for row in found] == [(32, 32), (4, 6), (2, 2), (2, 2)]
    cost = net_cost(layout(NetSpec(quant=W4A6)), (512, 512))
    row = found[1]
    assert row["run"] == str(runs[1])
    assert (row["bytes_nominal"], row["bytes_honest"]) == (cost.bytes_nominal, cost.bytes_honest)
    assert row["peak_activation_bytes"] == cost.peak_activation_bytes
    assert row["bytes_file"] == (runs[1] / "model.gguf").stat().st_size
    assert (row["ms_median"], row["isa"], row["threads"], row["peak_rss_bytes"]) == (33.0, "avx512vnni", 1, 50_000_000)
    assert (row["dataset"], row["split"], row["n_cases"], row["n_empty"], row["seeds"]) == ("em", "test", 5, 0, [3])
    assert row["dice_mean"] == pytest.approx(0.929)
    assert row["dice_delta"] == pytest.approx(-0.001)
    assert row["val_delta"] == pytest.approx(-0.001)
    assert found[0]["dice_delta"] is None
    assert found[0]["bytes_file"] is None


def test_not_measured_is_none(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", Fake(W4A6, tmp_path))
    for name in ("model.gguf", "environment.json", "val.json"):
        (run / name).unlink()
    (row,) = rows(run)
    assert all(row[key] is None for key in ("ms_median", "peak_rss_bytes", "bytes_file", "isa", "val_delta", "v_rand"))
    assert row["classes"] == {}


def test_cost_is_the_median_of_runs_that_were_timed_alike(tmp_path: Path) -> None:
    benches = [fake_bench(30.0), fake_bench(40.0), fake_bench(32.0), fake_bench(9.0, "amx"), None]
    runs = [
        fake_run(tmp_path / str(seed), Fake(W4A6, tmp_path, 0.0, bench, seed)) for seed, bench in enumerate(benches)
    ]
    (row,) = rows(*runs)
    assert (row["ms_median"], row["isa"], row["n_runs"]) == (32.0, "avx512vnni", 5)


def test_other_cases_or_images_of_one_fold_are_refused(tmp_path: Path) -> None:
    a, b = (fake_run(tmp_path / str(seed), Fake(W4A6, tmp_path, seed=seed)) for seed in (0, 1))
    change(b / "environment.json", lambda e: e["data"].update(hash="cd" * 32))
    with pytest.raises(UserError, match="different images of em"):
        collect([a, b])
    change(b / "test.json", lambda t: t["dice"]["per_case"].pop(CASES[0]))
    with pytest.raises(UserError, match="different cases of em"):
        collect([a, b])
    change(b / "test.json", lambda t: t.update(fold=1))
    assert [record.fold for record in collect([a, b])] == [0, 1]
    change(b / "test.json", lambda t: t.update(fold=0, dataset="gm"))
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
    run = fake_run(tmp_path / "run", Fake(W4A6, tmp_path))
    (run / name).write_text(content) if content is not None else (run / name).unlink()
    with pytest.raises(UserError, match=words) as caught:
        rows(run)
    assert "\n" not in str(caught.value)


def test_no_run_and_a_run_named_twice(runs: list[Path]) -> None:
    with pytest.raises(UserError, match="at least one"):
        collect([])
    with pytest.raises(UserError, match="named twice"):
        collect([runs[0], runs[0] / "."])


def test_mixed_quantizers_have_both_names(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", Fake(QuantSpec("float", "fixed", 32, 8), tmp_path))
    assert yaml.safe_load((run / "config.yaml").read_text())["net"]["quant"]["weights"] == "float"
    assert rows(run)[0]["quantizer"] == "float/fixed"


@pytest.mark.parametrize("size", ["512x384", [512, 384], "512 x 384"])
def test_image_size(size: object) -> None:
    assert image_size({"size": size}) == (512, 384)
    assert image_size({}) == (512, 512)
