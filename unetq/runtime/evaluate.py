"""Scores whole cases, for any engine: an engine is a callable that turns an image into logits. No torch in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.files import make_folder
from unetq.image.read import write_mask
from unetq.image.segment import segment
from unetq.runtime.dataset import Case, Dataset
from unetq.runtime.scores import score_case, summary
from unetq.spec import PrepSpec

__all__ = ["Predictor", "evaluate", "predictions"]

# float32 image (C, h, w) -> float32 logits (K, h, w)
Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def predictions(
    predictor: Predictor, prep: PrepSpec, cases: Iterable[Case], masks: Path | None = None
) -> Iterator[tuple[Case, NDArray[np.uint8]]]:
    """Each whole case (3-D where the case is 3-D) with its predicted mask, which is written to `masks`, if given.

    Nothing but the image reaches the predictor: a crop or a window that followed the truth would flatter the Dice.
    """
    if masks is not None:
        make_folder(masks)
    for case in cases:
        predicted = segment(case.channels, prep, predictor)
        if masks is not None:
            write_mask(predicted, case.channels[0], masks / f"{case.name}.nii.gz")
        yield case, predicted


def evaluate(
    predictor: Predictor, prep: PrepSpec, dataset: Dataset, split: str, engine: str, masks: Path | None = None
) -> dict[str, Any]:
    """Scores a split of a prepared data set.

    Args:
        predictor: the engine.
        prep: what happens to a slice before the network.
        dataset: prepared data, opened at its fold.
        split: train, val or test.
        engine: name of the engine, for the record.
        masks: folder for the predicted masks, <case>.nii.gz.

    Returns:
        {"dataset", "split", "fold", "engine", what `unetq.runtime.scores.summary` gives, "subjects", "seconds"}.

    Raises:
        UserError: the split or a case is not as it should be.
    """
    start = time.perf_counter()
    pairs = predictions(predictor, prep, dataset.read_split(split), masks)
    boundary = dataset.boundary
    scores = [score_case(case, predicted, dataset.labels, bool(boundary)) for case, predicted in pairs]
    return {
        "dataset": dataset.name,
        "split": split,
        "fold": dataset.fold,
        "engine": engine,
        **summary(scores, dataset.subjects, boundary),
        "subjects": {score.name: dataset.subjects.get(score.name, score.name) for score in scores},
        "seconds": round(time.perf_counter() - start, 3),
    }
