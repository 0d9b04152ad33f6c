"""The page: one file, everything inline, no script; every word that a user chose is escaped."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from unetq.report.collect import RunRecord
from unetq.report.published import published_table
from unetq.report.recommend import Limits
from unetq.report.rows import Row
from unetq.report.sections import Section, data_section
from unetq.report.words import NONE, show_bytes, show_delta, show_dice

__all__ = ["data_uri", "head", "page"]

RUN_FILES = ("config.yaml", "environment.json", "val.json", "test.json", "test_masks", "bench.json", "model.gguf")
# More runs than this are listed on demand.
LISTED = 12


def page(title: str, sections: Sequence[Section], plot: str, limits: Limits, out: Path) -> str:
    """The whole HTML document.

    Args:
        title: heading of the page.
        sections: one a data set.
        plot: SVG of all data sets.
        limits: what the recommendations keep.
        out: folder of the page: links to runs are relative to it.
    """
    runs = [(setting.label, run) for section in sections for setting in section.settings for run in setting.runs]
    body, number = [], 1
    for section in sections:
        body.append(data_section(section, number))
        number += len(section.runs)
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''} on {', '.join(section.dataset for section in sections)}"
    return f"""{head(title)}
<body>
<header><div>
<p class="eyebrow">unetq report</p>
<h1>{escape(title)}</h1>
<p class="muted">{escape(count)}. Dice on held-out test cases against memory and latency.</p>
<p class="research">Research use only, not a medical device</p>
</div></header>
<main>
{_overview(sections, plot, limits)}
{"".join(body)}
<h2>Where each number comes from</h2>
<details{" open" if len(runs) <= LISTED else ""}><summary>{len(runs)} run{"s" * (len(runs) != 1)}</summary>
<div class="panel wide">{_provenance(runs, out)}</div></details>
<footer>Made by <code>unetq report</code> from the files above; <a href="table.csv">table.csv</a> (a line a setting),
<a href="runs.csv">runs.csv</a> (a line a run) and <a href="table.json">table.json</a> (both) hold the numbers in full
precision, <a href="pareto.svg">pareto.svg</a> the plot.</footer>
</main>
</body>
</html>
"""


def head(title: str, style: str = "") -> str:
    """The start of a page that loads nothing, up to its body; `style` is CSS beside the report's own."""
    common = (files("unetq.report") / "style.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
{common}{style}</style>
</head>"""


def data_uri(kind: str, content: bytes) -> str:
    """A file as the address of an image."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _overview(sections: Sequence[Section], plot: str, limits: Limits) -> str:
    """The recommendations, the plot, and where they are several the data sets side by side."""
    rows = [row for section in sections for row in section.rows]
    words = "; ".join(
        f"{row['dataset']} {row['label']}: {show_dice(row['dice_mean'])}, {show_bytes(row['bytes_honest'])}"
        for row in rows
    )
    several = len(sections) > 1
    advice = "".join(f"<li>{escape(section.advice.sentence)}</li>" for section in sections)
    return f"""<section>
<h2>Which setting</h2>
<p class="muted">Under the limits of this report (--max-loss, --max-memory): {escape(str(limits))}.</p>
<ul class="advice">{advice}</ul>
<div class="panel"><img class="plot" alt="Dice against memory and latency. {escape(words)}"
src="{data_uri("image/svg+xml", plot.encode())}"></div>
<p class="muted">Filled and joined: settings that no other setting beats in both directions. Diamond: timed in torch,
not in the native runtime. Triangle: off the
plot that way, with its number. Where there is no room, a label is left out.</p>
{_side_by_side(sections) if several else ""}
{published_table(rows)}
</section>
"""


def _side_by_side(sections: Sequence[Section]) -> str:
    """A line a setting, a column a data set."""
    labels = list(dict.fromkeys(row["label"] for section in sections for row in section.rows))
    found: Mapping[tuple[str, str], Row] = {(row["dataset"], row["label"]): row for s in sections for row in s.rows}
    lines = []
    for label in labels:
        cells = [f"<td>{escape(label)}</td>"]
        for section in sections:
            row = found.get((section.dataset, label))
            cells += [f"<td>{escape(text)}</td>" for text in (_cells(row) if row else (NONE,) * 3)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    top = "".join(f'<th colspan="3">{escape(section.dataset)}</th>' for section in sections)
    head = "<th>Dice</th><th>Difference</th><th>Honest</th>" * len(sections)
    return f"""<h3>The data sets side by side</h3>
<div class="panel wide"><table><thead><tr><th></th>{top}</tr><tr><th>Setting</th>{head}</tr></thead>
<tbody>{"".join(lines)}</tbody></table></div>
"""


def _cells(row: Row) -> tuple[str, str, str]:
    return (
        show_dice(row["dice_mean"], row["dice_std"]),
        show_delta(row["dice_delta"]),
        show_bytes(row["bytes_honest"]),
    )


def _provenance(runs: Sequence[tuple[str, RunRecord]], out: Path) -> str:
    lines = []
    for number, (label, run) in enumerate(runs, 1):
        base = Path(os.path.relpath(run.folder.resolve(), out.resolve())).as_posix()
        links = " ".join(_link(f"{base}/{name}", name) for name in RUN_FILES if (run.folder / name).exists())
        about: Mapping[str, object] = {
            "fold": run.fold,
            "seed": run.seed,
            "dice": f"{run.test['dice']['mean']:.4f}",
            "commit": run.environment.get("commit"),
            "data": run.data_hash,
            "engine": run.test["engine"],
            "openings": run.test_openings,
        }
        cells = "".join(f"<td><code>{escape(_short(value))}</code></td>" for value in about.values())
        name = f"{number}. {escape(label)}<br>{_link(base, base)}"
        lines.append(f'<tr id="run-{number}"><td>{name}</td><td class="files">{links}</td>{cells}</tr>')
    names = ("Run", "Files", "Fold", "Seed", "Dice", "Commit", "Data hash", "Engine", "Test scored, times")
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<table class="left"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(quote(path))}">{escape(text)}</a>'


def _short(value: object) -> str:
    """A hash by its first twelve digits; a dash for nothing."""
    text = NONE if value is None else str(value)
    digits, *rest = text.split("-", 1)
    return "-".join([digits[:12], *rest]) if len(digits) >= 40 and set(digits) <= set("0123456789abcdef") else text
