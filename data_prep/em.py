"""ISBI 2012 EM segmentation challenge: neuronal membranes in serial section electron microscopy, 4 x 4 x 50 nm.

Read are the challenge's own `train-volume.tif` and `train-labels.tif` (one page a slice; label 255 = cell interior, 0 =
membrane), or a folder of `images/` and `labels/` with PNG pairs of equal names. Slices become 2-D cases; label 1 = cell interior.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.common import Description, block_splits, cached, files_hash, is_prepared, make_prepared, write_case
from unetq.errors import UserError
from unetq.image.read import read

__all__ = ["HELP", "find", "prepare"]

HELP = (
    "get train-volume.tif and train-labels.tif of the ISBI 2012 EM segmentation challenge (imagej.net), or try made-up slices "
    "with `unetq data phantom em DIR`"
)
SOURCE = "ISBI 2012 EM segmentation challenge, non-commercial use, cite Cardona et al., PLoS Biology 2010"
SPACING_UM = (0.004, 0.004, 0.05)
VOLUME, LABELS = "train-volume.tif", "train-labels.tif"
# Five blocks (with two guards) need a slice each, and training at least two.
MIN_PAGES, MIN_SIDE = 6, 64
# Raised whenever the prepared data of the same files would change.
VERSION = 1

Pages = NDArray[np.uint8]


def find(folder: Path) -> Path | None:
    """The folder with the raw files: `folder` itself or `folder/em`; None where there are none."""
    for place in (folder, folder / "em"):
        if (place / VOLUME).is_file() or (place / LABELS).is_file() or (place / "images").is_dir():
            return place
    return None


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
    digest = files_hash(files, VERSION)
    target = out or cached(f"em-{digest[:12]}")
    if is_prepared(target):
        if out is None:
            return target
        raise UserError(f"{out} already holds prepared data; choose another folder.")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty; choose another folder.")
    images, labels = _stacks(place)
    _check(images, labels, place)
    names = [f"em_{page:03d}" for page in range(len(images))]

    def write_cases(folder: Path) -> None:
        for name, image, label in zip(names, images, labels, strict=True):
            write_case(folder, name, image[None], (label != 0).astype(np.uint8)[None], SPACING_UM)

    about = Description("em", ("EM",), ("interior",), SOURCE, digest)
    make_prepared(target, about, block_splits(names), write_cases)
    return target


def _files(place: Path) -> list[Path]:
    if (place / "images").is_dir():
        return [image_or_label for pair in _pairs(place) for image_or_label in pair]
    for name in (VOLUME, LABELS):
        if not (place / name).is_file():
            raise UserError(f"{place / name} is missing; the challenge's two files belong side by side.")
    return [place / VOLUME, place / LABELS]


def _pairs(place: Path) -> Iterator[tuple[Path, Path]]:
    images = sorted((place / "images").glob("*.png"))
    if not images:
        raise UserError(f"{place / 'images'} holds no PNG file.")
    for image in images:
        label = place / "labels" / image.name
        if not label.is_file():
            raise UserError(f"{image} has no label of the same name in {place / 'labels'}.")
        yield image, label


def _stacks(place: Path) -> tuple[list[Pages], list[Pages]]:
    """Images and labels, a page each."""
    if not (place / "images").is_dir():
        images, labels = read(place / VOLUME).array, read(place / LABELS).array
        if len(images) != len(labels):
            raise UserError(f"{place / VOLUME} has {len(images)} pages, but {LABELS} has {len(labels)}; they must be pairs.")
        return list(images), list(labels)
    pairs = [(read(image).array, read(label).array) for image, label in _pairs(place)]
    return [image[0] for image, _ in pairs], [label[0] for _, label in pairs]


def _check(images: list[Pages], labels: list[Pages], place: Path) -> None:
    if len(images) < MIN_PAGES:
        raise UserError(f"{place} holds {len(images)} slices, but a split into blocks with guards needs at least {MIN_PAGES}.")
    for page, (image, label) in enumerate(zip(images, labels, strict=True)):
        if image.shape != label.shape:
            raise UserError(f"Slice {page} of {place} is {image.shape} pixels, but its label is {label.shape}.")
        if min(image.shape) < MIN_SIDE:
            raise UserError(f"Slice {page} of {place} is {image.shape} pixels, but each side must have {MIN_SIDE} at least.")
    values = np.unique(np.concatenate([np.unique(label) for label in labels]))
    if len(values) != 2 or values[0] != 0:
        shown = ", ".join(str(value) for value in values[:6])
        raise UserError(f"The labels in {place} have the values {shown}, but must have two: 0 = membrane, 255 = cell interior.")
