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
# What a SEG must repeat of its series, "" where that is unknown (type 2 of the standard): many real series lack some of it.
REPEATED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
# All that an export without names takes over: highdicom repeats whatever it finds of patient, study and scanner, so a list of
# what to leave out would never be whole. Sex stays, as it names nobody; UIDs stay, because they are the reference to the source.
KEPT = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "PatientSex",
    "InstanceNumber",
    "Rows",
    "Columns",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)


@dataclass(frozen=True)
class SegAbout:
    """What a SEG says of itself.

    Attributes:
        labels: (name, SNOMED CT code or "") of the labels 1, 2, ...
        model: name of the model.
        version: its hash, or the software's version.
        empty_frames: a frame for every slice of the source, for viewers that misplace sparse ones.
        anonymous: nothing of patient, study and scanner but sex, geometry and UIDs.
        person: who corrected by hand what the model made, "" where nobody did.
    """

    labels: Sequence[tuple[str, str]]
    model: str
    version: str
    empty_frames: bool = False
    anonymous: bool = False
    person: str = ""


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
    # highdicom takes the labels as frames of 0, 1, 2, ...; labels that do not occur are described all the same.
    try:
        seg = hd.seg.Segmentation(
            source_images=[_repeated(header, about.anonymous) for header in headers],
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
            content_creator_name=None if about.anonymous or not about.person else _person(about.person),
            specific_character_set="ISO_IR 192",
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
    kinds = hd.seg.SegmentAlgorithmTypeValues
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:LONG_STRING],
        segmented_property_category=ANATOMY,
        segmented_property_type=kind,
        algorithm_type=kinds.SEMIAUTOMATIC if about.person else kinds.AUTOMATIC,
        algorithm_identification=algorithm,
    )


def _person(words: str) -> str:
    """A name as a DICOM PN: of what a person types, what is no part of its syntax."""
    return (
        "".join(" " if letter in "\\^=" else letter for letter in words if letter.isprintable())[: LONG_STRING - 1]
        + "^"
    )


def _repeated(header: pydicom.Dataset, anonymous: bool) -> Any:
    """A copy of a slice's header with all that a SEG repeats of it."""
    copy = header
    if anonymous:
        copy = pydicom.Dataset()
        copy.file_meta = header.file_meta
        for name in KEPT:
            if name in header:
                copy[name] = deepcopy(header[name])
        copy.PatientName, copy.PatientID = "ANONYMOUS^", "ANONYMOUS"
        copy.PatientIdentityRemoved, copy.DeidentificationMethod = "YES", "Only geometry, sex and UIDs are kept"
    elif any(name not in header for name in REPEATED):
        copy = deepcopy(header)
    for name in REPEATED:
        if name not in copy:
            setattr(copy, name, "")
    return copy
