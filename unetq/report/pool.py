"""Pools the runs of a setting over folds and seeds.

A case's score is its mean over the runs that were tested on it; a setting's mean is over the test cases of all folds, each
case counting once; its interval is of that mean, drawn by subject. The ± is the standard deviation, over the seeds, of that mean
taken for each seed alone, where two or more seeds have it; else the standard deviation over the cases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import yaml

from unetq.bootstrap import interval
from unetq.errors import UserError
from unetq.report.collect import RunRecord, Scores

__all__ = ["Delta", "Setting", "Spread", "delta", "mean_by_case", "reference_of", "settings_of", "spread", "whole"]

# What may differ between the runs of one setting.
FREE = ("name", "seed", "fold")
DICE = ("dice",)


@dataclass(frozen=True)
class Setting:
    """The runs of one data set with one network, quantization and training; they differ in fold and seed only."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> list[int | None]:
        """Seeds, in the order of the runs."""
        return list(dict.fromkeys(run.seed for run in self.runs))

    @property
    def folds(self) -> list[int]:
        """Folds, sorted."""
        return sorted({run.fold for run in self.runs})

    @property
    def is_float(self) -> bool:
        """True where nothing is quantized."""
        return self.runs[0].net.quant.is_float

    @property
    def subjects(self) -> Mapping[str, str]:
        """Case -> its subject, where that is another name."""
        return {case: who for run in self.runs for case, who in (run.test.get("subjects") or {}).items()}


@dataclass(frozen=True)
class Spread:
    """One measure of a setting.

    Attributes:
        mean: over the cases.
        std: over the seeds or the cases.
        std_over: which of them.
        low, high: 95 % bootstrap interval of the mean, drawn by subject.
        n: cases that have the measure.
    """

    mean: float
    std: float
    std_over: Literal["seeds", "cases"]
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Delta:
    """Difference to the reference, case by case, each run with the reference's run of the same fold and seed.

    Attributes:
        mean: over the cases.
        low, high: 95 % bootstrap interval of the mean, drawn by subject.
        n_pairs: runs that have such a partner; the others do not count here.
    """

    mean: float
    low: float
    high: float
    n_pairs: int


def settings_of(group: Sequence[RunRecord]) -> list[Setting]:
    """The settings of one data set, in the order of their first runs, each with a label of its own.

    Raises:
        UserError: two runs of one setting, fold and seed.
    """
    found: dict[str, list[RunRecord]] = {}
    for run in group:
        found.setdefault(_key(run), []).append(run)
    labels = _labels([runs[0] for runs in found.values()])
    settings = [
        Setting(label, tuple(sorted(runs, key=lambda run: (run.fold, run.seed or 0))))
        for label, runs in zip(labels, found.values())
    ]
    for setting in settings:
        _check_runs(setting)
    return settings


def whole(settings: Sequence[Setting]) -> tuple[list[Setting], list[str]]:
    """The settings that were tested on all cases of the data set, and a sentence for each other: its mean is over fewer.

    Raises:
        UserError: none was tested on all.
    """
    folds = {case: run.fold for setting in settings for run in setting.runs for case in run.per_case}
    kept, left_out = [], []
    for setting in settings:
        missing = set(folds) - {case for run in setting.runs for case in run.per_case}
        if not missing:
            kept.append(setting)
            continue
        fold, case = min((folds[case], case) for case in missing)
        left_out.append(
            f"{setting.label} of {setting.runs[0].dataset} is left out: it has no run of fold {fold}, which tests {case}, so "
            "its mean would be over other cases than those of the other settings."
        )
    if not kept:
        raise UserError(f"No setting of {settings[0].runs[0].dataset} was tested on all cases: report its folds apart.")
    return kept, left_out


def reference_of(settings: Sequence[Setting]) -> Setting:
    """The setting that the others are compared with: the float one if there is one, else the first."""
    return next((setting for setting in settings if setting.is_float), settings[0])


def mean_by_case(scores: Sequence[Scores]) -> dict[str, float]:
    """Each case's mean over the runs that know it.

    >>> mean_by_case([{"a": 0.5, "b": None}, {"a": 1.0, "c": 0.25}])
    {'a': 0.75, 'c': 0.25}
    """
    known: dict[str, list[float]] = {}
    for run in scores:
        for case, value in run.items():
            if value is not None:
                known.setdefault(case, []).append(value)
    return {case: float(np.mean(values)) for case, values in known.items()}


def spread(setting: Setting, *measure: str) -> Spread | None:
    """A measure of a setting, Dice by default; None where no run has it."""
    measure = measure or DICE
    cases = mean_by_case([run.scores(*measure) for run in setting.runs])
    if not cases:
        return None
    by_seed = [
        mean_by_case([run.scores(*measure) for run in setting.runs if run.seed == seed]) for seed in setting.seeds
    ]
    # A seed without all of the cases has a mean over others: their difference is not chance.
    means = [float(np.mean(list(values.values()))) for values in by_seed if set(values) == set(cases)]
    over: Literal["seeds", "cases"] = "seeds" if len(means) > 1 else "cases"
    parts = means if over == "seeds" else list(cases.values())
    std = float(np.std(parts, ddof=1)) if len(parts) > 1 else 0.0
    low, high = interval(cases, setting.subjects)
    return Spread(float(np.mean(list(cases.values()))), std, over, low, high, len(cases))


def delta(setting: Setting, reference: Setting, *measure: str, split: str = "test") -> Delta | None:
    """Difference of a measure (Dice by default) to the reference; None for the reference itself, and without any pair."""
    measure = measure or DICE
    partners = {(run.fold, run.seed): run for run in reference.runs}
    differences = []
    for run in setting.runs if setting is not reference else ():
        partner = partners.get((run.fold, run.seed))
        theirs = partner.scores(*measure, split=split) if partner else {}
        ours = run.scores(*measure, split=split)
        pairs = {case: _minus(value, theirs[case]) for case, value in ours.items() if case in theirs}
        if any(value is not None for value in pairs.values()):
            differences.append(pairs)
    cases = mean_by_case(differences)
    if not cases:
        return None
    low, high = interval(cases, setting.subjects)
    return Delta(float(np.mean(list(cases.values()))), low, high, len(differences))


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _key(run: RunRecord) -> str:
    """What makes a setting: the network with all defaults, and the rest of the configuration as written."""
    rest = {key: value for key, value in run.config.items() if key not in (*FREE, "net")}
    if rest.get("init", "auto") == "auto":  # what it stands for: see TrainConfig
        rest["init"] = "scratch" if run.net.quant.is_float or run.net.quant.acts == "tht" else "float"
    return yaml.safe_dump([repr(run.net), rest])


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """A label for each; where two are alike, with the parts of the configuration in which they differ."""
    short = [run.net.quant.label for run in runs]
    flat = [dict(_flat(run.config)) for run in runs]
    labels = []
    for index, label in enumerate(short):
        twins = [flat[i] for i, other in enumerate(short) if other == label]
        apart = [k for k in flat[index] if k not in FREE and any(t.get(k) != flat[index][k] for t in twins)]
        parts = [f"{key.rsplit('.', 1)[-1]} {flat[index][key]}" for key in apart[:3]]
        labels.append(f"{label} ({', '.join(parts)})" if parts else label)
    # Old configurations lack keys that newer ones have, so the parts may not tell all of them apart.
    return [f"{n} ({run.folder.name})" if labels.count(n) > 1 else n for n, run in zip(labels, runs)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found


def _check_runs(setting: Setting) -> None:
    seen: dict[tuple[int, int | None], RunRecord] = {}
    for run in setting.runs:
        other = seen.setdefault((run.fold, run.seed), run)
        if other is not run:
            raise UserError(
                f"{other.folder} and {run.folder} are both {setting.label} of {run.dataset} with fold {run.fold} and seed "
                f"{run.seed}: name one of them, or each seed would not count once."
            )
