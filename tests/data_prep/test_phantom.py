"""Phantoms: the same bytes for the same seed, the challenge's own layout, and a picture that is neither trivial nor noise."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unetq.data_prep import em
from unetq.data_prep.common import PHANTOM_NOTE
from unetq.data_prep.em import LABELS, VOLUME
from unetq.data_prep.em_phantom import em_pages
from unetq.data_prep.phantom import PHANTOMS, phantom
from unetq.data_prep.registry import DATASETS
from unetq.errors import UserError
from unetq.image.measures import dice
from unetq.image.read import read
from unetq.runtime.dataset import Dataset


@pytest.fixture(scope="module")
def pages() -> tuple[np.ndarray, np.ndarray]:
    return em_pages(8, seed=3)


def test_same_seed_same_bytes_in_another_process(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        phantom("em", tmp_path / name, 3, seed=5 if name != "c" else 6, size=96)
    code = "import sys; from pathlib import Path; from unetq.data_prep.phantom import phantom; "
    code += "phantom('em', Path(sys.argv[1]), 3, 5, 96)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "d")], check=True)
    for name in (VOLUME, LABELS):
        a, b, c, d = ((tmp_path / folder / name).read_bytes() for folder in "abcd")
        assert a == b == d
        assert a != c


def test_the_first_pages_do_not_depend_on_how_many_there_are() -> None:
    few, many = em_pages(2, 1, 64), em_pages(5, 1, 64)
    for a, b in zip(few, many):
        np.testing.assert_array_equal(a, b[:2])


def test_the_layout_of_the_challenge_read_by_the_same_reader(tmp_path: Path) -> None:
    phantom("em", tmp_path / "em", 7, 0, size=128)
    assert sorted(p.name for p in (tmp_path / "em").iterdir()) == [PHANTOM_NOTE, LABELS, VOLUME]
    images, labels = (read(tmp_path / "em" / name) for name in (VOLUME, LABELS))
    assert images.array.shape == labels.array.shape == (7, 128, 128)
    assert images.array.dtype == labels.array.dtype == np.uint8
    np.testing.assert_array_equal(images.array, em_pages(7, 0, 128)[0])
    prepared = em.prepare(tmp_path)
    assert "Made-up em" in json.loads((prepared / "dataset.json").read_text())["unetq"]["source"]
    data = Dataset.open(prepared)
    np.testing.assert_array_equal(data.case("em_004").truth[0], labels.array[4] // 255)
    data.fingerprint()  # no slice is on both sides


def test_it_looks_like_the_real_slices_in_numbers(pages: tuple[np.ndarray, np.ndarray]) -> None:
    """Real: mean 125 +- 43, 77 % interior, interior 137 +- 39, membranes 85 +- 32, neighbours' Dice 0.82."""
    images, labels = pages
    inside = labels == 255
    assert np.unique(labels).tolist() == [0, 255]
    assert 0.68 < inside.mean() < 0.85
    assert 110 < images.mean() < 140
    assert 33 < images.std() < 50
    assert images[inside].mean() - images[~inside].mean() > 35
    assert ((images == 0) | (images == 255)).mean() < 0.01
    for a, b in pairwise(inside):
        assert 0.78 < dice(a, b) < 0.93  # cells go on from slice to slice, but not unchanged
    assert not np.array_equal(images[0], images[1])


def test_gray_values_alone_do_not_solve_it(pages: tuple[np.ndarray, np.ndarray]) -> None:
    """The best threshold of a slightly smoothed image is better than all-inside on the membranes, but far from right."""
    images, labels = pages
    image, membrane = images[0].astype(np.float32), labels[0] == 0
    near = sum(np.roll(image, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)) / 9
    best = max(dice(near < t, membrane) for t in range(40, 200, 4))
    assert 0.5 < best < 0.85
    assert dice(np.ones_like(membrane), ~membrane) < 0.92


def test_membranes_close_around_cells(pages: tuple[np.ndarray, np.ndarray]) -> None:
    import SimpleITK as sitk  # noqa: N813

    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(pages[1][0])), 30)
    sizes = np.bincount(sitk.GetArrayFromImage(parts).ravel())[1:]
    assert 60 < len(sizes) < 250
    assert sizes.max() < 0.2 * 512 * 512
    assert np.quantile(sizes, 0.9) > 8 * np.quantile(sizes, 0.1)  # of many sizes


@pytest.mark.parametrize("size", [64, 100, 130])
def test_other_sizes(size: int) -> None:
    images, labels = em_pages(1, 2, size)
    assert images.shape == labels.shape == (1, size, size)
    assert 0.5 < (labels == 255).mean() < 0.95


def test_a_high_stack_has_mitochondria_everywhere() -> None:
    """Mitochondria come again; page 60 is as textured as page 0."""
    from unetq.data_prep.em_phantom import _Tissue

    tissue = _Tissue(np.random.default_rng(0), 128)
    spread = [tissue.page(z, np.random.default_rng(z))[0].std() for z in (0, 60, 200)]
    assert max(spread) < 1.4 * min(spread)


def test_fast_enough() -> None:
    before = time.process_time()
    em_pages(3, 0)
    assert time.process_time() - before < 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("en", 6, 0, None), 'no phantom of "en": did you mean "em"'),
        (("zzzz", 6, 0, None), "valid are: em"),
        (("em", 0, 0, None), "0 cases"),
        (("em", 6, -1, None), "seed"),
        (("em", 6, 0, 62), "even size from 64"),
        (("em", 6, 0, 101), "even size from 64"),
    ],
)
def test_refused(arguments: tuple[str, int, int, int | None], words: str, tmp_path: Path) -> None:
    name, cases, seed, size = arguments
    with pytest.raises(UserError, match=words):
        phantom(name, tmp_path, cases, seed, size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", [VOLUME, LABELS])
def test_real_data_is_never_overwritten(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).write_bytes(b"years of work")
    with pytest.raises(UserError, match=f"{taken} is there already"):
        phantom("em", tmp_path, 6, 0, 64)
    assert [p.name for p in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_bytes() == b"years of work"


def test_the_same_phantom_again_is_no_matter(tmp_path: Path) -> None:
    for _ in range(2):
        phantom("em", tmp_path, 6, 0, 64)
    with pytest.raises(UserError, match="is there already"):
        phantom("em", tmp_path, 6, 1, 64)


def test_every_phantom_is_of_a_data_set() -> None:
    assert set(PHANTOMS) <= set(DATASETS)
