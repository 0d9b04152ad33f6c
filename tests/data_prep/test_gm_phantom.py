"""The made-up spinal cords: the same bytes for the same seed, the challenge's layout, and traps that the reader must survive."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unetq.data_prep import gm
from unetq.data_prep.common import PHANTOM_NOTE
from unetq.data_prep.gm_phantom import RATERS, SITES, Study, make_study, write_studies
from unetq.data_prep.phantom import phantom
from unetq.errors import UserError
from unetq.image.measures import dice
from unetq.runtime.dataset import Dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    phantom("gm", folder, 5, 7, size=64)
    return folder


@pytest.fixture(scope="module")
def studies() -> dict[int, Study]:
    return {site: make_study(site, 1, seed=2) for site in range(1, len(SITES) + 1)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes_in_another_process(place: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from unetq.data_prep.phantom import phantom; "
    code += "phantom('gm', Path(sys.argv[1]), 5, 7, 64)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert contents(tmp_path) == contents(place)


def test_a_study_does_not_depend_on_how_many_there_are(place: Path, tmp_path: Path) -> None:
    write_studies(tmp_path, 2, 7, 64)
    assert contents(tmp_path).items() <= contents(place).items()
    other = make_study(1, 1, 8, 64)
    assert not np.array_equal(other.image, make_study(1, 1, 7, 64).image)


def test_the_challenge_s_layout(place: Path) -> None:
    names = [f"site{site}-sc01" for site in (1, 2, 3, 4)] + ["site1-sc02"]
    files = [f"{name}-{what}.nii.gz" for name in names for what in ("image", *(f"mask-r{r}" for r in (1, 2, 3, 4)))]
    assert sorted(contents(place)) == sorted([*files, PHANTOM_NOTE])
    for site, scanner in enumerate(SITES, 1):
        image, mask = (nib.load(place / f"site{site}-sc01-{what}.nii.gz") for what in ("image", "mask-r1"))
        codes = [int(image.header[code]) for code in ("sform_code", "qform_code")]
        assert any(codes) == scanner.coded
        assert "".join(nib.aff2axcodes(mask.affine)) == scanner.axes
        np.testing.assert_allclose(image.header.get_zooms(), (scanner.pixel, scanner.pixel, scanner.step), rtol=1e-6)
        assert set(np.unique(np.asarray(mask.dataobj))) == {0, 1, 2}
    assert len({scanner.axes for scanner in SITES}) >= 3
    assert len({scanner.pixel for scanner in SITES}) >= 3


def test_the_same_reader_reads_it(place: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"site4-sc01-image\.nii\.gz names no orientation"):
        prepared = gm.prepare(place, tmp_path / "out", white_matter=True)
    assert "Made-up gm" in (prepared / "dataset.json").read_text()
    data = Dataset.open(prepared)
    assert len(data.splits["test"]) == 1  # so few people: each is tested in turn
    for site in (1, 2, 3, 4):
        study, case = make_study(site, 1, 7, 64), data.case(f"site{site}-sc01")
        np.testing.assert_array_equal(case.channels[0].array, study.image)  # made in LPS, filed otherwise, turned back
        assert nib.aff2axcodes(case.channels[0].affine) == ("L", "P", "S")
        assert len(case.raters) == RATERS
        for mine, theirs in zip(case.raters, study.raters, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_it_looks_like_a_cord_in_numbers(studies: dict[int, Study]) -> None:
    for site, study in studies.items():
        scanner, mask = SITES[site - 1], study.raters[0]
        area = [np.count_nonzero(mask == label) * scanner.pixel**2 / len(mask) for label in (1, 2)]
        assert 9 < area[0] < 25  # mm2 of a slice; the real ones have 12 to 17
        assert 45 < area[1] < 90
        gray, white = (np.median(study.image[mask == label]) for label in (1, 2))
        assert 1.05 < gray / white < 1.3
        assert all((plane == 1).any() for plane in mask)


def test_one_cord_lies_far_off_the_centre(studies: dict[int, Study]) -> None:
    far = {}
    for site, study in studies.items():
        _, y, x = np.nonzero(study.raters[0])
        middle = (np.array([x.mean(), y.mean()]) - (study.image.shape[1] - 1) / 2) * SITES[site - 1].pixel
        np.testing.assert_allclose(middle, study.cord, atol=2.5)
        far[site] = float(np.hypot(*middle))
    assert max(far, key=lambda site: far[site]) == 3
    assert 20 < far[3] < 40


def test_raters_agree_but_not_quite(studies: dict[int, Study]) -> None:
    for study in studies.values():
        pairs = [dice(a == 1, b == 1) for a, b in combinations(study.raters, 2)]
        assert min(pairs) > 0.72
        assert 0.8 < np.median(pairs) < 0.97


def test_intensity_alone_does_not_solve_it(studies: dict[int, Study]) -> None:
    """Not in the whole image, and at the shaded, noisy sites not even inside the cord."""
    best = {}
    for site, study in studies.items():
        gray, cord = study.raters[0] == 1, study.raters[0] > 0
        cuts = np.percentile(study.image[cord], range(5, 100, 5))
        assert max(dice(study.image > cut, gray) for cut in cuts) < 0.3
        best[site] = max(dice((study.image > cut) & cord, gray) for cut in cuts)
    assert max(best.values()) < 0.85
    assert min(best.values()) < 0.7


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_the_smallest_size_shows_the_cord(site: int) -> None:
    study = make_study(site, 2, 0, 64)
    assert study.image.shape[1:] == (64, 64)
    edge = np.ones((64, 64), bool)
    edge[1:-1, 1:-1] = False
    assert not any((rater[:, edge] > 0).any() for rater in study.raters)


def test_real_data_is_never_overwritten(place: Path, tmp_path: Path) -> None:
    for name in ("site1-sc01-image.nii.gz", "site3-sc09-mask-r1.nii.gz"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"years of work")
        with pytest.raises(UserError, match="is there already and may be real data"):
            phantom("gm", folder, 2, 0, 64)
        assert contents(folder) == {name: b"years of work"}
    before = contents(place)
    phantom("gm", place, 5, 7, 64)  # the same again is no matter
    assert contents(place) == before


def test_too_small(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="63 pixels cannot be made: ask for 64"):
        phantom("gm", tmp_path, 1, 0, 63)
    assert not list(tmp_path.iterdir())
