"""The data sets by name, and where a verb finds its data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from unetq.data_prep import em, gm, nih
from unetq.data_prep.common import dataset_name, is_prepared
from unetq.data_prep.folder import FolderOptions
from unetq.data_prep.folder import find as find_pairs
from unetq.data_prep.folder import prepare as prepare_pairs
from unetq.data_prep.nnunet import is_raw, open_raw
from unetq.errors import UserError, nearest
from unetq.runtime.dataset import Dataset

__all__ = ["DATASETS", "DataSet", "PrepareOptions", "locate", "lookup", "prepare", "preset", "recognise", "resolve"]


@dataclass(frozen=True)
class PrepareOptions:
    """What only some data sets can be told: `white_matter` gm, `folder` the data set of pairs."""

    white_matter: bool = False
    folder: FolderOptions = field(default_factory=FolderOptions)


@dataclass(frozen=True)
class DataSet:
    """One data set.

    Attributes:
        find: folder -> the folder of its raw files, there or one below, or None.
        prepare: (source, out or None for the cache) -> prepared folder.
        help: half a sentence: where to get it, and how to try the phantom.
    """

    find: Callable[[Path], Path | None]
    prepare: Callable[[Path, Path | None], Path]
    help: str


DATASETS: dict[str, DataSet] = {
    "em": DataSet(em.find, em.prepare, em.HELP),
    "gm": DataSet(gm.find, gm.prepare, gm.HELP),
    "nih": DataSet(nih.find, nih.prepare, nih.HELP),
}


def lookup(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        UserError: there is none.
    """
    if name not in DATASETS:
        raise UserError(f'There is no data set "{name}": {nearest(name, (*DATASETS, "folder"))}')
    return DATASETS[name]


def prepare(name: str, source: Path, out: Path | None, options: PrepareOptions | None = None) -> Path:
    """Prepares raw files.

    Raises:
        UserError: unknown data set, an option that is not for it, or files that are not as they must be.
    """
    options = options or PrepareOptions()
    if options.white_matter and name != "gm":
        raise UserError("--white-matter is for the data set gm.")
    if name == "folder":
        return prepare_pairs(source, out, options.folder)
    if options.folder != FolderOptions():
        raise UserError("--subject, --label and --name are for `unetq data prepare folder`.")
    if options.white_matter:
        return gm.prepare(source, out, white_matter=True)
    return lookup(name).prepare(source, out)


def resolve(text: str, data: Path | None) -> tuple[str, Path]:
    """Name and prepared folder of a data set that is named, or given as a folder in the nnU-Net raw format.

    Raises:
        UserError: as `locate`.
    """
    if text in DATASETS:
        return text, locate(text, data)
    place = locate(text, data)
    return dataset_name(place) or Dataset.open(place).name, place


def preset(name: str) -> str:
    """The configuration that a data set is trained with unless another is named."""
    return name if name in DATASETS else "default"


def locate(name: str, data: Path | None) -> Path:
    """The prepared folder of a data set: `data`, else $UNETQ_DATA, else ./data; raw files there are prepared on first use.

    Args:
        name: of `DATASETS`; or a folder in the nnU-Net raw format; or what such a data set in `data` calls itself.
        data: where to look.

    Raises:
        UserError: unknown data set, nothing found, another data set, or files that are not as they must be.
    """
    place = data or Path(os.environ.get("UNETQ_DATA") or "data")
    if name not in DATASETS:
        return _locate_own(name, place)
    dataset, others = DATASETS[name], []
    for folder in (place, place / name):
        if is_prepared(folder):
            holds = dataset_name(folder)
            if holds in (name, None):
                return folder
            others.append(f'{folder} holds the data set "{holds}", not "{name}"')
    if dataset.find(place) is not None:
        return dataset.prepare(place, None)
    if others:
        raise UserError(f"{others[0]}: name another folder with --data.")
    missing = "" if place.is_dir() else f" (there is no folder {place})"
    raise UserError(f"No {name} data found in {place}{missing}: {dataset.help}, and name the folder with --data.")


def recognise(place: Path, name: str | None = None) -> Path:
    """The prepared folder of whatever data a folder holds.

    Raises:
        UserError: nothing that is known, or several data sets and no `name`.
    """
    if name is not None:
        return locate(name, place)
    if is_raw(place):
        return open_raw(place)
    found = [each for each, dataset in DATASETS.items() if dataset.find(place) is not None]
    if len(found) > 1:
        raise UserError(f"{place} holds several data sets: choose one with --dataset {' or '.join(found)}.")
    if found:
        return locate(found[0], place)
    if not place.is_dir():
        raise UserError(f"There is no folder {place}.")
    hint = "; prepare the pairs in it with `unetq data prepare folder`" if find_pairs(place) else ""
    raise UserError(
        f"{place} holds no data set that is known here ({', '.join(DATASETS)}, or the nnU-Net raw format){hint}."
    )


def _locate_own(name: str, place: Path) -> Path:
    if Path(name).is_dir():
        return open_raw(Path(name))
    for folder in (place, place / name):
        if is_raw(folder) and name in (dataset_name(folder), Dataset.name_of(folder)):
            return open_raw(folder)
    if os.sep in name:
        raise UserError(
            f"There is no folder {name}: name a data set ({', '.join(DATASETS)}) or a folder in the nnU-Net format."
        )
    hint = nearest(name, DATASETS)
    path = "" if hint.endswith("?") else ", or the path of a folder in the nnU-Net format."
    raise UserError(f'There is no data set "{name}": {hint}{path}')
