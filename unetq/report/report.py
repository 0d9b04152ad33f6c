"""`unetq report`: run folders in, table.csv, runs.csv, table.json, pareto.svg and index.html out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unetq.files import atomic_text, make_folder
from unetq.report.collect import RunRecord, collect, group_by_dataset
from unetq.report.html import page
from unetq.report.overlays import overlays_of
from unetq.report.plot import pareto_svg
from unetq.report.pool import Setting, reference_of, settings_of, whole
from unetq.report.published import published_rows
from unetq.report.recommend import Limits, front, recommend
from unetq.report.rows import Row, row_of, run_rows
from unetq.report.sections import Section
from unetq.report.tables import csv_text

__all__ = ["ReportOptions", "report"]

# More settings than this in the overlays would make the page long and heavy.
SHOWN = 5


@dataclass(frozen=True)
class ReportOptions:
    """Choices of a report.

    Attributes:
        title: heading of the page.
        data: data set -> prepared data folder with the test images, in place of the one that its runs recorded.
        limits: what a recommended setting may cost.
    """

    title: str = "Quantized U-Nets: Dice, memory and latency"
    data: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def report(runs: Sequence[Path], out: Path, options: ReportOptions | None = None) -> dict[str, Any]:
    """Pools runs over folds and seeds and writes table.csv, runs.csv, table.json, pareto.svg and the self-contained index.html.

    Nothing is trained, exported or timed here: what a run folder lacks (model.gguf, bench.json) is a dash in the table.

    Returns:
        {"rows": one a setting (`unetq.report.rows.row_of`), "runs": one a run, "recommended": {data set: {label, sentence}},
        "left_out": sentences on settings that were not tested on all cases}.

    Raises:
        UserError: a folder is no scored run, two runs cannot be compared, or `out` cannot be written.
    """
    options = options or ReportOptions()
    groups = group_by_dataset(collect(runs))
    sections = [_section(name, group, f"d{i}", options) for i, (name, group) in enumerate(groups.items())]
    plot = pareto_svg({section.dataset: section.rows for section in sections})
    result: dict[str, Any] = {
        "rows": [row for section in sections for row in section.rows],
        "runs": [row for s in sections for setting in s.settings for row in run_rows(setting, s.reference)],
        "recommended": {s.dataset: {"label": s.advice.label, "sentence": s.advice.sentence} for s in sections},
        "left_out": [sentence for section in sections for sentence in section.left_out],
    }
    text = page(options.title, sections, plot, options.limits, out)
    make_folder(out)
    atomic_text(out / "table.csv", csv_text(result["rows"]))
    atomic_text(out / "runs.csv", csv_text(result["runs"]))
    atomic_text(out / "table.json", json.dumps(result, indent=1) + "\n")
    atomic_text(out / "pareto.svg", plot)
    atomic_text(out / "index.html", text)
    return result


def _section(dataset: str, group: Sequence[RunRecord], key: str, options: ReportOptions) -> Section:
    settings, left_out = whole(settings_of(group))
    reference = reference_of(settings)
    rows = [row_of(setting, reference) for setting in settings]
    advice = recommend(rows, reference.label, options.limits)
    shown = _shown(settings, rows, {reference.label, advice.label})
    overlays = overlays_of(shown, reference, options.data.get(dataset), key)
    return Section(dataset, settings, rows, reference, advice, overlays, left_out)


def _shown(settings: Sequence[Setting], rows: Sequence[Row], wanted: set[str | None]) -> list[Setting]:
    """The settings of the overlays: reference, recommendation, the paper's, TernaryNet, then the front, the smallest first."""
    if len(settings) <= SHOWN:
        return list(settings)
    order = [row["label"] for row in rows if row["label"] in wanted]
    order += [row["label"] for row in published_rows(rows)[:1]]
    order += [row["label"] for row in rows if row["quantizer"] == "ternarynet"][:1]
    order += [rows[i]["label"] for i in front([(row["bytes_honest"], row["dice_mean"]) for row in rows])]
    kept = list(dict.fromkeys(order))[:SHOWN]
    return [setting for setting in settings if setting.label in kept]
