"""Who is on which side: the subject of a case, and splits that never cut a subject in two."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from unetq.data_prep.common import Splits
from unetq.errors import UserError

__all__ = [
    "FOLDS",
    "TEST_SHARE",
    "leave_one_out",
    "natural",
    "subject_folds",
    "subject_of",
    "subject_pattern",
    "with_test",
]

TEST_SHARE, FOLDS = 0.2, 5
# A test, a validation and a training subject.
MIN_SUBJECTS = 3


def natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """Key of an order in which slice 10 comes after slice 9.

    >>> sorted(["s10", "s9", "S1"], key=natural)
    ['S1', 's9', 's10']
    """
    return [(text, int(digits or -1)) for text, digits in re.findall(r"(\D*)(\d*)", name.lower())], name


def subject_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression that finds the subject in a name.

    Raises:
        UserError: it is none.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f'"{pattern}" is no regular expression: {error}.') from None


def subject_of(path: Path, stem: str, pattern: re.Pattern[str]) -> str:
    """The subject in a file's name: the first group of the pattern, or all that it matches where it has none.

    Args:
        path: of the file, for the sentence.
        stem: its name without suffix.
        pattern: see `subject_pattern`.

    Raises:
        UserError: the name has none.

    >>> subject_of(Path("p12-7.png"), "p12-7", subject_pattern(r"p([0-9]+)-"))
    '12'
    """
    found = pattern.search(stem)
    subject = found.group(1 if pattern.groups else 0) if found else None
    if not subject:
        raise UserError(f'The expression "{pattern.pattern}" finds no subject in the name of {path}.')
    return subject


def subject_folds(subject: Mapping[str, str], where: Path, seed: int = 0) -> list[Splits]:
    """Splits by subject: `TEST_SHARE` of the subjects are the test of every fold, each other one is validated once.

    Who is where follows from the hash of the subject's name, not from the order or the number of the files.

    Args:
        subject: case -> its subject.
        where: the data, for the sentence.
        seed: another seed, another split.

    Raises:
        UserError: fewer than three subjects.
    """
    order = _shuffled(set(subject.values()), seed)
    _refuse_few(order, where)
    test = set(order[: _share(len(order))])
    rest = [name for name in order if name not in test]
    folds = min(FOLDS, len(rest))
    return [
        {
            "train": _cases(subject, set(rest) - set(rest[fold::folds])),
            "val": _cases(subject, set(rest[fold::folds])),
            "test": _cases(subject, test),
        }
        for fold in range(folds)
    ]


def leave_one_out(subject: Mapping[str, str], where: Path) -> list[Splits]:
    """Splits by subject: each one is tested in turn, and the next one validated.

    Args:
        subject: case -> its subject.
        where: the data, for the sentence.

    Raises:
        UserError: fewer than three subjects.
    """
    order = sorted(set(subject.values()), key=natural)
    _refuse_few(order, where)
    folds = []
    for test, val in zip(order, [*order[1:], order[0]], strict=True):
        train = set(order) - {test, val}
        folds.append({"train": _cases(subject, train), "val": _cases(subject, {val}), "test": _cases(subject, {test})})
    return folds


def with_test(folds: Sequence[Splits], subject: Mapping[str, str], where: Path, seed: int = 0) -> list[Splits]:
    """Folds of training and validation cases with a test part: `TEST_SHARE` of the subjects, the same ones in each fold.

    Raises:
        UserError: fewer than three subjects; a fold names a case that is not there, has a subject on both sides, or keeps
            nothing to train or validate on.
    """
    order = _shuffled(set(subject.values()), seed)
    _refuse_few(order, where)
    test = _cases(subject, set(order[: _share(len(order))]))
    complete: list[Splits] = []
    for number, fold in enumerate(folds):
        unknown = next((case for cases in fold.values() for case in cases if case not in subject), None)
        if unknown is not None:
            raise UserError(f"Fold {number} of {where} names the case {unknown}, which has no label.")
        both = {subject[case] for case in fold.get("train", [])} & {subject[case] for case in fold.get("val", [])}
        if both:
            raise UserError(
                f"Fold {number} of {where} has the subject {min(both)} in train and in val: leave it in one of them."
            )
        parts = {part: [case for case in fold.get(part, []) if case not in test] for part in ("train", "val")}
        if not all(parts.values()):
            raise UserError(
                f"Fold {number} of {where} names no test cases, and too few others to hold some out: add test to it."
            )
        complete.append({**parts, "test": test})
    return complete


def _refuse_few(subjects: Sequence[str], where: Path) -> None:
    if len(subjects) < MIN_SUBJECTS:
        raise UserError(
            f"{where} holds {len(subjects)} subject{'s' * (len(subjects) != 1)}: training, validation and test need "
            f"{MIN_SUBJECTS} (which part of a name is the subject is said with --subject)."
        )


def _shuffled(names: set[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def _share(subjects: int) -> int:
    return max(1, round(TEST_SHARE * subjects))


def _cases(subject: Mapping[str, str], chosen: set[str]) -> list[str]:
    return sorted((case for case, who in subject.items() if who in chosen), key=natural)
