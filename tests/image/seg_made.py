"""A made-up CT series that has all that a DICOM SEG must repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from tests.image.dicom_made import series

HU = np.arange(5 * 16 * 20, dtype=np.int16).reshape(5, 16, 20)
# What a SEG repeats from its series, and the made-up slices lack.
WHOLE = {"StudyDate": "20260101", "StudyTime": "120000", "AccessionNumber": "A17", "PatientName": "Muster^Max"}
WHOLE |= {"PatientID": "P17", "PatientBirthDate": "19600102", "PatientSex": "M", "StudyID": "S17"}
WHOLE |= {"FrameOfReferenceUID": "2.25.7", "ReferringPhysicianName": "Kurz^A", "SliceThickness": "2.5"}
WHOLE |= {"PositionReferenceIndicator": ""}


def oblique() -> np.ndarray:
    """Directions of a row and of a column, askew in all three axes."""
    across = np.array([0.9, 0.3, -0.3])
    down = np.cross([0.2, 0.1, 1.0], across)
    return np.concatenate([across / np.linalg.norm(across), down / np.linalg.norm(down)])


def made(folder: Path, turned: bool, hu: np.ndarray = HU) -> Path:
    """Folder of a whole series, its last file the lowest slice."""
    turn = oblique()
    normal = np.cross(turn[:3], turn[3:])
    for k, path in enumerate(series(folder, hu)):
        header = pydicom.dcmread(path)
        for name, value in WHOLE.items():
            setattr(header, name, value)
        if turned:
            header.ImageOrientationPatient = [f"{n:.8f}" for n in turn]
            header.ImagePositionPatient = [f"{n:.6f}" for n in np.array([-40, 30, 10]) - 2.5 * k * normal]
        header.save_as(path)
    return folder
