"""The page's section of one data set: answers, tables, overlays, every case, notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from unetq.report.collect import RunRecord
from unetq.report.columns import MEANING, class_columns, headings
from unetq.report.overlays import Overlays, overlay_section
from unetq.report.pool import Setting, mean_by_case
from unetq.report.recommend import Recommendation, front
from unetq.report.rows import Row
from unetq.report.words import show_bytes, show_dice, show_ms

__all__ = ["Section", "data_section"]


@dataclass(frozen=True)
class Section:
    """One data set: its settings and their rows in one order, what all are compared with, the advice, the overlays, and
    sentences on settings that are left out."""

    dataset: str
    settings: Sequence[Setting]
    rows: Sequence[Row]
    reference: Setting
    advice: Recommendation
    overlays: Overlays
    left_out: Sequence[str] = ()

    @property
    def runs(self) -> list[RunRecord]:
        """All runs, setting by setting."""
        return [run for setting in self.settings for run in setting.runs]


def data_section(section: Section, first: int) -> str:
    """HTML of the section.

    Args:
        section: the data set.
        first: number of its first run in the page's list of runs.
    """
    split = section.reference.runs[0].test["split"]
    n_cases = section.rows[0]["n_cases"]
    unseen = ", seen by no training and no choice of checkpoint" if split == "test" else ""
    about = f"Split {split}, {n_cases} case{'s' * (n_cases != 1)}{unseen}. Reference: {section.reference.label}."
    classes = class_columns(section.rows)
    measures = (
        f'<h3>By class: overlap, distance, volume</h3><div class="panel wide">'
        f"{_table(section.rows, {'Setting': lambda row: str(row['label']), **classes})}</div>"
    )
    return f"""<section>
<h2>Data set {escape(section.dataset)}</h2>
<p class="muted">{escape(about)}</p>
{"".join(f'<p class="missing">{escape(sentence)}</p>' for sentence in section.left_out)}
{_cards(section)}
<div class="panel wide">{_main_table(section, first)}</div>
{measures if classes else ""}
{overlay_section(section.overlays)}
{_case_table(section)}
<h3>Notes</h3>
<ul class="notes">{"".join(f"<li>{note}</li>" for note in _notes(section))}</ul>
</section>
"""


def _cards(section: Section) -> str:
    """The answers that a reader looks for first."""
    rows = section.rows
    best = max(rows, key=lambda row: row["dice_mean"])
    cards = [("Highest Dice", best["label"], f"Dice {show_dice(best['dice_mean'], best['dice_std'])}")]
    taken = next((row for row in rows if row["label"] == section.advice.label), None)
    if taken:
        ratio = taken["bytes_float32"] / taken["bytes_honest"]
        text = f"{show_bytes(taken['bytes_honest'])}, 1/{ratio:.1f} of float32; Dice {show_dice(taken['dice_mean'])}"
        cards.insert(0, ("Recommended", taken["label"], text))
    native = [row for row in rows if row["ms_median"] and row["isa"] != "torch"]
    if native:
        fast = min(native, key=lambda row: row["ms_median"])
        size = f"{fast['size']}, {fast['isa']}, {fast['threads']} thread{'s' * (fast['threads'] != 1)}"
        cards.append(("Fastest in the native runtime", fast["label"], f"{show_ms(fast['ms_median'])} ({size})"))
    return '<div class="cards">' + "".join(_card(*card) for card in cards) + "</div>"


def _card(name: str, value: str, text: str) -> str:
    lines = f'<p class="name">{escape(name)}</p><p class="value">{escape(value)}</p><p class="muted">{escape(text)}</p>'
    return f'<div class="card">{lines}</div>'


def _main_table(section: Section, first: int) -> str:
    """The table of all settings: the front marked, the highest Dice bold, each with the numbers of its runs."""
    rows = section.rows
    best = front([(row["bytes_honest"], row["dice_mean"]) for row in rows])
    top = max(row["dice_mean"] for row in rows)
    columns = headings(rows)
    lines = []
    for index, (row, setting) in enumerate(zip(rows, section.settings)):
        cells = []
        for heading, show in columns.items():
            text = two_lines(show(row))
            if heading == "Setting":
                last = first + len(setting.runs) - 1
                numbers = f"{first}–{last}" if last > first else str(first)
                text = f'<strong>{text}</strong> <sup><a href="#run-{first}">{numbers}</a></sup>'
                first = last + 1
            if heading.startswith("Dice") and row["dice_mean"] == top:
                text = f'<span class="top">{text}</span>'
            cells.append(f"<td>{text}</td>")
        lines.append(f"<tr{' class=front' if index in best else ''}>{''.join(cells)}</tr>")
    return _framed(columns, lines)


def _table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> str:
    lines = [
        "<tr>" + "".join(f"<td>{two_lines(show(row))}</td>" for show in columns.values()) + "</tr>" for row in rows
    ]
    return _framed(columns, lines)


def two_lines(text: str) -> str:
    """HTML of a cell: what follows the first line is small."""
    first, *more = map(escape, text.split("\n"))
    return first + "".join(f"<small>{line}</small>" for line in more)


def _framed(columns: Mapping[str, object], lines: Sequence[str]) -> str:
    titles = {name: next((text for key, text in MEANING.items() if name.startswith(key)), "") for name in columns}
    head = "".join(f'<th title="{escape(title)}">{escape(name)}</th>' for name, title in titles.items())
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _case_table(section: Section) -> str:
    cases = [mean_by_case([run.per_case for run in setting.runs]) for setting in section.settings]
    head = "".join(f"<th>{escape(setting.label)}</th>" for setting in section.settings)
    lines = [
        f"<tr><td>{escape(case)}</td>{''.join(f'<td>{values[case]:.4f}</td>' for values in cases)}</tr>"
        for case in sorted(cases[0])
    ]
    table = f"<table><thead><tr><th>Case</th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<details><summary>Dice of every case</summary><div class="panel wide">{table}</div></details>'


def _notes(section: Section) -> list[str]:
    rows = section.rows
    notes = [f"<b>{escape(name)}</b>: {escape(meaning)}." for name, meaning in MEANING.items()]
    notes.append(
        "<b>±</b>: standard deviation, over the seeds, of the mean over all test cases, where two or more seeds were tested on "
        "all of them; else over the test cases, and then it is not the spread over seeds. The column says which."
    )
    unpaired = [row["label"] for row in rows if row["n_pairs"] is not None and row["n_pairs"] < row["n_runs"]]
    if unpaired:
        notes.append(
            f"The difference leaves out runs that {escape(section.reference.label)} has no run of the same fold and seed "
            f"for: {escape(', '.join(unpaired))}."
        )
    timed = sorted({f"{r['size']} with {r['threads']} thread(s) on {r['isa']}" for r in rows if r["ms_median"]})
    notes.append(f"Timed at {escape('; '.join(timed))}." if timed else "No run was timed.")
    empty = {row["label"]: row["n_empty"] for row in rows if row["n_empty"]}
    if empty:
        counts = ", ".join(f"{n} in {label}" for label, n in empty.items())
        notes.append(
            "Empty cases (label in neither truth nor prediction; counted as Dice 1, each run's counted): "
            f"{escape(counts)}."
        )
    else:
        notes.append("No test case was empty (an empty truth that is predicted empty would count as Dice 1).")
    if class_columns(rows):
        notes.append(
            "<b>HD95</b>: 95th percentile of the distance between the borders; a case where one mask is empty has none, and is "
            "left out of the mean, which then says of how many cases it is. <b>Volume error</b>: (predicted − true) / true."
        )
    return notes
