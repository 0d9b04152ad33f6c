"""Spinal cord gray matter in T2*-weighted MR: the SCGM challenge's files and BIDS folders.

Read are `siteN-scNN-image.nii.gz` with `siteN-scNN-mask-r1.nii.gz` ... `-r4.nii.gz` (1 = gray matter, 2 = white matter, one
mask a rater), or `sub-*/[ses-*/]anat/*_T2starw.nii.gz` with `derivatives/labels/.../*_gmseg-manual.nii.gz` and
`*_seg-manual.nii.gz` (the whole cord). A session becomes a 3-D case with its slices along z, turned to LPS by its affine, at its
own spacing; label 1 = gray matter, 2 = white matter if asked for. The label is what most raters say; each rater's own mask
is kept beside it for training.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.data_prep.common import (
    Description,
    Splits,
    cached,
    files_hash,
    is_prepared,
    make_prepared,
    refuse_existing,
    source_of,
    write_case,
    write_raters,
)
from unetq.data_prep.fit import refuse_misfit
from unetq.data_prep.subjects import leave_one_out, natural, subject_folds
from unetq.errors import UserError
from unetq.image.orient import turn
from unetq.image.read import read
from unetq.image.volume import Volume

__all__ = ["HELP", "ORIENTATION", "find", "majority", "prepare"]

HELP = (
    "register for the SCGM challenge (niftyweb.cs.ucl.ac.uk) and unpack its train folder, or use a BIDS folder with "
    "*_T2starw.nii.gz and derivatives/labels, or try made-up studies with `unetq data phantom gm DIR`"
)
SOURCE = (
    "studies in the layout of the SCGM challenge or of BIDS; the challenge's own: registration, cite Prados et al., "
    "NeuroImage 2017"
)
GRAY, WHITE = "gray matter", "white matter"
# CID 7153 of DICOM.
SNOMED = {GRAY: "12958003", WHITE: "27088001"}
ORIENTATION = "LPS"
PERSONS = "subjects.tsv"
IMAGE = re.compile(r"(site\d+-sc(\d+))-image\.nii(?:\.gz)?")
BIDS_IMAGE = "_T2starw.nii.gz"
# The paper's own parting of each site: sc01-08 and sc09-10; of the training part two are validated in turn.
PAPER_TEST, PAPER_FOLDS = ("09", "10"), (("07", "08"), ("05", "06"), ("03", "04"), ("01", "02"))
# Of so few people each one is tested in turn.
FEW = 8
# Raised whenever the prepared data of the same files would change.
VERSION = 1


@dataclass(frozen=True)
class Study:
    """One session: its name, whose it is, the image, and each rater's mask or (BIDS) the gray matter's and the cord's."""

    name: str
    person: str
    image: Path
    masks: tuple[Path, ...]
    cord: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All that it is read from."""
        return [self.image, *self.masks, *([self.cord] if self.cord else [])]


def find(folder: Path) -> Path | None:
    """The folder with the raw files: `folder` itself, or `gm` or `train` in it; None where there are none."""
    places = (folder, folder / "gm", folder / "train", folder / "gm" / "train")
    return next((place for place in places if place.is_dir() and (_scgm(place) or _bids(place))), None)


def prepare(source: Path, out: Path | None = None, white_matter: bool = False) -> Path:
    """Prepares the studies in a folder, once for the same content.

    Args:
        source: folder of the raw files (or its parent, with the files in `gm/`).
        out: folder to make; default: a cache named by the content.
        white_matter: keep it as label 2; else it is background.

    Returns:
        The prepared folder.

    Raises:
        UserError: files missing, damaged or not as they must be, or `out` is there already.
    """
    place = find(source)
    if place is None:
        raise UserError(f"There are no spinal cord studies in {source}: {HELP}.")
    studies = _studies(place)
    persons = place / PERSONS
    files = [path for study in studies for path in study.files] + ([persons] if persons.is_file() else [])
    digest = hashlib.sha256(f"{files_hash(files, VERSION)} {white_matter}".encode()).hexdigest()
    target = out or cached(place, f"gm-{digest[:12]}")
    if out is None and is_prepared(target):
        return target
    refuse_existing(target)
    people = {study.name: study.person for study in studies}
    folds = _folds(people, place)

    def write_cases(folder: Path) -> None:
        for study in studies:
            image, raters = _read(study)
            if not white_matter:
                raters = [np.where(rater == 1, rater, 0) for rater in raters]
            write_case(folder, study.name, image.array, majority(raters), image.affine)
            if len(raters) > 1:
                write_raters(folder, study.name, raters, image.affine)

    labels = (GRAY, WHITE) if white_matter else (GRAY,)
    codes = {label: SNOMED[label] for label in labels}
    about = Description("gm", ("T2*w",), labels, source_of(place, SOURCE), digest, codes, people)
    make_prepared(target, about, folds, write_cases)
    return target


def majority(raters: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """What most raters say, voxel by voxel; of a tie the lower label, so that half of the raters do not make a label.

    >>> majority([np.array([1, 1, 0, 2], np.uint8), np.array([1, 0, 1, 2], np.uint8), np.array([0, 0, 2, 1], np.uint8)]).tolist()
    [1, 0, 0, 2]
    """
    top = max(int(rater.max(initial=0)) for rater in raters)
    votes = [np.sum([rater == label for rater in raters], axis=0) for label in range(top + 1)]
    most: NDArray[np.uint8] = np.argmax(votes, axis=0).astype(np.uint8)
    return most


def _scgm(place: Path) -> list[Path]:
    return sorted((path for path in place.glob("site*-image.nii*") if IMAGE.fullmatch(path.name)), key=_order)


def _bids(place: Path) -> list[Path]:
    images = [*place.glob(f"sub-*/anat/*{BIDS_IMAGE}"), *place.glob(f"sub-*/ses-*/anat/*{BIDS_IMAGE}")]
    return sorted(images, key=_order)


def _order(path: Path) -> tuple[list[tuple[str, int]], str]:
    return natural(path.name)


def _studies(place: Path) -> list[Study]:
    studies = [_scgm_study(path) for path in _scgm(place)] or _bids_studies(place)
    for first, second in pairwise(studies):
        if first.name == second.name:
            raise UserError(f"{first.image} and {second.image} are two studies of the name {first.name}: rename one.")
    persons = _persons(place / PERSONS)
    unknown = next((study for study in studies if persons and study.name not in persons), None)
    if unknown:
        raise UserError(f"{place / PERSONS} does not say whose study {unknown.name} is: add a line for it.")
    return [replace(study, person=persons.get(study.name, study.person)) for study in studies]


def _scgm_study(image: Path) -> Study:
    name = image.name.split("-image.")[0]
    masks = tuple(sorted(image.parent.glob(f"{name}-mask-r*.nii*"), key=_order))
    if not masks:
        raise UserError(f"{image} has no mask: {name}-mask-r1.nii.gz belongs beside it.")
    for first, second in pairwise(masks):
        if first.name.split(".")[0] == second.name.split(".")[0]:
            rater = first.name.split(".")[0].rsplit("-", 1)[1]
            raise UserError(f"{first} and {second.name} are two masks of the rater {rater}: leave one of them.")
    return Study(name, name, image, masks)


def _bids_studies(place: Path) -> list[Study]:
    """The images that have a manual segmentation; a BIDS folder may hold others."""
    studies = []
    for image in _bids(place):
        stem = image.name.removesuffix(".nii.gz")
        labels = place / "derivatives" / "labels" / image.parent.relative_to(place)
        gray, cord = labels / f"{stem}_gmseg-manual.nii.gz", labels / f"{stem}_seg-manual.nii.gz"
        if gray.is_file():
            person = image.relative_to(place).parts[0]
            studies.append(Study(stem, person, image, (gray,), cord if cord.is_file() else None))
    if not studies:
        raise UserError(f"{place / 'derivatives' / 'labels'} holds no *_gmseg-manual.nii.gz for the images in {place}.")
    return studies


def _persons(path: Path) -> dict[str, str]:
    """Study -> person from subjects.tsv, {} where there is none."""
    if not path.is_file():
        return {}
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not rows or rows[0][:2] != ["case", "subject"] or any(len(row) < 2 for row in rows):
        raise UserError(f"{path} must have the columns case and subject, parted by tabs.")
    return {row[0]: row[1] for row in rows[1:]}


def _folds(people: dict[str, str], place: Path) -> list[Splits]:
    """The paper's parting where each person is a case of the full challenge, else by person."""
    numbers = {name: found[2] for name in people if (found := IMAGE.fullmatch(f"{name}-image.nii"))}
    own = all(name == person for name, person in people.items())
    parts = {number: [name for name in people if numbers.get(name) == number] for number in set(numbers.values())}
    if own and len(numbers) == len(people) and {"01", "02", *PAPER_TEST} <= parts.keys():
        test = [name for number in PAPER_TEST for name in parts[number]]
        folds = []
        for pair in PAPER_FOLDS:
            val = [name for number in pair for name in parts.get(number, [])]
            train = [name for name in people if name not in (*test, *val)]
            if val and train:
                folds.append({"train": train, "val": val, "test": test})
        return folds
    return leave_one_out(people, place) if len(set(people.values())) <= FEW else subject_folds(people, place)


def _read(study: Study) -> tuple[Volume, list[NDArray[np.uint8]]]:
    """The image and each rater's labels, turned to `ORIENTATION`."""
    image = read(study.image)
    masks = [_mask(path, image, study) for path in study.masks]
    labels = [mask.array for mask in masks]
    if study.cord is not None:
        cord = _mask(study.cord, image, study).array
        labels = [np.where(gray == 1, 1, np.where(cord > 0, 2, 0)) for gray in labels]
    if not any((label == 1).any() for label in labels):
        raise UserError(f"{study.masks[0]} marks no gray matter (value 1): mark it, or take the study out.")
    if not image.knows_orientation and masks[0].knows_orientation:
        image = replace(image, affine=masks[0].affine)
    turned = turn(image, ORIENTATION)
    if turned.array.dtype.kind == "f":
        turned = replace(turned, array=turned.array.astype(np.float32))
    return turned, [turn(replace(image, array=label), ORIENTATION).array.astype(np.uint8) for label in labels]


def _mask(path: Path, image: Volume, study: Study) -> Volume:
    mask = read(path)
    refuse_misfit((study.image, image), (path, mask))
    unknown = [value for value in np.unique(mask.array).tolist() if value not in (0, 1, 2)]
    if unknown:
        raise UserError(f"{path} holds the value {unknown[0]:g}, but must hold 0, 1 = gray and 2 = white matter.")
    return mask
