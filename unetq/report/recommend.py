"""Which setting to take: the Pareto front, and a sentence under a limit of lost Dice and a limit of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unetq.errors import UserError
from unetq.report.rows import Row
from unetq.report.words import show_bytes, show_points

__all__ = ["Limits", "Recommendation", "front", "recommend"]

MB = 1e6


@dataclass(frozen=True)
class Limits:
    """What a setting may cost.

    Attributes:
        max_loss: points of Dice (0 to 100) that it may lose against the reference.
        max_memory: MB (1e6 bytes) that its parameters may take, "honest".
    """

    max_loss: float = 1.0
    max_memory: float = 1.0

    def __post_init__(self) -> None:
        if not self.max_loss >= 0:
            raise UserError(f"The largest loss is {self.max_loss} points of Dice, but must be at least 0.")
        if not self.max_memory > 0:
            raise UserError(f"The largest memory is {self.max_memory} MB, but must be above 0.")

    def __str__(self) -> str:
        return f"at most {self.max_loss:g} point{'s' * (self.max_loss != 1)} of Dice lost and at most {self.max_memory:g} MB"


@dataclass(frozen=True)
class Recommendation:
    """The label of the setting to take, or None where none meets the limits; and the sentence."""

    label: str | None
    sentence: str


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, gain) that no other beats: none is as cheap and better, or cheaper and as good.

    >>> front([(1, 0.9), (2, 0.95), (3, 0.93)])
    [0, 1]
    """

    def beaten(i: int) -> bool:
        cost, gain = points[i]
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)

    return sorted((i for i in range(len(points)) if not beaten(i)), key=lambda i: points[i])


def recommend(rows: Sequence[Row], reference: str, limits: Limits) -> Recommendation:
    """Recommends the smallest setting of one data set that keeps both limits; of equal sizes the one that loses less.

    A choice by the test cases would flatter what it chooses, so the loss is the one on the validation cases, and the
    test's is reported beside it; only where a run has no validation scores do the test cases choose, and the sentence says so.

    Args:
        rows: the settings of one data set.
        reference: label of the setting that losses are taken against.
        limits: what may be lost and taken.
    """
    others = [row for row in rows if row["label"] != reference]
    by_val = all(row["val_delta"] is not None for row in others)
    key = "val_delta" if by_val else "dice_delta"
    losses = {row["label"]: -100 * row[key] for row in others if row[key] is not None} | {reference: 0.0}
    known = [row for row in rows if row["label"] in losses]
    light = [row for row in known if row["bytes_honest"] <= limits.max_memory * MB]
    good = [row for row in known if losses[row["label"]] <= limits.max_loss]
    where = (
        "on the validation cases"
        if by_val
        else "on the test cases, which chose it, so expect a little less of new ones"
    )
    name = rows[0]["dataset"]
    both = [row for row in light if row in good]
    if both:
        best = min(both, key=lambda row: (row["bytes_honest"], losses[row["label"]]))
        lost = (
            "it is the reference itself"
            if best["label"] == reference
            else _lost(best, losses, reference, where, by_val)
        )
        return Recommendation(
            best["label"],
            f"{name}: take {best['label']} ({show_bytes(best['bytes_honest'])}), the smallest setting with {limits}: {lost}.",
        )
    parts = [f"{name}: no setting keeps {limits}"]
    if good:
        smallest = min(good, key=lambda row: row["bytes_honest"])
        parts.append(
            f"the smallest that loses no more is {smallest['label']} with {show_bytes(smallest['bytes_honest'])}"
        )
    if light:
        best = min(light, key=lambda row: losses[row["label"]])
        parts.append(
            f"the best that is small enough is {best['label']}, which loses {show_points(losses[best['label']])}"
        )
    return Recommendation(None, "; ".join(parts) + ("." if by_val else " (by the test cases)."))


def _lost(row: Row, losses: dict[str, float], reference: str, where: str, by_val: bool) -> str:
    """What a setting loses, by the cases that chose it and by the test."""
    text = f"against {reference} it {_loses(losses[row['label']])} {where}"
    if row["dice_delta"] is None:
        return text
    tested = f" and {_loses(-100 * row['dice_delta'])} on the test cases" if by_val else ""
    low, high = (show_points(-100 * row[key]) for key in ("dice_delta_high", "dice_delta_low"))
    return f"{text}{tested} (95 % interval of the loss: {low} to {high}){_worst_class(row)}"


def _worst_class(row: Row) -> str:
    """Of several classes, the one that loses most on the test cases: a mean, or the class that it is of, may hide it."""
    deltas = {name: (values["dice"] or {}).get("delta") for name, values in row["classes"].items()}
    losses = {name: -100 * delta["mean"] for name, delta in deltas.items() if delta}
    if len(losses) < 2:
        return ""
    name = max(losses, key=lambda key: losses[key])
    return f"; of its classes {name} fares worst and {_loses(losses[name])}"


def _loses(points: float) -> str:
    return f"loses {show_points(points)}" if points > -0.005 else f"gains {show_points(-points)}"
