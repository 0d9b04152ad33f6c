"""A mask as a DICOM SEG beside its series, by highdicom (`pip install 'unetq[dicom]'`), and back."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from unetq.errors import UserError
from unetq.files import atomic
from unetq.image.dicom import dicom_files

__all__ = ["SegAbout", "read_seg", "series_headers", "write_seg"]

RESEARCH = "Research use only, not a medical device"
LONG_STRING = 64  # characters of a DICOM LO
ANATOMY = CodedConcept("123037004", "SCT", "Anatomical Structure")
# Who and when: an export without them names nobody. Sex and age stay, as they do not name anybody.
NAMES = (
    "PatientBirthDate",
    "OtherPatientIDs",
    "PatientAddress",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)


@dataclass(frozen=True)
class SegAbout:
    """What a SEG says of itself.

    Attributes:
        labels: (name, SNOMED CT code or "") of the labels 1, 2, ...
        model: name of the model.
        version: its hash, or the software's version.
        empty_frames: a frame for every slice of the source, for viewers that misplace sparse ones.
        anonymous: leave out the patient's name, number and dates of birth.
    """

    labels: Sequence[tuple[str, str]]
    model: str
    version: str
    empty_frames: bool = False
    anonymous: bool = False


def series_headers(folder: Path) -> list[pydicom.Dataset]:
    """The data sets of a series that `read_series` has read, without pixels, in the order of its slices.

    Raises:
        UserError: a file that cannot be read.
    """
    try:
        found = [pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in dicom_files(folder)]
        return sorted(found, key=_depth)
    except (InvalidDicomError, AttributeError, ValueError, TypeError, EOFError, OSError) as error:
        raise UserError(f"{folder} holds a DICOM file whose header cannot be read: {error}.") from None


def write_seg(mask: NDArray[np.uint8], headers: Sequence[pydicom.Dataset], about: SegAbout, path: Path) -> None:
    """Writes a BINARY segmentation that references the series.

    Args:
        mask: labels (Z, Y, X) on the grid of the series.
        headers: of `series_headers`, one a slice.
        about: labels, model, and choices.
        path: .dcm.

    Raises:
        UserError: the mask is empty and empty frames are not wanted, the series lacks what a SEG must repeat, or
            `path` cannot be written.
    """
    if mask.ndim != 3 or len(mask) != len(headers):
        raise ValueError(f"The mask has the shape {mask.shape}, but the series {len(headers)} slices.")
    if not mask.any() and not about.empty_frames:
        raise UserError("The mask is empty, and a DICOM SEG cannot be without a frame: write it with empty frames.")
    if mask.max(initial=0) > len(about.labels):
        raise UserError(f"The mask has the label {mask.max()}, but the model names {len(about.labels)}.")
    sources = [_nameless(header) for header in headers] if about.anonymous else list(headers)
    # highdicom takes the labels as frames of 0, 1, 2, ...; labels that do not occur are described all the same.
    try:
        seg = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=mask,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(number, label, about) for number, label in enumerate(about.labels, 1)],
            series_instance_uid=hd.UID(),
            series_number=900,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="unetq",
            manufacturer_model_name=about.model[:LONG_STRING],
            software_versions=about.version[:LONG_STRING],
            device_serial_number="0",
            omit_empty_frames=not about.empty_frames,
            series_description=f"{RESEARCH} ({about.model})"[:LONG_STRING],
            content_label="SEGMENTATION",
            content_description=RESEARCH,
        )
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"The series lacks what a DICOM SEG must repeat from it: {error}.") from None
    with atomic(path) as temporary:
        seg.save_as(temporary)


def read_seg(path: Path, headers: Sequence[pydicom.Dataset]) -> NDArray[np.uint8]:
    """Labels (Z, Y, X) of a SEG on the grid of its series; 0 where it has no frame.

    Raises:
        UserError: not a SEG of this series.
    """
    try:
        seg = hd.seg.segread(path)
        pixels = seg.get_pixels_by_source_instance(
            [header.SOPInstanceUID for header in headers],
            combine_segments=True,
            assert_missing_frames_are_empty=True,
            ignore_spatial_locations=True,
        )
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"{path} is no DICOM SEG of this series: {error}.") from None
    return np.asarray(pixels).astype(np.uint8)


def _depth(header: pydicom.Dataset) -> float:
    """Place along the normal, mm."""
    turn = np.array([float(n) for n in header.ImageOrientationPatient])
    position = np.array([float(n) for n in header.ImagePositionPatient])
    return float(np.cross(turn[:3], turn[3:]) @ position)


def _segment(number: int, label: tuple[str, str], about: SegAbout) -> hd.seg.SegmentDescription:
    name, code = label
    kind = (
        CodedConcept(code, "SCT", name[:LONG_STRING])
        if code
        else CodedConcept(f"L{number}", "99UNETQ", name[:LONG_STRING])
    )
    algorithm = hd.AlgorithmIdentificationSequence(
        name=about.model[:LONG_STRING],
        version=about.version[:LONG_STRING],
        family=CodedConcept("123109", "DCM", "Artificial Intelligence"),
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:LONG_STRING],
        segmented_property_category=ANATOMY,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )


def _nameless(header: pydicom.Dataset) -> Any:
    """A copy that names nobody; UIDs stay, because they are the reference to the source."""
    copy = deepcopy(header)
    copy.PatientName, copy.PatientID = "ANONYMOUS^", "ANONYMOUS"
    for name in NAMES:
        if name in copy:
            setattr(copy, name, "")
    return copy
