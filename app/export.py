"""Masks on their way out: the study's own format, PNG pictures, DICOM SEG; no Streamlit in here."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shlex import quote

from unetq.app.planes import Grid
from unetq.app.render import Display, overlay
from unetq.app.scene import scale_of
from unetq.app.study import Mask, Study
from unetq.errors import UserError
from unetq.image.read import READERS, write_mask, write_volume
from unetq.report.paint import png
from unetq.runtime.meta import Label

__all__ = ["FORMATS", "Origin", "SegOptions", "formats", "mask_file", "pair_file", "pictures_file", "seg_file"]

# Words on the page -> suffix.
FORMATS = {"NIfTI": ".nii.gz", "TIFF": ".tif", "PNG": ".png"}
OWN = {"nifti": "NIfTI", "tiff": "TIFF", "png": "PNG"}


HOW = """Unpack all of these zips into one folder, then train on it:

    unetq data prepare folder FOLDER{labels}

Where a person has several studies, say with --subject how to find the person in the names.
"""


@dataclass(frozen=True)
class Origin:
    """Where a mask comes from.

    Attributes:
        name: of the model, or of the correction.
        version: the model's hash.
        person: who corrected it, "" for the model's own mask.
    """

    name: str
    version: str
    person: str = ""


class SegOptions:
    """Choices of a DICOM SEG on the page."""

    EMPTY = "A frame for every slice, also the empty ones"
    ANONYMOUS = "De-identified"


def formats(study: Study) -> list[str]:
    """The formats that can hold a mask of this study, its own first."""
    first = OWN[study.volume.format]
    return [first, *(name for name in FORMATS if name != first and (name != "PNG" or study.depth == 1))]


def mask_file(mask: Mask, study: Study, kind: str) -> tuple[str, bytes]:
    """File name and content of a mask with the study's geometry, as far as the format can say it."""
    return _named(study, FORMATS[kind]), _content(mask, study, FORMATS[kind])


def pictures_file(mask: Mask, study: Study, display: Display) -> tuple[str, bytes]:
    """A zip of a PNG picture a slice, the mask over it, for slides and reports."""
    grid = Grid(study.volume)
    plane = grid.thin
    image, labels = grid.turned(study.volume.array), grid.turned(mask)
    shown = Display(display.low, display.high, display.style, display.opacity, scale_of(grid, plane))
    out = io.BytesIO()
    count = image.shape[("axial", "coronal", "sagittal").index(plane)]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed:
        for k in range(count):
            point = (k, k, k)
            pixels = overlay(grid.cut(image, plane, point), grid.cut(labels, plane, point), shown)
            packed.writestr(f"slice-{k + 1:04d}.png", png(pixels))
    return _named(study, "-pictures.zip"), out.getvalue()


def pair_file(mask: Mask, study: Study, labels: Sequence[Label]) -> tuple[str, bytes]:
    """A zip of image and mask under one name, as `unetq data prepare folder` takes them; several unpack into one folder.

    The name holds the folders that the study lies in, so that its subject can be found in it.
    """
    suffix = FORMATS[OWN[study.volume.format]]
    path = Path(study.name)
    stem = "_".join([*path.parent.parts, _named(study, "").removesuffix("-mask"), study.hash[:8]])
    named = "".join(f" --label {value}={quote(label.name)}" for value, label in enumerate(labels, 1))
    out = io.BytesIO()
    with (
        tempfile.TemporaryDirectory(prefix="unetq-") as folder,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as packed,
    ):
        files = {kind: Path(folder) / f"{kind}{suffix}" for kind in ("images", "masks")}
        write_volume(study.volume, files["images"])
        write_mask(mask, study.volume, files["masks"])
        for kind, file in files.items():
            packed.write(file, f"{kind}/{stem}{suffix}")
        packed.writestr("README.txt", HOW.format(labels=named))
    return f"{stem}-training.zip", out.getvalue()


def seg_file(mask: Mask, study: Study, origin: Origin, labels: Sequence[Label], options: Sequence[str]) -> bytes:
    """Content of a DICOM SEG.

    Args:
        mask: labels (Z, Y, X).
        study: a DICOM series.
        origin: what made it.
        labels: of the model file.
        options: of `SegOptions`.

    Raises:
        UserError: highdicom is not installed, or as `unetq.image.seg.write_seg`.
    """
    if find_spec("highdicom") is None:
        raise UserError("A DICOM SEG needs highdicom: install it with `pip install 'unetq[dicom]'`.")
    from unetq.image.seg import SegAbout, write_seg

    words = [(label.name, label.snomed) for label in labels]
    choices = SegOptions.EMPTY in options, SegOptions.ANONYMOUS in options
    about = SegAbout(words, origin.name, origin.version, *choices, origin.person)
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        path = Path(folder) / "mask.dcm"
        write_seg(mask, study.headers, about, path)
        return path.read_bytes()


def _named(study: Study, suffix: str) -> str:
    stem = Path(study.name).name
    # Of a series' folder what stands behind a point is part of its name.
    end = next((end for end in (*READERS, ".zip", ".dcm", ".ima") if stem.lower().endswith(end)), "")
    stem = stem[: len(stem) - len(end)]
    return f"{stem}-mask{suffix}"


def _content(mask: Mask, study: Study, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        path = Path(folder) / f"mask{suffix}"
        write_mask(mask, study.volume, path)
        return path.read_bytes()
