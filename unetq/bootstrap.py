"""Bootstrap interval of a mean over cases, resampled by subject (Efron & Tibshirani 1993, percentile method)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["RESAMPLES", "interval"]

RESAMPLES = 4000


def interval(
    values: Mapping[str, float], subjects: Mapping[str, str] | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean over the cases.

    Args:
        values: case -> score; at least one.
        subjects: case -> subject; the cases of a subject are drawn together, for they are alike. Default: each its own.
        level: of confidence.

    Returns:
        (low, high); the same for the same values, whatever their order.
    """
    groups: dict[str, list[float]] = {}
    for case in sorted(values):
        groups.setdefault((subjects or {}).get(case, case), []).append(values[case])
    sums, counts = (np.array([f(group) for group in groups.values()]) for f in (sum, len))
    drawn = np.random.default_rng(0).integers(len(groups), size=(RESAMPLES, len(groups)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
