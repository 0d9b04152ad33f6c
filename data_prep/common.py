"""What all data sets share: the prepared folder (nnU-Net v2 raw format), its splits, the content-hashed cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.files import make_folder

__all__ = [
    "PHANTOM_NOTE",
    "Description",
    "block_splits",
    "cached",
    "dataset_name",
    "files_hash",
    "is_prepared",
    "make_prepared",
    "refuse_existing",
    "source_of",
    "write_case",
    "write_raters",
]

Splits = dict[str, list[str]]
CACHE = ".unetq"
# In a folder of made-up studies; its text becomes their `source`, so that no model trained on them passes for one of real data.
PHANTOM_NOTE = "PHANTOM.txt"


@dataclass(frozen=True)
class Description:
    """What dataset.json says of a data set.

    Attributes:
        dataset: its name here (em).
        channels: names of the image channels.
        labels: names of the labels 1, 2, ...
        snomed: label name -> SNOMED CT code, where there is one.
        source: where it comes from, with the licence.
        hash: content hash of the files that it was made of.
        subjects: case -> its subject, where that is another name: no subject may be in two splits.
        boundary: name of the background, where it is a class of its own that parts objects of label 1.
        clipped: the range that intensities were clipped to before we got them: no network may see more of them.
    """

    dataset: str
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    source: str
    hash: str
    snomed: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    boundary: str = ""
    clipped: tuple[float, float] | None = None


def source_of(place: Path, real: str) -> str:
    """Where the files in a folder come from: what its phantom note says, else `real`."""
    note = place / PHANTOM_NOTE
    return note.read_text(encoding="utf-8").strip() if note.is_file() else real


def is_prepared(folder: Path) -> bool:
    """True for a folder in the nnU-Net raw format with splits."""
    return (folder / "dataset.json").is_file() and (folder / "splits_final.json").is_file()


def refuse_existing(out: Path) -> None:
    """Refuses to prepare into what is there already, unless it is an empty folder.

    Raises:
        UserError: `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: name a new folder.")


def dataset_name(folder: Path) -> str | None:
    """Name of the data set that a prepared folder was made of by us, or None where somebody else made it.

    Raises:
        UserError: dataset.json cannot be read.
    """
    try:
        about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        name = about.get("unetq", {}).get("dataset")
    except (OSError, ValueError, AttributeError):
        raise UserError(f"{folder / 'dataset.json'} is damaged: make the folder again.") from None
    return None if name is None else str(name)


def write_case(
    folder: Path,
    name: str,
    image: NDArray[Any],
    label: NDArray[np.uint8],
    affine: NDArray[np.float64],
    unit: Literal["mm", "micron"] = "mm",
) -> None:
    """Writes one case as NIfTI.

    Args:
        folder: prepared folder being made.
        name: of the case.
        image, label: (Z, Y, X).
        affine: (4, 4), voxel index (x, y, z, 1) -> RAS position in `unit`.
        unit: what the header says that lengths are in.
    """
    for array, path in (
        (image, folder / "imagesTr" / f"{name}_0000.nii.gz"),
        (label, folder / "labelsTr" / f"{name}.nii.gz"),
    ):
        picture = nib.Nifti1Image(array.T, affine)
        picture.header.set_xyzt_units(unit)
        nib.save(picture, path)


def write_raters(folder: Path, name: str, raters: Sequence[NDArray[np.uint8]], affine: NDArray[np.float64]) -> None:
    """Writes what each of several raters marked, (Z, Y, X), to ratersTr: training draws one of them for each crop.

    nnU-Net, which does not know that folder, reads the one label in labelsTr.
    """
    (folder / "ratersTr").mkdir(exist_ok=True)
    for number, label in enumerate(raters, 1):
        nib.save(nib.Nifti1Image(label.T, affine), folder / "ratersTr" / f"{name}_r{number}.nii.gz")


def make_prepared(out: Path, about: Description, folds: Sequence[Splits], write_cases: Callable[[Path], None]) -> None:
    """Makes a prepared folder, whole or not at all: in a temporary folder beside it that is renamed at the end.

    Args:
        out: the folder.
        about: for dataset.json.
        folds: split -> names of its cases, for each fold; a verb uses the first one unless it is told otherwise.
        write_cases: writes the cases with `write_case` into the folder that it is given.

    Where another process made the same folder in the meantime, that one is used.

    Raises:
        UserError: the folder cannot be written.
    """
    make_folder(out.parent)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise UserError(f"Cannot write into {out.parent}: {error.strerror}.") from error
    try:
        for name in ("imagesTr", "labelsTr"):
            (temporary / name).mkdir()
        write_cases(temporary)
        _write_json(temporary / "splits_final.json", list(folds))
        cases = len(list((temporary / "labelsTr").iterdir()))  # guard slices, too, or nnU-Net refuses the folder
        _write_json(temporary / "dataset.json", _dataset_json(about, cases))
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError as error:
        if not is_prepared(out):
            raise UserError(f"Cannot write {out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cached(place: Path, name: str) -> Path:
    """Where prepared data of raw files goes: beside them, or where they are read-only into the user's cache."""
    beside = place / CACHE / name
    if is_prepared(beside) or _is_writable(place):
        return beside
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "unetq" / name


def _is_writable(folder: Path) -> bool:
    """False for a folder without any write bit, too: the administrator, who may write anywhere, is not meant to."""
    writable = os.access(folder, os.W_OK | os.X_OK) and folder.stat().st_mode & 0o222
    inner = folder / CACHE
    return bool(writable) and (not inner.exists() or os.access(inner, os.W_OK | os.X_OK))


def files_hash(paths: Iterable[Path], version: int) -> str:
    """SHA-256 of names and contents of the raw files and of the version of the preparation.

    Raises:
        UserError: a file cannot be read.
    """
    total = hashlib.sha256(f"unetq {version}".encode())
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise UserError(f"Cannot read {path}: {error.strerror}.") from None
        total.update(path.name.encode() + b"\0" + digest)
    return total.hexdigest()


def block_splits(names: Sequence[str], val: float = 0.15, test: float = 0.2) -> Splits:
    """Contiguous blocks train | guard | val | guard | test of a stack whose neighbours are nearly equal.

    A guard slice is in no split, so that no slice has its twin on the other side.

    >>> {split: len(block) for split, block in block_splits([str(i) for i in range(30)]).items()}
    {'train': 17, 'val': 5, 'test': 6}
    """
    n_test, n_val = max(1, round(test * len(names))), max(1, int(val * len(names) + 0.5))
    first_test = len(names) - n_test
    first_val = first_test - 1 - n_val
    return {
        "train": list(names[: first_val - 1]),
        "val": list(names[first_val : first_test - 1]),
        "test": list(names[first_test:]),
    }


def _dataset_json(about: Description, cases: int) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "dataset": about.dataset,
        "hash": about.hash,
        "snomed": dict(about.snomed),
        "source": about.source,
    }
    if about.subjects:
        ours["subjects"] = dict(about.subjects)
    if about.boundary:
        ours["boundary"] = about.boundary
    if about.clipped:
        ours["clipped"] = list(about.clipped)
    return {
        "name": about.dataset,
        "channel_names": {str(i): name for i, name in enumerate(about.channels)},
        "labels": {"background": 0, **{name: i for i, name in enumerate(about.labels, 1)}},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "unetq": ours,
    }


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
