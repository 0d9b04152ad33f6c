"""The page: one file, everything inline, no script; every word that a user chose is escaped."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from unetq.report.collect import Row, RunRecord
from unetq.report.figures import front, pareto_svg
from unetq.report.overlays import Overlays, overlay_section
from unetq.report.tables import COLUMNS, show_bytes, show_dice, show_ms

__all__ = ["Section", "page"]

RUN_FILES = ("config.yaml", "environment.json", "test.json", "test_masks", "bench.json", "model.gguf")
# Heading of COLUMNS -> what the reader finds under it.
MEANING = {
    "Difference": "mean difference of Dice to the reference run, case by case",
    "Nominal": "every parameter at its layer's width",
    "Honest": "what the weights take in the file: packed codes and two float32 a channel",
    "Smaller": "float32 bytes of all parameters / honest bytes",
    "File": "the whole model file",
    "Activations": "largest sum of tensors alive at once, one byte a code (four in float)",
    "Peak RSS": "peak resident memory of a fresh process",
    "Latency": "median time of one image",
}


@dataclass(frozen=True)
class Section:
    """One data set of the page: its runs and rows in one order, the run that all are compared with, its overlays."""

    dataset: str
    runs: Sequence[RunRecord]
    rows: Sequence[Row]
    reference: RunRecord
    overlays: Overlays


def page(title: str, sections: Sequence[Section], out: Path, first: int = 1) -> str:
    """The whole HTML document.

    Args:
        title: heading of the page.
        sections: one a data set.
        out: folder of the page: links to runs are relative to it.
        first: number of the first run in the footnotes.
    """
    style = (files("unetq.report") / "style.css").read_text(encoding="utf-8")
    runs = [run for section in sections for run in section.runs]
    body, number = [], first
    for section in sections:
        body.append(_section(section, number))
        number += len(section.runs)
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''} on {', '.join(section.dataset for section in sections)}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><div>
<p class="eyebrow">unetq report</p>
<h1>{escape(title)}</h1>
<p class="muted">{escape(count)}. Dice on held-out test cases against memory and latency.</p>
<p class="research">Research use only, not a medical device</p>
</div></header>
<main>
{"".join(body)}
<h2>Where each number comes from</h2>
<div class="panel wide">{_provenance(runs, out, first)}</div>
<footer>Made by <code>unetq report</code> from the files above; <a href="table.csv">table.csv</a> and
<a href="table.json">table.json</a> hold the same numbers in full precision.</footer>
</main>
</body>
</html>
"""


def data_uri(kind: str, content: bytes) -> str:
    """A file as the address of an image."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _section(section: Section, number: int) -> str:
    test = section.reference.test
    cases = f"{test['n_cases']} case{'s' if test['n_cases'] != 1 else ''}"
    unseen = ", seen by no training and no choice of checkpoint" if test["split"] == "test" else ""
    plot = data_uri("image/svg+xml", pareto_svg(section.rows).encode())
    words = "; ".join(
        f"{row['label']}: {show_dice(row['dice_mean'])}, {show_bytes(row['bytes_honest'])}" for row in section.rows
    )
    return f"""<section>
<h2>Data set {escape(section.dataset)}</h2>
<p class="muted">Split {escape(str(test["split"]))}, {cases}{unseen}. Reference: {escape(section.reference.label)}.</p>
{_cards(section)}
<div class="panel wide">{_table(section, number)}</div>
<div class="panel"><img class="plot" alt="Dice against memory and latency. {escape(words)}" src="{plot}"></div>
<p class="muted">Filled and joined: settings that no other setting beats in both directions. Diamond: timed in torch,
not in the native runtime.</p>
{overlay_section(section.overlays)}
{_case_table(section)}
<h3>Notes</h3>
<ul class="notes">{"".join(f"<li>{note}</li>" for note in _notes(section))}</ul>
</section>
"""


def _cards(section: Section) -> str:
    """The three answers that a reader looks for first."""
    rows = section.rows
    reference = next(row for row in rows if row["run"] == str(section.reference.folder))
    best = max(rows, key=lambda row: row["dice_mean"])
    near = [row for row in rows if row["dice_mean"] >= reference["dice_mean"] - 0.01]
    small = min(near, key=lambda row: row["bytes_honest"])
    ratio = small["bytes_float32"] / small["bytes_honest"]
    cards = [
        ("Best Dice", best["label"], f"Dice {show_dice(best['dice_mean'], best['dice_std'])}"),
        (
            f"Smallest within 0.01 Dice of {reference['label']}",
            small["label"],
            f"{show_bytes(small['bytes_honest'])}, 1/{ratio:.1f} of float32; Dice {show_dice(small['dice_mean'])}",
        ),
    ]
    native = [row for row in rows if row["ms_median"] and row["isa"] != "torch"]
    if native:
        fast = min(native, key=lambda row: row["ms_median"])
        size = f"{fast['size']}, {fast['isa']}, {fast['threads']} thread{'s' if fast['threads'] != 1 else ''}"
        cards.append(("Fastest in the native runtime", fast["label"], f"{show_ms(fast['ms_median'])} ({size})"))
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _card(name: str, value: str, text: str) -> str:
    lines = f'<p class="name">{escape(name)}</p><p class="value">{escape(value)}</p><p class="muted">{escape(text)}</p>'
    return f'<div class="card">{lines}</div>'


def _table(section: Section, number: int) -> str:
    best = front([(row["bytes_honest"], row["dice_mean"]) for row in section.rows])
    top = max(row["dice_mean"] for row in section.rows)
    lines = []
    for index, row in enumerate(section.rows):
        cells = []
        for heading, show in COLUMNS.items():
            text = escape(show(row))
            if heading == "Setting":
                text = f'<strong>{text}</strong> <sup><a href="#run-{number + index}">{number + index}</a></sup>'
            if heading.startswith("Dice") and row["dice_mean"] == top:
                text = f"<strong>{text}</strong>"
            if heading == "Latency" and row["isa"]:
                text += f'<span class="tag">{escape(str(row["isa"]))}</span>'
            cells.append(f"<td>{text}</td>")
        lines.append(f"<tr{' class=front' if index in best else ''}>{''.join(cells)}</tr>")
    head = "".join(f'<th title="{escape(MEANING.get(name, ""))}">{escape(name)}</th>' for name in COLUMNS)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _case_table(section: Section) -> str:
    head = "".join(f"<th>{escape(run.label)}</th>" for run in section.runs)
    lines = [
        f"<tr><td>{escape(case)}</td>{''.join(f'<td>{run.per_case[case]:.4f}</td>' for run in section.runs)}</tr>"
        for case in section.reference.per_case
    ]
    table = f"<table><thead><tr><th>Case</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<details><summary>Dice of every case</summary><div class="panel wide">{table}</div></details>'


def _notes(section: Section) -> list[str]:
    notes = [f"<b>{escape(name)}</b>: {escape(meaning)}." for name, meaning in MEANING.items()]
    timed = sorted({f"{r['size']} with {r['threads']} thread(s) on {r['isa']}" for r in section.rows if r["ms_median"]})
    notes.append(f"Timed at {escape('; '.join(timed))}." if timed else "No run was timed.")
    empty = {row["label"]: row["n_empty"] for row in section.rows if row["n_empty"]}
    if empty:
        counts = ", ".join(f"{n} in {label}" for label, n in empty.items())
        notes.append(f"Empty cases (label in neither truth nor prediction; counted as Dice 1): {escape(counts)}.")
    else:
        notes.append("No test case was empty (an empty truth that is predicted empty would count as Dice 1).")
    notes.append("± is the standard deviation over the test cases of one training; it is not the spread over seeds.")
    return notes


def _provenance(runs: Sequence[RunRecord], out: Path, first: int) -> str:
    lines = []
    for number, run in enumerate(runs, first):
        base = Path(os.path.relpath(run.folder.resolve(), out.resolve())).as_posix()
        links = " ".join(_link(f"{base}/{name}", name) for name in RUN_FILES if (run.folder / name).exists())
        about: Mapping[str, object] = {
            "commit": run.environment.get("commit"),
            "seed": run.seed,
            "data": run.data_hash,
            "engine": run.test["engine"],
            "openings": run.test_openings,
        }
        cells = "".join(f"<td><code>{escape(_short(value))}</code></td>" for value in about.values())
        name = f"{number}. {escape(run.label)}<br>{_link(base, base)}"
        lines.append(f'<tr id="run-{number}"><td>{name}</td><td class="files">{links}</td>{cells}</tr>')
    head = "".join(
        f"<th>{name}</th>" for name in ("Run", "Files", "Commit", "Seed", "Data hash", "Engine", "Test scored, times")
    )
    return f'<table class="left"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(quote(path))}">{escape(text)}</a>'


def _short(value: object) -> str:
    """A hash by its first twelve digits; a dash for nothing."""
    text = "–" if value is None else str(value)
    digits, *rest = text.split("-", 1)
    return "-".join([digits[:12], *rest]) if len(digits) >= 40 and set(digits) <= set("0123456789abcdef") else text
