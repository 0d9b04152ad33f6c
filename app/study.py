"""Studies, ground truths and model files as the viewer opens them; no Streamlit in here."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.image.read import read, write_mask
from unetq.image.volume import Volume
from unetq.report.paint import auto_window

__all__ = ["SUFFIXES", "Study", "find_models", "mask_file", "model_name", "open_study", "open_truth", "with_upload"]

SUFFIXES = ("tif", "tiff", "png", "jpg", "jpeg", "nii", "gz")
MASK_SUFFIX = {"tiff": ".tif", "png": ".png", "nifti": ".nii.gz"}
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Study:
    """An opened study.

    Attributes:
        hash: SHA-256 of pixels and geometry.
        limits: lowest and highest intensity.
        window: (low, high) intensities to show it with.
    """

    name: str
    volume: Volume
    hash: str
    limits: tuple[float, float]
    window: tuple[float, float]

    @property
    def depth(self) -> int:
        """Number of slices."""
        return int(self.volume.array.shape[0])


def open_study(path: Path | str, name: str | None = None) -> Study:
    """Reads a TIFF, PNG or NIfTI study.

    Raises:
        UserError: no such file, or not an image that can be segmented.
    """
    path = Path(str(path).strip()).expanduser()
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    volume = read(path)
    digest = hashlib.sha256(repr((volume.array.shape, volume.array.dtype.str, volume.spacing)).encode())
    digest.update(np.ascontiguousarray(volume.array).tobytes())
    limits = float(volume.array.min()), float(volume.array.max())
    return Study(name or path.name, volume, digest.hexdigest(), limits, auto_window(volume.array))


def with_upload(name: str, content: bytes) -> Study:
    """Reads uploaded bytes; nothing of the upload's name but its suffix reaches the disk.

    Raises:
        UserError: not an image that can be segmented.
    """
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        path = Path(folder) / f"upload{_suffix(name)}"
        path.write_bytes(content)
        try:
            return open_study(path, Path(name).name)
        except UserError as error:
            raise UserError(str(error).replace(str(path), Path(name).name)) from None


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


def mask_file(mask: Mask, study: Study) -> tuple[str, bytes]:
    """File name and content of a mask in the study's own format and geometry."""
    suffix = MASK_SUFFIX[study.volume.format]
    stem = study.name[: len(study.name) - len(_suffix(study.name))]
    with tempfile.TemporaryDirectory(prefix="unetq-") as folder:
        path = Path(folder) / f"mask{suffix}"
        write_mask(mask, study.volume, path)
        return f"{stem}-mask{suffix}", path.read_bytes()


def find_models(folders: Sequence[Path | str]) -> list[Path]:
    """Model files in the folders and below, each once, in order of their names; a folder that is not there has none."""
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        candidates = [folder] if folder.suffix == ".gguf" else sorted(folder.rglob("*.gguf"))
        found.update({path: None for path in candidates if path.is_file() and not path.name.startswith(".")})
    return list(found)


def model_name(path: Path, others: Sequence[Path] = ()) -> str:
    """Short name: the run's folder for `model.gguf`, else the file's stem; the path where that is not unique.

    >>> model_name(Path("runs/W4A6/model.gguf"))
    'W4A6'
    """

    def short(p: Path) -> str:
        return p.parent.name if p.stem == "model" and p.parent.name else p.stem

    return str(path) if any(short(other) == short(path) and other != path for other in others) else short(path)


def _suffix(name: str) -> str:
    """The suffix in lower case, ".nii.gz" as one; "" where it holds more than letters and digits."""
    lower = Path(name).name.lower()
    if lower.endswith(".nii.gz"):
        return ".nii.gz"
    suffix = Path(lower).suffix
    return suffix if suffix[1:].isalnum() else ""


def _size(array: NDArray[np.generic]) -> str:
    return " x ".join(str(n) for n in array.shape)
