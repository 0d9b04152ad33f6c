"""The Pareto front by brute force, and what is recommended under which limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unetq.errors import UserError
from unetq.report.published import published_table
from unetq.report.recommend import Limits, front, recommend

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


def row(label: str, mb: float, loss: float | None, val: float | None = None) -> dict[str, Any]:
    """A setting that loses `loss` points on the test cases and `val` on those of validation."""
    delta = None if loss is None else -loss / 100
    return {
        **{"label": label, "dataset": "em", "bytes_honest": int(mb * 1e6), "dice_mean": 0.9 + (delta or 0)},
        **{"dice_delta": delta, "dice_delta_low": delta, "dice_delta_high": delta, "wbits": 4, "abits": 6},
        "val_delta": None if val is None else -val / 100,
        "classes": {},
    }


ROWS = [row("float", 4, None), row("W8A8", 2, 0.1, 0.2), row("W4A6", 0.9, 0.6, 0.4), row("W2A2", 0.5, 0.3, 3.0)]


@given(POINTS)
def test_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    found = front([(float(cost), float(gain)) for cost, gain in points])
    for i, (cost, gain) in enumerate(points):
        beaten = any((c < cost and g >= gain) or (c <= cost and g > gain) for c, g in points)
        assert (i in found) == (not beaten)
    assert [points[i] for i in found] == sorted(points[i] for i in found)


@pytest.mark.parametrize(
    ("limits", "want", "words"),
    [
        (Limits(1.0, 1.0), "W4A6", "loses 0.40 points on the validation cases and loses 0.60 points on the test cases"),
        (Limits(5.0, 1.0), "W2A2", "loses 3.00 points"),
        (Limits(0.3, 2.5), "W8A8", "at most 0.3 points of Dice lost and at most 2.5 MB"),
        (Limits(0.0, 9.0), "float", "it is the reference itself"),
        (
            Limits(0.1, 1.0),
            None,
            "the smallest that loses no more is float with 3.81 MiB; the best that is small enough is W4A6",
        ),
        (Limits(1.0, 0.1), None, "the smallest that loses no more is W4A6"),
    ],
)
def test_recommendation_keeps_both_limits(limits: Limits, want: str | None, words: str) -> None:
    found = recommend(ROWS, "float", limits)
    assert found.label == want
    assert words in found.sentence


def test_the_validation_chooses_and_else_the_test_which_is_said() -> None:
    rows = [ROWS[0], row("W4A6", 0.9, 0.6, 2.0), row("W2A2", 0.5, 3.0, 0.1)]
    assert recommend(rows, "float", Limits()).label == "W2A2"
    rows[1] = row("W4A6", 0.9, 0.6)
    found = recommend(rows, "float", Limits())
    assert found.label == "W4A6"
    assert "on the test cases, which chose it" in found.sentence


def test_the_class_that_loses_most_is_named() -> None:
    classes = {name: {"dice": {"delta": {"mean": delta}}} for name, delta in (("interior", 0.001), ("membrane", -0.02))}
    rows = [
        {**ROWS[0], "classes": {name: {"dice": {"delta": None}} for name in classes}},
        {**ROWS[2], "classes": classes},
    ]
    assert recommend(rows, "float", Limits()).sentence.endswith(
        "; of its classes membrane fares worst and loses 2.00 points."
    )


def test_a_gain_is_called_a_gain() -> None:
    found = recommend([ROWS[0], row("W4A6", 0.9, -0.25, -0.125)], "float", Limits())
    assert "gains 0.12 points on the validation cases and gains 0.25 points on the test cases" in found.sentence


def test_a_setting_without_a_pair_is_not_recommended() -> None:
    assert recommend([ROWS[0], row("W4A6", 0.1, None)], "float", Limits(1.0, 1.0)).label is None


@pytest.mark.parametrize("limits", [(-0.1, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
def test_wrong_limits(limits: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="must be"):
        Limits(*limits)


def test_published_losses_stand_beside_ours() -> None:
    text = published_table([row("W4A6", 0.9, 0.61)])
    assert "<td>2.21</td><td>0.61 (0.61 to 0.61)</td>" in text
    assert "not comparable" in text
    assert published_table([{**row("W4A6", 1, 1), "dataset": "mine"}, {**row("W2A2", 1, 1), "wbits": 2}]) == ""
