"""Pooling over folds and seeds: means, the ±, intervals and pairs, against brute force and scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.report.fake import measure, scored
from unetq.errors import UserError
from unetq.report.collect import RunRecord
from unetq.report.pool import Setting, delta, mean_by_case, reference_of, settings_of, spread, whole

SEEDS, FOLDS = 3, {0: ("a", "b"), 1: ("c",), 2: ("d", "e", "f")}


def table(
    folder: Path, rng: np.random.Generator, seeds: int = SEEDS, **test: object
) -> dict[tuple[int, int], RunRecord]:
    """A run of every fold and seed with random Dice."""
    return {
        (fold, seed): scored(folder / f"{fold}-{seed}", seed, fold, dict(zip(cases, rng.random(len(cases)))), **test)
        for fold, cases in FOLDS.items()
        for seed in range(seeds)
    }


def setting(runs: dict[tuple[int, int], RunRecord]) -> Setting:
    return Setting("W4A6", tuple(runs.values()))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_mean_over_cases_and_sd_over_seeds(number: int) -> None:
    runs = table(Path(), np.random.default_rng(number))
    found = spread(setting(runs))
    dice = np.array(
        [[runs[fold, s].per_case[case] for s in range(SEEDS)] for fold, cases in FOLDS.items() for case in cases]
    )
    assert found is not None
    assert found.mean == pytest.approx(dice.mean())
    assert (found.std, found.std_over) == (pytest.approx(dice.mean(0).std(ddof=1)), "seeds")
    assert found.n == 6


def test_sd_is_over_the_cases_of_one_seed() -> None:
    runs = table(Path(), np.random.default_rng(0), seeds=1)
    dice = [value for run in runs.values() for value in run.per_case.values()]
    found = spread(setting(runs))
    assert found is not None
    assert (found.std, found.std_over) == (pytest.approx(np.std(dice, ddof=1)), "cases")


def test_a_seed_that_lacks_a_fold_has_no_part_in_the_sd() -> None:
    runs = table(Path(), np.random.default_rng(1), seeds=2)
    del runs[1, 1]
    found = spread(setting(runs))
    assert found is not None and found.std_over == "cases"
    single = scored(Path(), 0, 0, {"a": 0.5})
    alone = spread(Setting("W4A6", (single,)))
    assert alone is not None and (alone.std, alone.low, alone.high) == (0.0, 0.5, 0.5)


def test_interval_is_the_percentile_bootstrap_of_scipy() -> None:
    dice = np.random.default_rng(2).beta(8, 2, 30)
    run = scored(Path(), 0, 0, {f"case{i:02d}": value for i, value in enumerate(dice)})
    found = spread(Setting("W4A6", (run,)))
    want = stats.bootstrap(
        (dice,), np.mean, method="percentile", n_resamples=20_000, random_state=0
    ).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=0.004)
    assert found == spread(Setting("W4A6", (run,)))


def test_interval_draws_subjects_not_cases() -> None:
    cases = {f"{who}{i}": who == "x" for who in "xy" for i in range(20)}
    scores = {case: float(good) for case, good in cases.items()}
    one = spread(Setting("W4A6", (scored(Path(), 0, 0, scores),)))
    two = spread(Setting("W4A6", (scored(Path(), 0, 0, scores, subjects={case: case[0] for case in cases}),)))
    assert one is not None and two is not None
    assert one.high - one.low < 0.4
    assert (two.low, two.high) == (0.0, 1.0), "of two subjects each resample may hold one only"


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_difference_pairs_cases_of_one_fold_and_seed(number: int) -> None:
    rng = np.random.default_rng(number)
    ours, theirs = table(Path(), rng), table(Path("float"), rng)
    found = delta(setting(ours), setting(theirs))
    want = [
        np.mean([ours[f, s].per_case[c] - theirs[f, s].per_case[c] for s in range(SEEDS)])
        for f, cs in FOLDS.items()
        for c in cs
    ]
    assert found is not None
    assert (found.mean, found.n_pairs) == (pytest.approx(np.mean(want)), 9)
    assert found.low <= found.mean <= found.high


def test_difference_cancels_what_a_fold_and_seed_have_in_common() -> None:
    rng = np.random.default_rng(3)
    theirs = table(Path("float"), rng)
    ours = {
        key: scored(Path(), key[1], key[0], {case: value - 0.01 for case, value in run.per_case.items()})
        for key, run in theirs.items()
    }
    found = delta(setting(ours), setting(theirs))
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((-0.01, -0.01, -0.01))


def test_runs_without_a_partner_do_not_count() -> None:
    a, b = scored(Path("a"), 0, 0, {"x": 0.5}), scored(Path("b"), 1, 0, {"x": 0.1})
    reference = Setting("float", (scored(Path("float"), 0, 0, {"x": 0.6}),))
    found = delta(Setting("W4A6", (a, b)), reference)
    assert found is not None
    assert (found.mean, found.n_pairs) == (pytest.approx(-0.1), 1)
    assert delta(Setting("W4A6", (b,)), reference) is None
    assert delta(reference, reference) is None
    assert delta(Setting("W4A6", (a,)), reference, split="val") is None


def test_undefined_distances_are_left_out() -> None:
    scores = [measure({"x": 2.0, "y": None}), measure({"x": 4.0, "y": 8.0})]
    runs = tuple(
        scored(Path(), s, 0, {"x": 0.5, "y": 0.5}, classes={"gm": {"hd95_mm": m}}) for s, m in enumerate(scores)
    )
    found = spread(Setting("W4A6", runs), "classes", "gm", "hd95_mm")
    assert found is not None
    assert (found.mean, found.n, found.std_over) == (5.5, 2, "cases"), "the seeds know other cases"
    assert spread(Setting("W4A6", runs), "v_rand") is None
    assert mean_by_case([]) == {}


def test_settings_are_told_apart_by_network_and_training() -> None:
    runs = [scored(Path(f"float{i}" if i == 1 else str(i)), i, 0, {"x": 0.5}) for i in range(4)]
    changed = RunRecord(**{**runs[3].__dict__, "config": {**runs[3].config, "iterations": 7}})
    found = settings_of([*runs[:3], changed])
    assert [(s.label, s.seeds) for s in found] == [("W4A6", [0, 2]), ("float", [1]), ("W4A6 (iterations 7)", [3])]
    assert reference_of(found).label == "float"
    assert reference_of(found[2:]).label == "W4A6 (iterations 7)"


def test_one_seed_twice_is_refused() -> None:
    runs = [scored(Path(name), 0, 0, {"x": 0.5}) for name in "ab"]
    with pytest.raises(UserError, match="both W4A6 of em with fold 0 and seed 0"):
        settings_of(runs)


def test_a_setting_that_lacks_a_fold_is_left_out() -> None:
    group = [*table(Path("float"), np.random.default_rng(0), 1).values()]
    part = [run for run in table(Path(), np.random.default_rng(1), 1).values() if run.fold != 1]
    found = [Setting("float", tuple(group)), Setting("W4A6", tuple(part))]
    kept, left_out = whole(found)
    assert [s.label for s in kept] == ["float"]
    assert "no run of fold 1, which tests c" in left_out[0]
    with pytest.raises(UserError, match="tested on all cases"):
        whole([Setting("float", tuple(group[:1])), Setting("W4A6", tuple(part[1:]))])
