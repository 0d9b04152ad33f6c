"""Phantom studies: the same bytes for the same seed, the look of the real thing, the same reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetq.data_prep import em
from unetq.data_prep.phantom import em_pages, phantom
from unetq.errors import UserError
from unetq.runtime.dataset import Dataset


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        phantom("em", tmp_path / name, 2, seed)
    for file in (em.VOLUME, em.LABELS):
        a, b, c = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert a == b and a != c


def test_a_page_does_not_depend_on_how_many_there_are() -> None:
    few, many = em_pages(2, 0, size=128), em_pages(4, 0, size=128)
    assert np.array_equal(few[0], many[0][:2]) and np.array_equal(few[1], many[1][:2])


def test_slices_look_like_cells() -> None:
    images, labels = em_pages(3, 0)
    assert set(np.unique(labels)) == {0, 255}
    for image, label in zip(images, labels):
        inside, membrane = image[label == 255].astype(float), image[label == 0].astype(float)
        assert 0.65 < (label == 255).mean() < 0.9
        assert inside.mean() - membrane.mean() > 30, "membranes are dark"
        # A threshold must not do: dark organelles and grain inside, faint membranes outside.
        threshold = (inside.mean() + membrane.mean()) / 2
        wrong = ((image > threshold) != (label == 255)).mean()
        assert 0.05 < wrong < 0.35
    same = (labels[0] == labels[1]).mean()
    assert 0.75 < same < 0.99, "cells go on from slice to slice, but not unchanged"


def test_the_phantom_goes_through_the_challenge_s_own_reader(tmp_path: Path) -> None:
    phantom("em", tmp_path / "em", 6, 0)
    dataset = Dataset.open(em.prepare(tmp_path, tmp_path / "out"))
    dataset.fingerprint()
    assert [len(dataset.cases(split)) for split in ("train", "val", "test")] == [2, 1, 1]


def test_unknown_phantom() -> None:
    with pytest.raises(UserError, match="valid are: em"):
        phantom("nih", Path("nowhere"), 1, 0)
