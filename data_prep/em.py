"""ISBI 2012 EM segmentation challenge: neuronal membranes in serial section electron microscopy, 4 x 4 x 50 nm.

Read are the challenge's own `train-volume.tif` and `train-labels.tif` (one page a slice; label 255 = cell interior, 0 =
membrane), or a folder of `images/` and `labels/` with PNG pairs of equal names. Slices become 2-D cases; label 1 = cell interior.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.common import (
    Description,
    block_splits,
    cached,
    files_hash,
    is_prepared,
    make_prepared,
    refuse_existing,
    source_of,
    write_case,
)
from unetq.data_prep.subjects import natural
from unetq.errors import UserError
from unetq.image.read import read

__all__ = ["HELP", "LABELS", "MIN_SIDE", "VOLUME", "find", "prepare"]

HELP = (
    "get train-volume.tif and train-labels.tif of the ISBI 2012 EM segmentation challenge (imagej.net), or try made-up "
    "slices with `unetq data phantom em DIR`"
)
SOURCE = (
    "slices in the layout of the ISBI 2012 EM segmentation challenge; its own: non-commercial use, cite Cardona et al., "
    "PLoS Biology 2010"
)
# The inside of a cell has no SNOMED CT code that says more than that.
SNOMED = {"interior": ""}
SPACING_UM = (0.004, 0.004, 0.05)
VOLUME, LABELS = "train-volume.tif", "train-labels.tif"
IMAGE_FOLDER, LABEL_FOLDER = "images", "labels"
# Three blocks and two guards, and a slice to spare.
MIN_PAGES, MIN_SIDE = 6, 64
# Raised whenever the prepared data of the same files would change.
VERSION = 4

Pages = Sequence[NDArray[Any]]


def find(folder: Path) -> Path | None:
    """The folder with the raw files: `folder` itself or `folder/em`; None where there are none."""
    places = (folder, folder / "em")
    stacks = [p for p in places if (p / VOLUME).is_file() or (p / LABELS).is_file()]
    pairs = [p for p in places if (p / IMAGE_FOLDER).is_dir() and (p / LABEL_FOLDER).is_dir()]
    return next(iter(stacks + pairs), None)


def prepare(source: Path, out: Path | None = None) -> Path:
    """Prepares the raw files in a folder, once for the same content.

    Args:
        source: folder of the raw files (or its parent, with the files in `em/`).
        out: folder to make; default: a cache named by the content.

    Returns:
        The prepared folder.

    Raises:
        UserError: files missing, damaged or not as they must be, or `out` is there already.
    """
    place = find(source)
    if place is None:
        raise UserError(f"There are no EM files in {source}: {HELP}.")
    files = _files(place)
    digest = files_hash([*files[0], *files[1]], VERSION)
    target = out or cached(place, f"em-{digest[:12]}")
    if out is None and is_prepared(target):
        return target
    refuse_existing(target)
    images, labels = _stacks(files)
    _check(images, labels, place)
    names = [f"em_{page:03d}" for page in range(len(images))]

    affine = np.diag([*SPACING_UM, 1.0])

    def write_cases(folder: Path) -> None:
        for name, image, label in zip(names, images, labels, strict=True):
            write_case(folder, name, image[None], (label != 0).astype(np.uint8)[None], affine, "micron")

    about = Description("em", ("EM",), ("interior",), source_of(place, SOURCE), digest, SNOMED, boundary="membrane")
    make_prepared(target, about, [block_splits(names)], write_cases)
    return target


def _files(place: Path) -> tuple[list[Path], list[Path]]:
    """Image files and label files, in the order of the slices."""
    if not ((place / VOLUME).is_file() or (place / LABELS).is_file()):
        return _pairs(place)
    for name in (VOLUME, LABELS):
        if not (place / name).is_file():
            raise UserError(f"{place / name} is missing: the challenge's two files belong side by side.")
    return [place / VOLUME], [place / LABELS]


def _pairs(place: Path) -> tuple[list[Path], list[Path]]:
    images, labels = (
        {path.name: path for path in (place / name).iterdir() if path.suffix.lower() == ".png"}
        for name in (IMAGE_FOLDER, LABEL_FOLDER)
    )
    if not images:
        raise UserError(f"{place / IMAGE_FOLDER} holds no PNG file.")
    for name, other, have in ((LABEL_FOLDER, labels, images), (IMAGE_FOLDER, images, labels)):
        for missing in sorted(have.keys() - other.keys()):
            raise UserError(f"{have[missing]} has no partner of the same name in {place / name}.")
    # Neighbours must be neighbours, or the guards between the splits guard nothing.
    order = sorted(images, key=lambda name: natural(Path(name).stem))
    return [images[name] for name in order], [labels[name] for name in order]


def _stacks(files: tuple[list[Path], list[Path]]) -> tuple[Pages, Pages]:
    """Images and labels, a page each."""
    images, labels = ([page for path in some for page in read(path).array] for some in files)
    if len(images) != len(labels):
        volume, label = files[0][0], files[1][0].name
        raise UserError(f"{volume} has {len(images)} pages, but {label} has {len(labels)}: they must be pairs.")
    return images, labels


def _check(images: Pages, labels: Pages, place: Path) -> None:
    if len(images) < MIN_PAGES:
        raise UserError(f"{place} holds {len(images)} slices: training, validation and test blocks need {MIN_PAGES}.")
    for page, (image, label) in enumerate(zip(images, labels, strict=True), 1):
        (rows, columns), (label_rows, label_columns) = image.shape, label.shape
        if image.shape != label.shape:
            sizes = f"{columns} x {rows} pixels, but its label {label_columns} x {label_rows}"
            raise UserError(f"Slice {page} of {place} has {sizes}: they must have one size.")
        if min(image.shape) < MIN_SIDE:
            raise UserError(
                f"Slice {page} of {place} has {columns} x {rows} pixels: {MIN_SIDE} x {MIN_SIDE} is the least."
            )
    values = np.unique(np.concatenate([np.unique(label) for label in labels]))
    if len(values) != 2 or values[0] != 0:
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise UserError(
            f"The labels in {place} hold the values {shown}, but must hold two: 0 = membrane, 255 = cell interior."
        )
