"""DICOM SEG: read back bit for bit, valid by dciodvfy, naming nobody where asked."""

from __future__ import annotations

import shutil
import subprocess
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
@pytest.mark.parametrize("anonymous", [False, True])
def test_valid_by_dciodvfy(anonymous: bool, tmp_path: Path) -> None:
    out = tmp_path / "seg.dcm"
    about = SegAbout(LABELS, "W4A6", "0" * 64, False, anonymous)
    write_seg(mask(4), series_headers(made(tmp_path / "series", True)), about, out)
    said = subprocess.run(["dciodvfy", str(out)], capture_output=True, text=True, check=False)
    errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
    assert errors == []


def test_without_names_the_file_holds_none(tmp_path: Path) -> None:
    headers = series_headers(made(tmp_path / "series", False))
    out = tmp_path / "seg.dcm"
    write_seg(mask(5), headers, SegAbout(LABELS, "W4A6", "0" * 64, anonymous=True), out)
    content = out.read_bytes()
    for word in (b"Muster", b"P17", b"19600102", b"A17", b"Kurz", b"S17"):
        assert word not in content
    assert headers[0].PatientName == "Muster^Max", "the open study keeps its own"
    assert np.array_equal(read_seg(out, headers), mask(5)), "and the reference to the series stays"


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
