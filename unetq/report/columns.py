"""The columns of the tables: heading -> text of a row's cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from unetq.report.rows import Row
from unetq.report.words import NONE, show_bytes, show_delta, show_dice, show_mm, show_ms, show_range, show_runs

__all__ = ["COLUMNS", "MEANING", "class_columns", "headings"]

DICE = "Dice, mean ± sd"
# Heading -> text of a row's cell. The page shows a second line, if any, small; the terminal leaves it out.
COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "Setting": lambda row: str(row["label"]),
    "Runs": show_runs,
    DICE: lambda row: _dice(row),
    "Difference": lambda row: show_delta(row["dice_delta"], row["dice_delta_low"], row["dice_delta_high"]),
    "Nominal": lambda row: show_bytes(row["bytes_nominal"]),
    "Honest": lambda row: show_bytes(row["bytes_honest"]),
    "Smaller": lambda row: f"{row['bytes_float32'] / row['bytes_honest']:.2f} ×",
    "File": lambda row: show_bytes(row["bytes_file"]),
    "Activations": lambda row: show_bytes(row["peak_activation_bytes"]),
    "Resident": lambda row: show_bytes(row["peak_rss_bytes"]),
    "Latency": lambda row: show_ms(row["ms_median"]) + (f"\n{row['isa']}" if row["isa"] else ""),
}


# Heading of COLUMNS -> what the reader finds under it.
MEANING = {
    "Runs": "trainings pooled in the row: a case's score is its mean over them",
    DICE: "mean over the test cases of all folds; below it the 95 % bootstrap interval of the mean, drawn by subject",
    "Difference": "mean difference of Dice to the reference, case by case, between runs of one fold and seed; below it its 95 % "
    "bootstrap interval, drawn by subject",
    "Nominal": "every parameter at its layer's width",
    "Honest": "what the weights take in the file: packed codes and two float32 a channel",
    "Smaller": "float32 bytes of all parameters / honest bytes",
    "File": "the whole model file",
    "Activations": "largest sum of tensors alive at once, one byte a code (four in float)",
    "Resident": "peak resident memory (RSS) of a fresh process that runs one image, the program itself included",
    "Latency": "median time of one image",
}


def headings(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """The columns of `COLUMNS`; the heading of the Dice says what the ± is of, or each cell does where rows differ in it."""
    over = {row["dice_std_over"] for row in rows}
    if len(over) == 1:
        return {f"{name} over {next(iter(over))}" if name == DICE else name: show for name, show in COLUMNS.items()}
    return {**COLUMNS, DICE: lambda row: _dice(row, f" ({row['dice_std_over']})")}


def _dice(row: Row, over: str = "") -> str:
    return f"{show_dice(row['dice_mean'], row['dice_std'])}{over}\n{show_range(row['dice_low'], row['dice_high'])}"


def class_columns(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Heading -> cell of the measures of each class, and V_rand; only those that some row has. The Dice of an only class is the
    Dice of the setting, so it has no column here."""
    names = list(dict.fromkeys(name for row in rows for name in row["classes"]))
    found: dict[str, Callable[[Row], str]] = {}
    for name in names:
        for measure, title, show in (
            ("dice", "Dice", lambda v: show_dice(v["mean"], v["std"])),
            ("hd95_mm", "HD95", lambda v: show_mm(v["mean"])),
            ("volume_error", "volume error", lambda v: f"{v['mean']:+.1%} ± {v['std']:.1%}".replace("-", "−")),
        ):
            known = any(row["classes"].get(name, {}).get(measure) for row in rows)
            if not known or (measure == "dice" and len(names) == 1):
                continue
            found[f"{name[:1].upper()}{name[1:]}: {title}"] = _class_cell(name, measure, show)
            if measure == "dice":
                found[f"{name[:1].upper()}{name[1:]}: difference"] = _class_cell(name, measure, _class_delta)
    if any(row["v_rand"] for row in rows):
        found["V_rand"] = lambda row: show_dice(row["v_rand"]["mean"], row["v_rand"]["std"]) if row["v_rand"] else NONE
    return found


def _class_cell(name: str, measure: str, show: Callable[[Row], str]) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        values = row["classes"].get(name, {}).get(measure)
        if not values:
            return NONE
        # A distance to nothing is none: a mean that leaves cases out says so.
        return show(values) + (f" ({values['n']} of {row['n_cases']})" if values["n"] < row["n_cases"] else "")

    return cell


def _class_delta(values: Row) -> str:
    delta = values["delta"]
    return show_delta(delta["mean"], delta["low"], delta["high"]) if delta else NONE
