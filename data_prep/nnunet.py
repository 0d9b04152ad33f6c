"""Anyone's data in the nnU-Net v2 raw format (https://github.com/MIC-DKFZ/nnUNet, dataset_format.md): used where it lies.

nnU-Net's own splits have no test part, or there are none at all. No file of the folder is changed: then a folder of links to its
images and labels, with dataset.json and the completed splits, is made in its `.unetq/`; where it is read-only, in the user's
cache.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

from unetq.data_prep.common import Splits, cached, is_prepared
from unetq.data_prep.subjects import subject_folds, with_test
from unetq.errors import UserError
from unetq.files import make_folder

__all__ = ["is_raw", "open_raw"]

IMAGES, LABELS = "imagesTr", "labelsTr"
ABOUT, SPLITS = "dataset.json", "splits_final.json"


def is_raw(folder: Path) -> bool:
    """True for a folder in the nnU-Net raw format, with or without splits."""
    return (folder / ABOUT).is_file() and (folder / IMAGES).is_dir() and (folder / LABELS).is_dir()


def open_raw(folder: Path) -> Path:
    """The folder itself where its splits have a test part, else the folder of links that has one.

    The test is a fifth of the subjects, decided by their names, and a warning says so: the same ones however the rest is split.

    Raises:
        UserError: not in that format, or too few cases to split.
    """
    if not is_raw(folder):
        raise UserError(
            f"{folder} is no data set in the nnU-Net raw format: {ABOUT}, {IMAGES} and {LABELS} belong in it."
        )
    about, folds = _json(folder / ABOUT), _json(folder / SPLITS) if (folder / SPLITS).is_file() else []
    if not isinstance(about, dict) or not _are_folds(folds):
        raise UserError(f"{folder} is not in the nnU-Net raw format: {ABOUT} or {SPLITS} holds something else.")
    if folds and all("test" in fold for fold in folds):
        return folder
    ending = str(about.get("file_ending", ".nii.gz"))
    cases = sorted(path.name.removesuffix(ending) for path in (folder / LABELS).glob(f"*{ending}"))
    if not cases:
        raise UserError(f"{folder / LABELS} holds no label file *{ending}.")
    named = (about.get("unetq") or {}).get("subjects") or {}
    subjects = {case: str(named.get(case, case)) for case in cases}
    complete = with_test(folds, subjects, folder) if folds else subject_folds(subjects, folder)
    # The place, too: in the user's cache the links of two folders of one name must not be taken for each other.
    text = json.dumps([str(folder.resolve()), about, complete], sort_keys=True)
    target = cached(folder, f"{folder.resolve().name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
    if not is_prepared(target):
        _link(folder.resolve(), target, complete)
    test = complete[0]["test"]
    warnings.warn(
        f"{folder} names no test cases, so {len(test)} of its {len(cases)} are held out: {', '.join(test[:4])}"
        f"{f' and {len(test) - 4} more' if len(test) > 4 else ''}.",
        stacklevel=2,
    )
    return target


def _link(source: Path, target: Path, folds: list[Splits]) -> None:
    make_folder(target.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name in (IMAGES, LABELS, "ratersTr"):
            if (source / name).is_dir():
                (temporary / name).symlink_to(source / name, target_is_directory=True)
        shutil.copyfile(source / ABOUT, temporary / ABOUT)
        (temporary / SPLITS).write_text(json.dumps(folds, indent=1) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        if not is_prepared(target):  # else another process was faster
            raise UserError(f"Cannot write {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _are_folds(folds: Any) -> bool:
    """True for a list of {part: [cases]}."""
    return isinstance(folds, list) and all(
        isinstance(fold, dict) and all(isinstance(cases, list) for cases in fold.values()) for fold in folds
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path} is damaged: write it again.") from None
