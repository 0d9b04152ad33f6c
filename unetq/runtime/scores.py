"""Scores of one case, and their summary over cases. No torch in here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.bootstrap import interval
from unetq.image.measures import dice, hd95, is_empty_pair, v_rand
from unetq.runtime.dataset import Case

__all__ = ["CaseScore", "LabelScore", "score_case", "score_dice", "spread", "summary"]

BACKGROUND = 0


@dataclass(frozen=True)
class LabelScore:
    """One label of one case.

    Attributes:
        dice: 0 to 1; 1 where neither mask holds the label.
        empty: neither does.
        hd95_mm: 95th percentile of the Hausdorff distance; None where one of the masks, or both, hold nothing.
        volume_error: (predicted - true) / true volume; None where the truth holds nothing.
    """

    dice: float
    empty: bool
    hd95_mm: float | None = None
    volume_error: float | None = None


@dataclass(frozen=True)
class CaseScore:
    """One case: name of a label -> its score, in the order of the labels; a boundary, if any, last."""

    name: str
    labels: Mapping[str, LabelScore]
    boundary: LabelScore | None = None
    v_rand: float | None = None

    @property
    def dice(self) -> float:
        """Mean over the labels 1, 2, ..., the boundary not among them."""
        return float(np.mean([score.dice for score in self.labels.values()]))


def score_dice(name: str, predicted: NDArray[np.uint8], truth: NDArray[np.uint8], labels: Sequence[str]) -> CaseScore:
    """Dice only, which is what a validation asks for."""
    numbered = enumerate(labels, 1)
    scores = {
        label: LabelScore(dice(predicted, truth, value), is_empty_pair(predicted, truth, value))
        for value, label in numbered
    }
    return CaseScore(name, scores)


def score_case(case: Case, predicted: NDArray[np.uint8], labels: Sequence[str], boundary: bool = False) -> CaseScore:
    """All scores of a case.

    Args:
        case: with the truth.
        predicted: mask (Z, Y, X).
        labels: names of the labels 1, 2, ...
        boundary: the background parts the objects of label 1, so that it is scored as a class of its own, and so is how well
            the objects are parted (V_rand).
    """
    spacing = case.channels[0].spacing
    scores = {name: _score(predicted, case.truth, spacing, value) for value, name in enumerate(labels, 1)}
    if not boundary:
        return CaseScore(case.name, scores)
    membrane = _score(predicted, case.truth, spacing, BACKGROUND)
    return CaseScore(case.name, scores, membrane, v_rand(predicted == 1, case.truth == 1))


def summary(scores: Iterable[CaseScore], subjects: Mapping[str, str], boundary: str = "") -> dict[str, Any]:
    """The summary of the cases of a split.

    Args:
        scores: at least one.
        subjects: case -> subject, for the bootstrap interval.
        boundary: name of the boundary class.

    Returns:
        {"n_cases", "n_empty", "dice", "classes": {name: {"dice", "hd95_mm", "volume_error"}}, "v_rand"}, where each measure
        is as `spread` gives it, and measures that were not taken are left out.
    """
    scores = list(scores)
    classes = {name: {score.name: score.labels[name] for score in scores} for name in scores[0].labels}
    edges = {score.name: score.boundary for score in scores if score.boundary is not None}
    if edges:
        classes[boundary] = edges
    found: dict[str, Any] = {
        "n_cases": len(scores),
        "n_empty": sum(label.empty for score in scores for label in score.labels.values()),
        "dice": spread({score.name: score.dice for score in scores}, subjects),
        "classes": {name: _class_summary(cases, subjects) for name, cases in classes.items()},
    }
    if edges:
        found["v_rand"] = spread({score.name: score.v_rand for score in scores}, subjects)
    return found


def spread(values: Mapping[str, float | None], subjects: Mapping[str, str]) -> dict[str, Any]:
    """{"mean", "std", "interval", "n", "per_case"} of one measure.

    std is the sample's (n - 1), 0 for one case; interval is the 95 % bootstrap interval of the mean, by subject. None, which is
    "undefined", is in per_case only; without any value mean, std and interval are None.
    """
    known = {case: value for case, value in values.items() if value is not None}
    numbers = list(known.values())
    return {
        "mean": float(np.mean(numbers)) if numbers else None,
        "std": (float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0) if numbers else None,
        "interval": list(interval(known, subjects)) if numbers else None,
        "n": len(numbers),
        "per_case": dict(values),
    }


def _score(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], spacing: Sequence[float], value: int) -> LabelScore:
    there, true = int(np.count_nonzero(predicted == value)), int(np.count_nonzero(truth == value))
    return LabelScore(
        dice(predicted, truth, value),
        is_empty_pair(predicted, truth, value),
        hd95(predicted, truth, spacing, value) if there and true else None,
        (there - true) / true if true else None,
    )


def _class_summary(cases: Mapping[str, LabelScore], subjects: Mapping[str, str]) -> dict[str, Any]:
    """Of one class; distances and volumes only where they were measured."""
    found = {"dice": spread({name: score.dice for name, score in cases.items()}, subjects)}
    if any(score.volume_error is not None or score.hd95_mm is not None for score in cases.values()):
        found["hd95_mm"] = spread({name: score.hd95_mm for name, score in cases.items()}, subjects)
        found["volume_error"] = spread({name: score.volume_error for name, score in cases.items()}, subjects)
    return found
