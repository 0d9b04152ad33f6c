"""Studies, ground truths and model files as the viewer opens them; no Streamlit in here."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.app.guard import check_size, unpack
from unetq.errors import UserError
from unetq.image.dicom import dicom_files
from unetq.image.read import READERS, read
from unetq.image.volume import Volume
from unetq.report.paint import auto_window

__all__ = [
    "SUFFIXES",
    "Mask",
    "Study",
    "find_models",
    "find_studies",
    "like_mask",
    "model_name",
    "open_study",
    "open_truth",
    "with_uploads",
]

Mask = NDArray[np.uint8]
# An upload of a series is its zip or all of its files, which may have no suffix: the content decides.
SUFFIXES = ("zip", "dcm", "ima", "nii", "gz", "tif", "tiff", "png", "jpg", "jpeg")
MASK_WORDS = re.compile(r"mask|label|truth|(?<![a-z])(seg|gt)(?![a-z])", re.IGNORECASE)
LISTED = 500  # studies of a root that are offered


@dataclass(frozen=True)
class Study:
    """An opened study.

    Attributes:
        hash: SHA-256 of pixels and geometry.
        limits: lowest and highest intensity.
        window: (low, high) intensities to show it with.
        headers: of a DICOM series, where pydicom is installed: its data sets without pixels, a slice each, in order.
    """

    name: str
    volume: Volume
    hash: str
    limits: tuple[float, float]
    window: tuple[float, float]
    headers: tuple[Any, ...] = field(default=(), repr=False, compare=False)

    @property
    def depth(self) -> int:
        """Number of slices."""
        return int(self.volume.array.shape[0])


def open_study(path: Path | str, name: str | None = None) -> Study:
    """Reads a TIFF, PNG, JPEG or NIfTI, a folder with one DICOM series, or a zip of any of these.

    Raises:
        UserError: no such file, or not an image that can be segmented.
    """
    path = Path(str(path).strip()).expanduser()
    if not path.exists():
        raise UserError(f"There is no file {path}.")
    if path.suffix.lower() == ".zip" and path.is_file():
        with path.open("rb") as file:
            return _from_zip(file, name or path.name)
    check_size(path)
    volume = read(path)
    headers = _headers(path) if path.is_dir() else ()
    digest = hashlib.sha256(repr((volume.array.shape, volume.array.dtype.str, volume.spacing)).encode())
    for plane in volume.array:  # never a second copy of the whole study
        digest.update(np.ascontiguousarray(plane).tobytes())
    limits = float(volume.array.min()), float(volume.array.max())
    return Study(name or path.name, volume, digest.hexdigest(), limits, _window(volume.array), headers)


def with_uploads(files: Sequence[tuple[str, bytes]]) -> Study:
    """Reads uploaded files: one image or zip, or the files of a series; they are on the disk only while they are read.

    Args:
        files: (name, content). Nothing of a name but its suffix reaches the disk.

    Raises:
        UserError: not an image that can be segmented.
    """
    if len(files) == 1:
        name, content = Path(files[0][0]).name, files[0][1]
        if name.lower().endswith(".zip"):
            return _from_zip(io.BytesIO(content), name)
        if _suffix(name) not in ("", ".dcm", ".ima"):
            with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
                path = Path(folder) / f"upload{_suffix(name)}"
                path.write_bytes(content)
                return _renamed(path, name)
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        for number, (name, content) in enumerate(files):
            (Path(folder) / f"{number:05d}{_suffix(name)}").write_bytes(content)
        first = Path(files[0][0]).name
        return _renamed(Path(folder), first if len(files) == 1 else f"{first} and {len(files) - 1} more")


def open_truth(truth: Study, study: Study) -> Mask:
    """Labels uint8 (Z, Y, X) of a ground truth; a two-valued mask (0 and 255, say) becomes 0 and 1.

    Raises:
        UserError: other size than the study, or not a mask.
    """
    array = truth.volume.array
    if array.shape != study.volume.array.shape:
        raise UserError(
            f"The ground truth {truth.name} has {_size(array)} voxels, but the study {study.name} has "
            f"{_size(study.volume.array)}: open the mask of this study."
        )
    values = np.unique(array)
    if len(values) > 256 or not np.array_equal(values, np.rint(values)) or values[0] < 0 or values[-1] > 255:
        raise UserError(f"{truth.name} is no mask: its values must be whole numbers from 0 to 255.")
    if len(values) <= 2 and values[0] == 0:
        return (array > 0).astype(np.uint8)
    return array.astype(np.uint8)


def find_studies(root: Path) -> list[str]:
    """Paths below the root, relative to it, that may be opened: images, zips, and folders that hold DICOM files."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        images = [name for name in sorted(files) if _suffix(name) in (*READERS, ".zip") and not name.startswith(".")]
        found += [str((here / name).relative_to(root)) for name in images]
        if len(images) < len(files) and here != root and _is_series(here):
            found.append(str(here.relative_to(root)))
        if len(found) >= LISTED:
            break
    return sorted(found[:LISTED])


def like_mask(path: str) -> bool:
    """Whether a path's words say that it is a mask, not a study: a guess, which orders lists and forbids nothing.

    >>> like_mask("gm/site1-sc01-mask-r1.nii.gz"), like_mask("labelsTr/em_1.nii.gz"), like_mask("gm/site1-sc01-image.nii.gz")
    (True, True, False)
    """
    return bool(MASK_WORDS.search(path))


def find_models(folders: Sequence[Path | str]) -> list[Path]:
    """Model files in the folders and below, each once, in order of their names; a folder that is not there has none."""
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        candidates = [folder] if folder.suffix == ".gguf" else sorted(folder.rglob("*.gguf"))
        found.update({path: None for path in candidates if path.is_file() and not path.name.startswith(".")})
    return list(found)


def model_name(path: Path, others: Sequence[Path] = ()) -> str:
    """Short name: the run's folder for `model.gguf` and `best.pt`, else the file's stem; the path where that is not unique.

    >>> model_name(Path("runs/W4A6/model.gguf"))
    'W4A6'
    """

    def short(p: Path) -> str:
        return p.parent.name if p.stem in ("model", "best") and p.parent.name else p.stem

    return str(path) if any(short(other) == short(path) and other != path for other in others) else short(path)


def _from_zip(archive: Any, name: str) -> Study:
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        unpack(archive, Path(folder), name)
        if dicom_files(Path(folder)):
            return _renamed(Path(folder), name)
        images = [path for path in sorted(Path(folder).iterdir()) if _suffix(path.name) in READERS]
        if len(images) != 1:
            raise UserError(f"{name} holds {len(images)} images and no DICOM file: a zip must hold one study.")
        return _renamed(images[0], name)


def _renamed(path: Path, name: str) -> Study:
    """Opens a temporary file or folder; sentences name what the person knows."""
    try:
        return open_study(path, name)
    except UserError as error:
        sentence = str(error).replace(f"{path}{os.sep}", "").replace(str(path), name)
        raise UserError(sentence) from None


def _headers(folder: Path) -> tuple[Any, ...]:
    try:
        from unetq.image.seg import series_headers
    except ImportError:
        return ()
    return tuple(series_headers(folder))


def _window(array: NDArray[Any]) -> tuple[float, float]:
    """By at most some 2 million voxels: percentiles of a whole CT would need four times its memory."""
    step = max(1, round((array.size / 2e6) ** (1 / 3)))
    return auto_window(array[:: min(step, max(1, len(array) // 2)), ::step, ::step])


def _is_series(folder: Path) -> bool:
    try:
        return bool(dicom_files(folder))
    except UserError:
        return False


def _suffix(name: str) -> str:
    """The suffix in lower case, ".nii.gz" as one; "" where it holds more than letters and digits."""
    lower = Path(name).name.lower()
    if lower.endswith(".nii.gz"):
        return ".nii.gz"
    suffix = Path(lower).suffix
    return suffix if suffix[1:].isalnum() else ""


def _size(array: NDArray[np.generic]) -> str:
    return " x ".join(str(n) for n in array.shape)
