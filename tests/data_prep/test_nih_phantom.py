"""The made-up CT: the same bytes for the same seed, the archive's layout and directions, organs of the right intensities."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from unetq.data_prep import nih
from unetq.data_prep.common import PHANTOM_NOTE
from unetq.data_prep.nih_phantom import LABELS, SLICES, Study, make_study, write_patients
from unetq.data_prep.nih_series import WITHDRAWN, patients
from unetq.data_prep.phantom import phantom
from unetq.errors import UserError
from unetq.image.dicom import read_series
from unetq.image.measures import dice
from unetq.runtime.dataset import Dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    phantom("nih", folder, 3, 7, size=64)
    return folder


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    return [make_study(number, seed=2) for number in range(1, 5)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_same_seed_same_bytes_in_another_process(place: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from unetq.data_prep.phantom import phantom; "
    code += "phantom('nih', Path(sys.argv[1]), 3, 7, 64)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert contents(tmp_path) == contents(place)


def test_same_bytes_after_a_file_was_read(place: Path, tmp_path: Path) -> None:
    read_series(next(place.glob("PANCREAS_0001/*/*")))  # GDCM keeps a state
    write_patients(tmp_path, 1, 7, 64)
    assert contents(tmp_path).items() <= contents(place).items()


def test_a_patient_does_not_depend_on_how_many_there_are(place: Path, tmp_path: Path) -> None:
    write_patients(tmp_path, 1, 7, 64)
    few, many = contents(tmp_path), contents(place)
    assert len(few) == SLICES + 1
    assert few.items() <= many.items()


def test_the_archive_s_layout_and_directions(place: Path) -> None:
    tops = sorted(path.name for path in place.iterdir())
    assert tops == ["PANCREAS_0001", "PANCREAS_0002", "PANCREAS_0003", PHANTOM_NOTE, LABELS]
    slices = sorted(place.glob("PANCREAS_0002/*/*/1-*.dcm"))
    assert len(slices) == SLICES
    reader = sitk.ImageFileReader()
    heights, uids = [], set()
    for number, path in enumerate(slices, 1):
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        tags = {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}
        assert (tags["0020|0013"], tags["0010|0010"], tags["0010|0020"]) == (str(number), "PHANTOM", "PANCREAS_0002")
        assert tags["0020|0037"] == "1\\0\\0\\0\\-1\\0"
        assert (tags["0028|1052"], tags["0028|1053"]) == ("-1024", "1")
        heights.append(float(tags["0020|0032"].split("\\")[2]))
        uids.add(tags["0008|0018"])
    assert heights == sorted(heights, reverse=True)
    assert len(uids) == SLICES
    label = nib.load(place / LABELS / "label0002.nii.gz")
    assert nib.aff2axcodes(label.affine) == ("L", "A", "I")
    image = read_series(slices[0].parent)
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-3)
    inside = image.array[np.asarray(label.dataobj).T == 1]  # rows, columns and instances, as the archive's own
    assert 40 < np.median(inside) < 110


def test_the_same_reader_reads_it(place: Path, tmp_path: Path) -> None:
    for number, image, label, affine in patients(place):
        study = make_study(number, 7, 64)
        np.testing.assert_array_equal(image, study.hu[::-1, ::-1])
        np.testing.assert_array_equal(label, study.label[::-1, ::-1])
        np.testing.assert_allclose(np.abs(np.diag(affine))[:3], study.spacing[::-1], atol=1e-4)
    prepared = nih.prepare(place, tmp_path / "out")
    data = Dataset.open(prepared)
    assert sorted(case for cases in data.splits.values() for case in cases) == [
        f"PANCREAS_{number:04d}" for number in (1, 2, 3)
    ]
    assert "Made-up nih" in (prepared / "dataset.json").read_text()


def test_it_looks_like_a_body_in_numbers(studies: list[Study]) -> None:
    for study in studies:
        inside = study.label == 1
        millilitres = inside.sum() * np.prod(study.spacing) / 1000
        assert 40 < millilitres < 250
        assert 45 < np.median(study.hu[inside]) < 110
        assert (study.hu < -900).mean() > 0.3  # air around
        assert ((study.hu > -140) & (study.hu < -60)).mean() > 0.1  # fat
        assert (study.hu > 300).any()  # bone
        assert inside.any((1, 2)).sum() >= 12
    pixels = {study.spacing for study in studies}
    assert len(pixels) == len(studies)
    assert all(0.7 < study.spacing[2] * 128 / 512 < 0.95 for study in studies)


def test_gray_values_alone_do_not_solve_it(studies: list[Study]) -> None:
    for study in studies[:3]:
        inside = study.label == 1
        low, high = np.percentile(study.hu[inside], (10, 90))
        assert dice((study.hu > low) & (study.hu < high), inside) < 0.35


def test_it_goes_on_from_slice_to_slice_and_differs_from_patient_to_patient(studies: list[Study]) -> None:
    for study in studies:
        middle = [plane for plane in study.label if plane.any()][3:-3]
        assert np.median([dice(a > 0, b > 0) for a, b in pairwise(middle)]) > 0.4
    assert max(dice(a.label > 0, b.label > 0) for a in studies for b in studies if a is not b) < 0.75


@pytest.mark.parametrize("size", [32, 65])
def test_other_sizes(size: int) -> None:
    study = make_study(1, 0, size)
    assert study.hu.shape == study.label.shape == (SLICES, size, size)
    assert study.label.any()


def test_withdrawn_numbers_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unetq.data_prep.nih_phantom.WITHDRAWN", (2, 3))
    write_patients(tmp_path, 2, 0, 32)
    assert sorted(path.name for path in tmp_path.glob("PANCREAS_*")) == ["PANCREAS_0001", "PANCREAS_0004"]
    assert WITHDRAWN == (25, 70)


def test_real_data_is_never_overwritten(place: Path, tmp_path: Path) -> None:
    for name in ("PANCREAS_0001/study/series/1-001.dcm", "PANCREAS_0099/1-001.dcm", f"{LABELS}/label0001.nii.gz"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(b"years of work")
        with pytest.raises(UserError, match="is there already and may be real data"):
            phantom("nih", folder, 2, 0, 32)
        assert contents(folder) == {name: b"years of work"}
    before = contents(place)
    phantom("nih", place, 3, 7, 64)  # the same again is no matter
    assert contents(place) == before
    with pytest.raises(UserError, match="is there already"):
        phantom("nih", place, 3, 8, 64)


def test_too_small(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="31 pixels cannot be made: ask for 32"):
        phantom("nih", tmp_path, 1, 0, 31)
    assert not list(tmp_path.iterdir())
