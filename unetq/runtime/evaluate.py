"""Dice of whole cases, for any engine: an engine is a callable that turns an image into logits. No torch in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.files import make_folder
from unetq.image.measures import dice, is_empty_pair
from unetq.image.read import write_mask
from unetq.image.segment import segment
from unetq.runtime.dataset import Case, Dataset
from unetq.spec import PrepSpec

__all__ = ["CaseScore", "Predictor", "evaluate", "score_cases", "summary"]

# float32 image (C, h, w) -> float32 logits (K, h, w)
Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class CaseScore:
    """Dice of one case per label 1, 2, ...; `empty`: prediction and truth hold nothing of the label (Dice 1)."""

    name: str
    dice: tuple[float, ...]
    empty: tuple[bool, ...]

    @property
    def mean(self) -> float:
        """Mean over the labels."""
        return float(np.mean(self.dice))


def score_cases(
    predictor: Predictor, prep: PrepSpec, cases: Iterable[Case], labels: int, masks: Path | None = None
) -> Iterator[CaseScore]:
    """Scores each whole case (3-D where the case is 3-D) as it comes; writes the predicted mask to `masks`, if given.

    Nothing but the image reaches the predictor: a crop or a window that followed the truth would flatter the Dice.
    """
    if masks is not None:
        make_folder(masks)
    for case in cases:
        predicted = segment(case.channels, prep, predictor)
        if masks is not None:
            write_mask(predicted, case.channels[0], masks / f"{case.name}.nii.gz")
        values = range(1, labels + 1)
        yield CaseScore(
            case.name,
            tuple(dice(predicted, case.truth, label) for label in values),
            tuple(is_empty_pair(predicted, case.truth, label) for label in values),
        )


def summary(scores: Iterable[CaseScore]) -> dict[str, Any]:
    """{"n_cases", "n_empty", "dice": {"mean", "std", "per_case"}}; std is the sample's (n - 1), 0 for one case."""
    scores = list(scores)
    means = [score.mean for score in scores]
    return {
        "n_cases": len(scores),
        "n_empty": sum(sum(score.empty) for score in scores),
        "dice": {
            "mean": float(np.mean(means)),
            "std": float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
            "per_case": {score.name: score.mean for score in scores},
        },
    }


def evaluate(
    predictor: Predictor, prep: PrepSpec, data: Path, split: str, engine: str, masks: Path | None = None
) -> dict[str, Any]:
    """Scores a split of a prepared data set.

    Args:
        predictor: the engine.
        prep: what happens to a slice before the network.
        data: prepared folder (nnU-Net raw format).
        split: train, val or test.
        engine: name of the engine, for the record.
        masks: folder for the predicted masks, <case>.nii.gz.

    Returns:
        {"dataset", "split", "engine", "n_cases", "n_empty", "dice": {"mean", "std", "per_case"}, "seconds"};
        the Dice of a case with several labels is the mean over the labels.

    Raises:
        UserError: the folder, the split or a case is not as it should be.
    """
    dataset = Dataset.open(data)
    start = time.perf_counter()
    scores = summary(score_cases(predictor, prep, dataset.read_split(split), len(dataset.labels), masks))
    seconds = time.perf_counter() - start
    return {"dataset": dataset.name, "split": split, "engine": engine, **scores, "seconds": round(seconds, 3)}
