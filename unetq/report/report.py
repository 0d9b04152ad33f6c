"""`unetq report`: run folders in, table.csv, table.json and index.html out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetq.files import atomic_text, make_folder
from unetq.report.collect import collect, group_by_dataset, reference_of, rows_of
from unetq.report.html import Section, page
from unetq.report.overlays import overlays_of
from unetq.report.tables import csv_text

__all__ = ["ReportOptions", "report"]


@dataclass(frozen=True)
class ReportOptions:
    """Choices of a report.

    Attributes:
        title: heading of the page.
        data: prepared data folder with the test images, in place of the one that the runs recorded.
    """

    title: str = "Quantized U-Nets: Dice, memory and latency"
    data: Path | None = None


def report(runs: Sequence[Path], out: Path, options: ReportOptions | None = None) -> dict[str, Any]:
    """Writes table.csv, table.json and the self-contained index.html into `out`.

    Nothing is trained, exported or timed here: what a run folder lacks (model.gguf, bench.json) is a dash in the table.

    Returns:
        {"rows": [{run, label, dataset, quantizer, wbits, abits, dice_mean, dice_std, bytes_nominal, bytes_honest,
        ms_median, ...}]} (`unetq.report.collect.row_of`).

    Raises:
        UserError: a folder is no scored run, two runs cannot be compared, or `out` cannot be written.
    """
    options = options or ReportOptions()
    records = collect(runs)
    sections = []
    for index, (dataset, group) in enumerate(group_by_dataset(records).items()):
        reference = reference_of(group)
        overlays = overlays_of(group, reference, options.data, f"d{index}")
        sections.append(Section(dataset, group, rows_of(group), reference, overlays))
    rows = [row for section in sections for row in section.rows]
    result = {"rows": rows}
    text = page(options.title, sections, out)
    make_folder(out)
    atomic_text(out / "table.csv", csv_text(rows))
    atomic_text(out / "table.json", json.dumps(result, indent=1) + "\n")
    atomic_text(out / "index.html", text)
    return result
