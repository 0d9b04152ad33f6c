"""Anyone's pairs: a folder of images and one of masks with equal names (PNG, JPEG, TIFF, NIfTI), split by subject.

The subject is found in the name by a regular expression; without one every name is a subject. Slices of one subject and one
size are stacked into one case in the order of their numbers, so that its score is 3-D.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.common import (
    Description,
    cached,
    files_hash,
    is_prepared,
    make_prepared,
    refuse_existing,
    source_of,
    write_case,
)
from unetq.data_prep.fit import refuse_misfit
from unetq.data_prep.subjects import natural, subject_folds, subject_of, subject_pattern
from unetq.errors import UserError
from unetq.image.read import READERS, read
from unetq.image.volume import Volume

__all__ = [
    "FolderCase",
    "FolderOptions",
    "find",
    "folder_files",
    "parse_labels",
    "prepare",
    "prepare_folder",
    "read_folder",
]

IMAGE_FOLDERS, MASK_FOLDERS = ("images",), ("masks", "labels")
SOURCE = "pairs of images and masks (unetq data prepare folder)"
BACKGROUND = "background"
# A JPEG has no exact values: a mask in one is black and white, parted in the middle.
JPEG, JPEG_MIDDLE, JPEG_WHITE = (".jpg", ".jpeg"), 127, 255
MAX_VALUES = 256
VERSION = 1


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of pairs is to be read.

    Attributes:
        subject: regular expression on the name without suffix: its first group, else its whole match, is the subject;
            None: every name is a subject of its own.
        labels: value in the masks -> name of the label ("background": none). Names are numbered 1, 2, ... as they come.
            Empty: the masks hold two values, and the higher one is the label "foreground".
        name: of the data set; default: that of the folder above the images.
    """

    subject: str | None = None
    labels: Mapping[int, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class FolderCase:
    """One case: image and label (Z, Y, X), voxel (x, y, z, 1) -> RAS mm, and whether the files know that."""

    name: str
    subject: str
    image: NDArray[Any]
    label: NDArray[np.uint8]
    affine: NDArray[np.float64]
    knows_spacing: bool


@dataclass(frozen=True)
class _Pair:
    stem: str
    subject: str
    image: Path
    mask: Path
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()


def parse_labels(texts: Sequence[str]) -> dict[int, str]:
    """What `--label VALUE=NAME` says, as `FolderOptions.labels`.

    Raises:
        UserError: not of that form, a value twice, or background only.

    >>> parse_labels(["1=gray", "2=white", "255=background"])
    {1: 'gray', 2: 'white', 255: 'background'}
    """
    labels: dict[int, str] = {}
    for text in texts:
        value, equals, name = (part.strip() for part in text.partition("="))
        if not (equals and name and re.fullmatch(r"-?\d+", value)):
            raise UserError(f'--label "{text}" must be VALUE=NAME, like 255=lesion.')
        if int(value) in labels:
            raise UserError(f"--label names the value {int(value)} twice.")
        labels[int(value)] = name
    if labels and set(labels.values()) == {BACKGROUND}:
        raise UserError("--label names the background only: name a label, like 255=lesion.")
    return labels


def find(folder: Path) -> tuple[Path, Path] | None:
    """The image and the mask folder in a folder, or None where it has no such pair."""
    images = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    masks = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    return (images, masks) if images and masks else None


def prepare(source: Path, out: Path | None = None, options: FolderOptions | None = None) -> Path:
    """Prepares `images/` and `masks/` (or `labels/`) of a folder, as `prepare_folder` does.

    Raises:
        UserError: the folders are not there, or as `prepare_folder`.
    """
    found = find(source)
    if found is None:
        raise UserError(f"{source} holds no images/ with masks/ or labels/ beside it: put the pairs there.")
    return prepare_folder(*found, out, options)


def prepare_folder(images: Path, masks: Path, out: Path | None = None, options: FolderOptions | None = None) -> Path:
    """Prepares pairs of files with equal names, once for the same content and options.

    Args:
        images, masks: the two folders.
        out: folder to make; default: a cache named by the content, beside the images.
        options: subject, labels, name.

    Returns:
        The prepared folder, split by subject: 20 % test, 5 folds of the rest.

    Raises:
        UserError: a file without partner, damaged, of another size or geometry than its partner or with unknown
            values; fewer than three subjects, two cases of one name, or `out` is there already.
    """
    options = options or FolderOptions()
    pairs = _pairs(images, masks, options)
    content = files_hash([path for pair in pairs for path in (pair.image, pair.mask)], VERSION)
    digest = hashlib.sha256(f"{content} {options.subject} {sorted(options.labels.items())}".encode()).hexdigest()
    name = _file_name(options.name or images.resolve().parent.name) or "folder"
    target = out or cached(images.parent, f"{name}-{digest[:12]}")
    if out is None and is_prepared(target):
        return target
    refuse_existing(target)
    pairs, numbers, names = _survey(pairs, options)
    cases = _cases(pairs)
    subjects = {case: parts[0].subject for case, parts in cases.items()}
    folds = subject_folds(subjects, images)

    def write_cases(folder: Path) -> None:
        for case in _read(cases, numbers):
            write_case(folder, case.name, case.image, case.label, case.affine)

    about = Description(name, ("image",), names, source_of(images.parent, SOURCE), digest, subjects=subjects)
    make_prepared(target, about, folds, write_cases)
    return target


def folder_files(folder: Path) -> list[Path]:
    """The image files in a folder, in the order of their numbers.

    Raises:
        UserError: no image there, or two of one name.
    """
    found = _by_stem(folder)
    return [found[stem] for stem in sorted(found, key=natural)]


def read_folder(images: Path, masks: Path, options: FolderOptions) -> tuple[tuple[str, ...], Iterator[FolderCase]]:
    """Names of the labels, and the cases of a folder of pairs one at a time, as `prepare_folder` would write them.

    Raises:
        UserError: as `prepare_folder`.
    """
    pairs, numbers, names = _survey(_pairs(images, masks, options), options)
    return names, _read(_cases(pairs), numbers)


def _pairs(images: Path, masks: Path, options: FolderOptions) -> list[_Pair]:
    """The pairs in the order of their numbers, with their subjects; not yet read."""
    left, right = _by_stem(images), _by_stem(masks)
    for have, other, place in ((left, right, masks), (right, left, images)):
        for stem in sorted(have.keys() - other.keys(), key=natural):
            raise UserError(f"{have[stem]} has no partner of the same name in {place}.")
    pattern = subject_pattern(options.subject or "(.*)")
    order = sorted(left, key=natural)
    return [_Pair(stem, subject_of(left[stem], stem, pattern), left[stem], right[stem]) for stem in order]


def _by_stem(folder: Path) -> dict[str, Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"Cannot read the folder {folder}: {error.strerror}.") from None
    files: dict[str, Path] = {}
    for path in paths:
        suffix = next((s for s in sorted(READERS, key=len, reverse=True) if path.name.lower().endswith(s)), None)
        if suffix is None:
            continue  # a text file, a thumbnail list
        stem = path.name[: -len(suffix)]
        if stem in files:
            raise UserError(f"{files[stem]} and {path.name} have one name: leave one of them.")
        files[stem] = path
    if not files:
        raise UserError(f"{folder} holds no image file ({', '.join(READERS)}).")
    return files


def _survey(pairs: Sequence[_Pair], options: FolderOptions) -> tuple[list[_Pair], dict[float, int], tuple[str, ...]]:
    """Reads every pair once: the pairs with their sizes, value -> number of its label, and the labels' names."""
    seen, values = [], dict[float, Path]()
    for pair in pairs:
        image, mask = read(pair.image), _read_mask(pair.mask, bool(options.labels))
        refuse_misfit((pair.image, image), (pair.mask, mask))
        found = np.unique(mask.array)
        if len(found) > MAX_VALUES:
            raise UserError(f"{pair.mask} holds {len(found)} different values, so it is an image, not a mask.")
        for value in found.tolist():
            values.setdefault(float(value), pair.mask)
        seen.append(_Pair(pair.stem, pair.subject, pair.image, pair.mask, image.array.shape, image.spacing))
    return seen, *_numbering(values, options.labels, pairs[0].mask.parent)


def _numbering(
    values: Mapping[float, Path], labels: Mapping[int, str], where: Path
) -> tuple[dict[float, int], tuple[str, ...]]:
    """Value -> number of its label, and the names of the labels 1, 2, ..."""
    if not labels:
        low, *others = sorted(values)
        if not others:
            raise UserError(f"All masks in {where} hold the one value {low:g}: nothing is marked.")
        if len(others) > 1:
            shown = ", ".join(f"{value:g}" for value in sorted(values)[:6]) + (", ..." if len(values) > 6 else "")
            raise UserError(
                f"The masks in {where} hold {len(values)} values ({shown}; {others[1]:g} in {values[others[1]].name}), "
                "but two are expected: name the labels with --label VALUE=NAME."
            )
        return {low: 0, others[0]: 1}, ("foreground",)
    names = tuple(dict.fromkeys(name for name in labels.values() if name != BACKGROUND))
    numbers = {0.0: 0} | {float(value): (BACKGROUND, *names).index(name) for value, name in labels.items()}
    for value, path in sorted(values.items()):
        if value not in numbers:
            raise UserError(f"{path} holds the value {value:g}, which no --label names.")
    return numbers, names


def _read_mask(path: Path, named: bool) -> Volume:
    mask = read(path)
    if path.suffix.lower() not in JPEG:
        return mask
    if named:
        raise UserError(f"{path} is a JPEG, which holds no exact values: save masks of several labels as PNG.")
    if 0 < int(mask.array.max()) <= JPEG_MIDDLE:
        raise UserError(f"{path} has no pixel above {mask.array.max()}: a mask in a JPEG must be black and white.")
    white = np.where(mask.array > JPEG_MIDDLE, JPEG_WHITE, 0).astype(np.uint8)
    return Volume(white, mask.spacing, mask.affine, mask.format)


def _cases(pairs: Sequence[_Pair]) -> dict[str, list[_Pair]]:
    """Name of a case -> the slices that are stacked into it, or its one file."""
    of: dict[str, list[_Pair]] = {}
    for pair in pairs:
        of.setdefault(pair.subject, []).append(pair)
    cases: dict[str, list[_Pair]] = {}
    for subject, parts in of.items():
        stack = len({(pair.shape, pair.spacing) for pair in parts}) == 1 and parts[0].shape[0] == 1
        whole = stack or len(parts) == 1
        for name, some in [(subject, parts)] if whole else [(f"{subject}_{pair.stem}", [pair]) for pair in parts]:
            name = _file_name(name)
            if not name:
                raise UserError(f"{some[0].image} makes a case without a name: give it one with letters or digits.")
            if name in cases:
                raise UserError(f"{cases[name][0].image} and {some[0].image} make two cases of the name {name}.")
            cases[name] = some
    return cases


def _read(cases: Mapping[str, Sequence[_Pair]], numbers: Mapping[float, int]) -> Iterator[FolderCase]:
    for name, pairs in cases.items():
        images = [read(pair.image) for pair in pairs]
        masks = [_read_mask(pair.mask, False).array for pair in pairs]
        image, mask = np.concatenate([volume.array for volume in images]), np.concatenate(masks)
        if image.dtype.kind == "f" or image.dtype.itemsize == 8:  # a NIfTI of 64-bit integers is read by few programs
            image = image.astype(np.float32)
        label = np.zeros(mask.shape, np.uint8)
        for value, number in numbers.items():
            label[mask == value] = number
        first = images[0]
        yield FolderCase(name, pairs[0].subject, image, label, first.affine, first.knows_spacing)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")
