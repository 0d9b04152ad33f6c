"""Splits by subject: nobody on two sides, everybody validated or tested, and the same whatever else is there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from unetq.data_prep.common import Splits
from unetq.data_prep.subjects import (
    FOLDS,
    TEST_SHARE,
    leave_one_out,
    natural,
    subject_folds,
    subject_of,
    subject_pattern,
    with_test,
)
from unetq.errors import UserError

WHERE = Path("data")
NAMES = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=6)
# Case -> subject, with one to three cases a subject.
PEOPLE = st.dictionaries(NAMES, st.integers(1, 3), min_size=3, max_size=25).map(
    lambda people: {f"{who}#{k}": who for who, cases in people.items() for k in range(cases)}
)


def subjects(people: dict[str, str], cases: list[str]) -> set[str]:
    return {people[case] for case in cases}


def sound(people: dict[str, str], folds: list[Splits]) -> None:
    """Each fold holds every case once, no part is empty, and no subject is on two sides."""
    for fold in folds:
        assert sorted(fold) == ["test", "train", "val"]
        assert sorted(case for cases in fold.values() for case in cases) == sorted(people)
        sides = [subjects(people, cases) for cases in fold.values()]
        assert all(sides)
        assert sum(map(len, sides)) == len(set(people.values()))


@given(PEOPLE, st.integers(0, 3))
def test_folds_by_subject(people: dict[str, str], seed: int) -> None:
    folds = subject_folds(people, WHERE, seed)
    sound(people, folds)
    number = len(set(people.values()))
    tested = [subjects(people, fold["test"]) for fold in folds]
    assert all(some == tested[0] for some in tested)  # the test is fixed first
    assert len(tested[0]) == max(1, round(TEST_SHARE * number))
    assert len(folds) == min(FOLDS, number - len(tested[0]))
    validated = [subjects(people, fold["val"]) for fold in folds]
    assert set().union(*validated) == set(people.values()) - tested[0]
    assert sum(map(len, validated)) == number - len(tested[0])  # each one once


@given(PEOPLE, st.randoms(use_true_random=False))
def test_the_order_of_the_files_is_no_matter(people: dict[str, str], random: object) -> None:
    order = list(people)
    random.shuffle(order)  # type: ignore[attr-defined]
    assert subject_folds({case: people[case] for case in order}, WHERE) == subject_folds(people, WHERE)
    assert subject_folds(people, WHERE, 1) == subject_folds(people, WHERE, 1)


def test_more_cases_of_a_subject_move_nobody_and_another_seed_does() -> None:
    few = {f"p{k}": f"p{k}" for k in range(20)}
    more = few | {f"p{k}-again": f"p{k}" for k in range(20)}
    test, again = (subjects(people, subject_folds(people, WHERE)[0]["test"]) for people in (few, more))
    assert test == again
    assert len({tuple(subject_folds(few, WHERE, seed)[0]["test"]) for seed in range(8)}) > 4


@given(PEOPLE)
def test_each_one_is_left_out_in_turn(people: dict[str, str]) -> None:
    folds = leave_one_out(people, WHERE)
    sound(people, folds)
    for part in ("test", "val"):
        turns = [subjects(people, fold[part]) for fold in folds]
        assert all(len(some) == 1 for some in turns)
        assert set().union(*turns) == set(people.values())
        assert len(turns) == len(set(people.values()))


@given(PEOPLE, st.integers(2, 5))
def test_folds_of_nnu_net_get_a_test(people: dict[str, str], number: int) -> None:
    everybody = sorted(set(people.values()))
    given_folds = [
        {
            "train": [case for case, who in people.items() if who not in everybody[k::number]],
            "val": [case for case, who in people.items() if who in everybody[k::number]],
        }
        for k in range(number)
    ]
    try:
        folds = with_test(given_folds, people, WHERE)
    except UserError as error:
        assume("too few others" not in str(error))
        raise
    sound(people, folds)
    tested = subjects(people, folds[0]["test"])
    for before, after in zip(given_folds, folds, strict=True):
        assert after["test"] == folds[0]["test"]
        for part in ("train", "val"):  # nobody changes sides
            assert after[part] == [case for case in before[part] if people[case] not in tested]
    assert tested == subjects(people, subject_folds(people, WHERE)[0]["test"])


FOUR = {name: name for name in "abcd"}


@pytest.mark.parametrize(
    ("fold", "words"),
    [
        ({"train": ["a", "b"], "val": ["c", "z"]}, "Fold 0 of data names the case z, which has no label"),
        ({"train": ["a", "b", "c"], "val": ["c", "d"]}, "subject c in train and in val"),
        ({"train": ["a", "b", "c", "d"], "val": []}, "too few others"),
        ({"val": ["a", "b", "c", "d"]}, "too few others"),
    ],
)
def test_folds_that_are_refused(fold: Splits, words: str) -> None:
    with pytest.raises(UserError, match=words):
        with_test([fold], FOUR, WHERE)


def test_two_cases_of_a_subject_in_train_and_val() -> None:
    people = {"a1": "a", "a2": "a", "b": "b", "c": "c", "d": "d"}
    with pytest.raises(UserError, match="subject a in train and in val"):
        with_test([{"train": ["a1", "b"], "val": ["a2", "c", "d"]}], people, WHERE)


@pytest.mark.parametrize("number", [1, 2])
def test_too_few_subjects(number: int) -> None:
    people = {f"{who}{k}": str(who) for who in range(number) for k in range(4)}
    for split in (subject_folds, leave_one_out, lambda *some: with_test([{"train": [], "val": []}], *some)):
        with pytest.raises(UserError, match=rf"data holds {number} subjects?: .* need 3 .*--subject"):
            split(people, WHERE)


@given(st.lists(st.integers(0, 2000), min_size=2, unique=True))
def test_natural_order_is_that_of_the_numbers(numbers: list[int]) -> None:
    names = [f"Slice-{n}.b" for n in numbers]
    assert sorted(names, key=natural) == [f"Slice-{n}.b" for n in sorted(numbers)]


@given(st.lists(NAMES, min_size=2, max_size=8, unique=True))
def test_natural_order_is_total(names: list[str]) -> None:
    order = sorted(names, key=natural)
    names.reverse()
    assert order == sorted(names, key=natural)
    assert all(natural(a) < natural(b) for a, b in pairwise(order))


@pytest.mark.parametrize(
    "pattern", [r"p(\d+)-", r"^p(\d+)", r"(?<=p)\d+(?=-)", r"p(\d+)-(\d+)", r"(?:p|q)(?P<who>\d+)"]
)
def test_the_first_group_or_the_whole_match_is_the_subject(pattern: str) -> None:
    assert subject_of(Path("p12-7.png"), "p12-7", subject_pattern(pattern)) == "12"


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(UserError, match=r'"\(" is no regular expression: .*\.$'):
        subject_pattern("(")
