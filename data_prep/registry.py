"""The data sets by name, and where a verb finds its data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unetq.data_prep import em, gm, nih
from unetq.data_prep.common import dataset_name, is_prepared
from unetq.errors import UserError, nearest

__all__ = ["DATASETS", "DataSet", "locate", "lookup", "prepare"]


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
        raise UserError(f'There is no data set "{name}": {nearest(name, DATASETS)}')
    return DATASETS[name]


def prepare(name: str, source: Path, out: Path | None) -> Path:
    """Prepares raw files.

    Raises:
        UserError: unknown data set, or files that are not as they must be.
    """
    return lookup(name).prepare(source, out)


def locate(name: str, data: Path | None) -> Path:
    """The prepared folder of a data set: `data`, else $UNETQ_DATA, else ./data; raw files there are prepared on first use.

    Raises:
        UserError: unknown data set, nothing found, another data set, or files that are not as they must be.
    """
    dataset = lookup(name)
    folder = data or Path(os.environ.get("UNETQ_DATA") or "data")
    others = []
    for place in (folder, folder / name):
        if is_prepared(place):
            holds = dataset_name(place)
            if holds in (name, None):
                return place
            others.append(f'{place} holds the data set "{holds}", not "{name}"')
    if dataset.find(folder) is not None:
        return dataset.prepare(folder, None)
    if others:
        raise UserError(f"{others[0]}: name another folder with --data.")
    missing = "" if folder.is_dir() else f" (there is no folder {folder})"
    raise UserError(f"No {name} data found in {folder}{missing}: {dataset.help}, and name the folder with --data.")
