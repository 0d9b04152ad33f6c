"""DICOM SEG: read back bit for bit, valid by dciodvfy, naming nobody where asked."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unetq.errors import UserError
from unetq.image.dicom import read_series

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
from tests.image.seg_made import HU, made  # noqa: E402
from unetq.image.seg import SegAbout, read_seg, series_headers, write_seg  # noqa: E402

LABELS = (("pancreas", "15776009"), ("lesion", ""))
ABOUT = SegAbout(LABELS, "W4A6", "0" * 64)
FULL = replace(ABOUT, empty_frames=True)
NAMELESS = replace(ABOUT, anonymous=True, person="Anna")
CORRECTED = replace(ABOUT, model="Correction 1", version="2026-01-01T00:00:00+00:00", person="Łukasz ^Żółć")


def mask(seed: int) -> np.ndarray:
    labels = np.random.default_rng(seed).integers(0, 3, HU.shape).astype(np.uint8)
    labels[1] = 0
    return labels


@pytest.mark.parametrize("empty_frames", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_read_back_bit_for_bit(turned: bool, empty_frames: bool, tmp_path: Path) -> None:
    headers = series_headers(made(tmp_path / "series", turned))
    labels = mask(3)
    out = tmp_path / "seg.dcm"
    write_seg(labels, headers, SegAbout(LABELS, "W4A6", "0" * 64, empty_frames), out)
    assert np.array_equal(read_seg(out, headers), labels)
    seg = pydicom.dcmread(out)
    assert seg.SegmentationType == "BINARY" and seg.NumberOfFrames == (10 if empty_frames else 8)
    assert "Research use only, not a medical device" in seg.SeriesDescription
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "15776009"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == headers[0].SeriesInstanceUID
    assert seg.FrameOfReferenceUID == "2.25.7" and seg.PatientName == "Muster^Max"
    # The slices are in the order of `read_series`.
    affine = read_series(tmp_path / "series").affine
    for z, header in enumerate(headers):
        assert np.allclose((affine @ [0, 0, z, 1])[:3] * (-1, -1, 1), header.ImagePositionPatient, atol=1e-3)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs Debian's dicom3tools")
@pytest.mark.parametrize(
    "about", [ABOUT, FULL, NAMELESS, CORRECTED], ids=["own", "empty frames", "nameless", "corrected"]
)
@pytest.mark.parametrize("turned", [False, True], ids=["axial", "oblique"])
def test_valid_by_dciodvfy(turned: bool, about: SegAbout, tmp_path: Path) -> None:
    out = tmp_path / "seg.dcm"
    write_seg(mask(4), series_headers(made(tmp_path / "series", turned)), about, out)
    said = subprocess.run(["dciodvfy", str(out)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert "Segmentation" in lines and not [line for line in lines if line.startswith("Error")], "\n".join(lines)


# What a scanner and a hospital write into a series, everywhere highdicom would take it over from.
PRIVATE = {"OtherPatientNames": "Muster^Maxi", "PatientComments": "Muster again", "PatientAddress": "Musterweg 1"}
PRIVATE |= {"PatientTelephoneNumbers": "0170 555", "PatientMotherBirthName": "Kunze", "Occupation": "Baker"}
PRIVATE |= {"StudyDescription": "Herr Muster, Bauch", "AdditionalPatientHistory": "since 1999", "PatientAge": "093Y"}
PRIVATE |= {"PhysiciansOfRecord": "Lang^B", "NameOfPhysiciansReadingStudy": "Hell^C", "EthnicGroup": "Sorb"}
PRIVATE |= {"IssuerOfPatientID": "KLINIKUM", "InstitutionName": "Klinikum Musterstadt", "StationName": "CT17"}
PRIVATE |= {"InstitutionAddress": "Klinikweg 9", "OperatorsName": "Feld^D", "DeviceSerialNumber": "SN4711"}
PRIVATE |= {
    "ResponsiblePerson": "Muster^Eva",
    "PatientInsurancePlanCodeSequence": [],
    "ClinicalTrialSubjectID": "SUBJ5",
}
PRIVATE |= {"Manufacturer": "Scanwerk", "SeriesDescription": "Muster portal"}


def test_without_names_the_file_holds_none(tmp_path: Path) -> None:
    folder = made(tmp_path / "series", False)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        for name, value in PRIVATE.items():
            setattr(header, name, value)
        header.save_as(path)
    headers = series_headers(folder)
    out = tmp_path / "seg.dcm"
    write_seg(mask(5), headers, NAMELESS, out)
    content = out.read_bytes()
    known = [b"Muster", b"P17", b"19600102", b"A17", b"Kurz", b"S17", b"20260101", b"120000", b"Anna"]
    for word in (*known, *(str(value).encode() for value in PRIVATE.values() if value)):
        assert word not in content, word
    assert b"SN4711" in named(headers, tmp_path), "what was looked for would be there otherwise"
    assert headers[0].PatientName == "Muster^Max", "the open study keeps its own"
    assert np.array_equal(read_seg(out, headers), mask(5)), "and the reference to the series stays"
    assert pydicom.dcmread(out).PatientIdentityRemoved == "YES"


def named(headers: list, folder: Path) -> bytes:
    """The same export with names."""
    write_seg(mask(5), headers, ABOUT, folder / "named.dcm")
    return (folder / "named.dcm").read_bytes()


def test_a_corrected_mask_says_who_corrected_it(tmp_path: Path) -> None:
    headers = series_headers(made(tmp_path / "series", False))
    out = tmp_path / "seg.dcm"
    write_seg(mask(7), headers, CORRECTED, out)
    seg = pydicom.dcmread(out)
    assert seg.ContentCreatorName == "Łukasz  Żółć^" and seg.PatientName == "Muster^Max"
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    write_seg(mask(7), headers, ABOUT, out)
    seg = pydicom.dcmread(out)
    assert not seg.get("ContentCreatorName")
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}


def test_a_series_that_lacks_what_may_be_unknown_is_written(tmp_path: Path) -> None:
    headers = series_headers(made(tmp_path / "series", False))
    for header in headers:
        for name in ("AccessionNumber", "StudyID", "PatientBirthDate", "PatientSex", "StudyTime", "PatientName"):
            delattr(header, name)
    out = tmp_path / "seg.dcm"
    write_seg(mask(8), headers, ABOUT, out)
    assert np.array_equal(read_seg(out, headers), mask(8)) and "AccessionNumber" not in headers[0]


def test_what_cannot_be_written_or_read_is_a_sentence(tmp_path: Path) -> None:
    headers = series_headers(made(tmp_path / "series", False))
    about = SegAbout(LABELS, "W4A6", "0" * 64)
    with pytest.raises(UserError, match="empty"):
        write_seg(np.zeros(HU.shape, np.uint8), headers, about, tmp_path / "a.dcm")
    with pytest.raises(UserError, match="label 9"):
        write_seg(np.full(HU.shape, 9, np.uint8), headers, about, tmp_path / "a.dcm")
    with pytest.raises(UserError, match="no DICOM SEG"):
        read_seg(tmp_path / "series/1-001.dcm", headers)
    bare = [pydicom.Dataset() for _ in headers]
    with pytest.raises(UserError, match="lacks"):
        write_seg(mask(6), bare, about, tmp_path / "a.dcm")
    assert not list(tmp_path.glob("*.dcm"))
