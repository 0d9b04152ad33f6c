"""A prepared data set: the nnU-Net v2 raw format (DESIGN 7), read with the same readers as a study on the cart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError, nearest
from unetq.image.read import read
from unetq.image.resample import resample_labels
from unetq.image.segment import network_slice, turned
from unetq.image.volume import Volume
from unetq.spec import PrepSpec

__all__ = ["Case", "Dataset", "training_slices"]


@dataclass(frozen=True)
class Case:
    """One case: a volume per channel, the truth, uint8 (Z, Y, X), and what each of several raters marked, like the truth."""

    name: str
    channels: tuple[Volume, ...]
    truth: NDArray[np.uint8]
    raters: tuple[NDArray[np.uint8], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """An nnU-Net raw folder.

    Attributes:
        folder: holds dataset.json, imagesTr, labelsTr, splits_final.json.
        name: name of the data set.
        channels: number of image channels.
        labels: names of the labels 1, 2, ... (the background is not among them).
        splits: split -> names of its cases.
        source: what `data_prep` wrote about the data's origin (its "unetq" entry), or {}.
        ending: suffix of all image and label files.
        fold: which entry of splits_final.json `splits` is.
    """

    folder: Path
    name: str
    channels: int
    labels: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    source: Mapping[str, Any]
    ending: str = ".nii.gz"
    fold: int = 0

    @property
    def subjects(self) -> Mapping[str, str]:
        """Case -> its subject, where that is another name."""
        return {str(case): str(subject) for case, subject in (self.source.get("subjects") or {}).items()}

    @property
    def boundary(self) -> str:
        """Name of the background where it is a class of its own that parts objects (the membranes of em); else ""."""
        return str(self.source.get("boundary", ""))

    @staticmethod
    def open(folder: Path | str, fold: int = 0) -> Dataset:
        """Reads the descriptions, not yet the images.

        Args:
            folder: prepared folder.
            fold: which entry of splits_final.json.

        Raises:
            UserError: not a prepared folder, no such fold, or a case or subject is in two splits.
        """
        folder = Path(folder)
        about, folds = _json(folder / "dataset.json"), _json(folder / "splits_final.json")
        try:
            labels = {int(value): str(name) for name, value in about["labels"].items() if int(value) > 0}
            channels = len(about.get("channel_names") or about["modality"])
            folds = folds if isinstance(folds, list) else [folds]
            if folds and not 0 <= fold < len(folds):
                raise UserError(
                    f"{folder / 'splits_final.json'} has the folds 0 to {len(folds) - 1}, but no fold {fold}."
                )
            splits = {str(split): tuple(map(str, cases)) for split, cases in folds[fold].items()}
        except UserError:  # a ValueError, too
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise UserError(f"{folder} is not in the nnU-Net raw format: make it with `unetq data prepare`.") from None
        if sorted(labels) != list(range(1, len(labels) + 1)):
            raise UserError(f"The labels in {folder / 'dataset.json'} must be numbered 1, 2, ... without a gap.")
        if not channels or not labels:
            raise UserError(f"{folder / 'dataset.json'} names no channel or no label beside the background.")
        source = about.get("unetq") or {}
        name = Dataset.name_of(folder)
        ending = str(about.get("file_ending", ".nii.gz"))
        data = Dataset(folder, name, channels, tuple(labels[i] for i in sorted(labels)), splits, source, ending, fold)
        data._refuse_torn_subjects()
        return data

    @staticmethod
    def name_of(folder: Path) -> str:
        """What the data set in a folder calls itself, without a look at its splits.

        Raises:
            UserError: dataset.json cannot be read.
        """
        about = _json(folder / "dataset.json")
        return str((about.get("unetq") or {}).get("dataset") or about.get("name") or folder.name)

    def _refuse_torn_subjects(self) -> None:
        """Refuses splits with one case or one subject on two sides: their Dice would be untrue."""
        home: dict[str, tuple[str, str]] = {}
        for split, cases in self.splits.items():
            for case in cases:
                subject = self.subjects.get(case, case)
                other, twin = home.setdefault(subject, (split, case))
                if other != split:
                    who = f"Case {case}" if twin == case else f"Subject {subject} (cases {twin} and {case})"
                    raise UserError(
                        f"{who} of {self.folder} is in two splits, {other} and {split}: leave it in one of them."
                    )

    def cases(self, split: str) -> tuple[str, ...]:
        """Names of the cases of a split.

        Raises:
            UserError: there is no such split, or it is empty.
        """
        if split not in self.splits:
            raise UserError(f'{self.folder} has no split "{split}": {nearest(split, self.splits)}')
        if not self.splits[split]:
            raise UserError(f'The split "{split}" of {self.folder} holds no case.')
        return self.splits[split]

    def case(self, name: str) -> Case:
        """Reads one case.

        Raises:
            UserError: a file is missing or unreadable, or image and label do not fit together.
        """
        paths = [self.folder / "imagesTr" / f"{name}_{c:04d}{self.ending}" for c in range(self.channels)]
        volumes = tuple(read(path) for path in paths)
        label_path = self.folder / "labelsTr" / f"{name}{self.ending}"
        opinions = sorted((self.folder / "ratersTr").glob(f"{name}_r[0-9]{self.ending}"))
        labels = [self._label(path) for path in (label_path, *opinions)]
        for path, volume in zip(paths, volumes):
            for label in labels:
                if volume.array.shape != label.shape:
                    raise UserError(
                        f"{path} has shape {volume.array.shape}, but its label {label_path} has {label.shape}."
                    )
        return Case(name, volumes, labels[0], tuple(labels[1:]))

    def _label(self, path: Path) -> NDArray[np.uint8]:
        label = read(path).array
        truth = label.astype(np.uint8)
        if not np.array_equal(truth, label) or int(truth.max(initial=0)) > len(self.labels):
            raise UserError(f"{path} holds other values than 0 to {len(self.labels)}, the labels of dataset.json.")
        return truth

    def read_split(self, split: str) -> Iterator[Case]:
        """The cases of a split, one at a time."""
        return (self.case(name) for name in self.cases(split))

    def fingerprint(self) -> str:
        """SHA-256 of the descriptions and of the bytes of every file that a split names; checks that no slice of one
        split is also in another (the same pixels on both sides make a reported Dice untrue).

        Raises:
            UserError: two splits share a slice.
        """
        total = hashlib.sha256(json.dumps([self.name, self.labels, sorted(self.splits.items())]).encode())
        home: dict[bytes, tuple[str, str]] = {}
        for split in sorted(self.splits):
            for name in self.splits[split]:
                case = self.case(name)
                for label in (case.truth, *case.raters):
                    total.update(label.tobytes())
                for digest in _slice_digests(case):
                    total.update(digest)
                    other, twin = home.setdefault(digest, (split, name))
                    if other != split:
                        raise UserError(
                            f"{self.folder}: case {name} of the split {split} holds a slice that is also in {twin} of "
                            f"the split {other}; move one of them, or the Dice is untrue."
                        )
        return total.hexdigest()


def training_slices(case: Case, prep: PrepSpec) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """What the network sees of each slice, float32 (C, Y, X), and what each rater marked, on the same grid, uint8 (R, Y, X)."""
    truths = [replace(case.channels[0], array=label) for label in case.raters or (case.truth,)]
    channels, raters = turned(case.channels, prep), turned(truths, prep)
    for z in range(len(channels[0].array)):
        image = network_slice(channels, z, prep)
        size = (image.shape[1], image.shape[2])
        yield image, np.stack([resample_labels(rater.array[z], size) for rater in raters])


def _slice_digests(case: Case) -> Iterator[bytes]:
    for z in range(case.truth.shape[0]):
        planes = [np.ascontiguousarray(volume.array[z]) for volume in case.channels]
        if all(plane.min() == plane.max() for plane in planes):
            continue  # a blank slice (air, padding) is no evidence of a shared image
        yield hashlib.sha256(b"".join(str(p.shape).encode() + p.tobytes() for p in planes)).digest()


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path.parent} is no prepared data set ({path.name}: {error.strerror}): make it with `unetq data prepare`."
        ) from None
    except ValueError:
        raise UserError(f"{path} is not valid JSON: make the folder again with `unetq data prepare`.") from None
