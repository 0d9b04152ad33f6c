from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from unetq.bootstrap import interval

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_as_scipy() -> None:
    scores = np.random.default_rng(3).beta(8, 2, 20)
    found = bootstrap((scores,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert interval({str(i): s for i, s in enumerate(scores)}) == pytest.approx(tuple(found), abs=0.004)


@given(SCORES, st.randoms())
def test_within_the_scores_and_of_any_order(scores: list[float], random: object) -> None:
    pairs = [(f"c{i:02d}", score) for i, score in enumerate(scores)]
    low, high = interval(dict(pairs))
    assert min(scores) - 1e-12 <= low <= high <= max(scores) + 1e-12
    random.shuffle(pairs)  # type: ignore[attr-defined]
    assert interval(dict(pairs)) == (low, high)


def test_the_cases_of_a_subject_are_drawn_together() -> None:
    """Ten slices of each of two patients are two observations, not twenty."""
    values = {f"{who}{i}": score for who, score in (("a", 0.2), ("b", 0.8)) for i in range(10)}
    assert interval(values, {case: case[0] for case in values}) == pytest.approx((0.2, 0.8))
    low, high = interval(values)
    assert 0.3 < low < high < 0.7
