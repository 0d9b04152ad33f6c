"""Scores of a case and their summary."""

from __future__ import annotations

import numpy as np
import pytest

from unetq.image.measures import dice, hd95
from unetq.image.volume import Volume
from unetq.runtime.dataset import Case
from unetq.runtime.scores import score_case, score_dice, spread, summary

SPACING = (3.0, 0.5, 0.5)


def made(truth: np.ndarray, name: str = "a") -> Case:
    return Case(name, (Volume(truth, SPACING, np.diag([0.5, 0.5, 3.0, 1.0]), "nifti"),), truth)


def cube(low: int, high: int, value: int = 1) -> np.ndarray:
    mask = np.zeros((4, 12, 12), np.uint8)
    mask[1:3, low:high, low:high] = value
    return mask


def test_each_label_has_its_scores() -> None:
    truth, predicted = cube(2, 6) + cube(8, 10, 2), cube(2, 7) + cube(8, 10, 2)
    score = score_case(made(truth), predicted, ["one", "two"])
    assert list(score.labels) == ["one", "two"] and score.boundary is None and score.v_rand is None
    assert score.labels["one"].dice == dice(predicted, truth, 1)
    assert score.labels["one"].hd95_mm == hd95(predicted, truth, SPACING, 1)
    assert score.labels["one"].volume_error == pytest.approx(25 / 16 - 1)
    assert (score.labels["two"].dice, score.labels["two"].hd95_mm, score.labels["two"].volume_error) == (1, 0, 0)
    assert score.dice == pytest.approx((score.labels["one"].dice + 1) / 2)
    assert score_dice("a", predicted, truth, ["one", "two"]).dice == score.dice


def test_what_is_undefined_is_none() -> None:
    nothing = np.zeros((4, 12, 12), np.uint8)
    missed = score_case(made(cube(2, 6)), nothing, ["one"]).labels["one"]
    assert (missed.dice, missed.empty, missed.hd95_mm, missed.volume_error) == (0, False, None, -1)
    invented = score_case(made(nothing), cube(2, 6), ["one"]).labels["one"]
    assert (invented.dice, invented.hd95_mm, invented.volume_error) == (0, None, None)
    empty = score_case(made(nothing), nothing, ["one"]).labels["one"]
    assert (empty.dice, empty.empty, empty.hd95_mm, empty.volume_error) == (1, True, None, None)


def test_the_boundary_is_a_class_of_its_own() -> None:
    """Membrane Dice and V_rand of em; the mean Dice stays that of the labels."""
    truth = np.ones((1, 9, 9), np.uint8)
    truth[:, 4] = 0
    predicted = truth.copy()
    predicted[0, 4, 4] = 1  # a hole in the membrane: two cells become one
    score = score_case(made(truth), predicted, ["interior"], boundary=True)
    assert score.boundary is not None and score.boundary.dice == pytest.approx(16 / 17)
    assert score.v_rand is not None and score.v_rand < 0.7 and score.dice == pytest.approx(2 * 72 / 145)
    found = summary([score], {}, "membrane")
    assert list(found["classes"]) == ["interior", "membrane"] and found["n_empty"] == 0
    assert found["classes"]["membrane"]["dice"]["mean"] == score.boundary.dice
    assert found["v_rand"]["per_case"] == {"a": score.v_rand} and found["dice"]["mean"] == score.dice


def test_the_summary_leaves_out_what_was_not_measured() -> None:
    cases = [score_dice(name, cube(2, 6), cube(2, 6), ["one"]) for name in "ab"]
    found = summary(cases, {})
    assert list(found["classes"]["one"]) == ["dice"] and "v_rand" not in found


def test_spread_counts_the_undefined_apart() -> None:
    found = spread({"a": 1.0, "b": None, "c": 3.0}, {})
    assert (found["mean"], found["std"], found["n"]) == (2.0, pytest.approx(2**0.5), 2)
    assert found["per_case"] == {"a": 1.0, "b": None, "c": 3.0}
    low, high = found["interval"]
    assert 1.0 <= low <= 2.0 <= high <= 3.0
    assert spread({"a": None}, {}) == {"mean": None, "std": None, "interval": None, "n": 0, "per_case": {"a": None}}
