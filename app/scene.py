"""What the viewer shows of an opened study: views, pictures, Dice; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unetq.app.render import Display, difference, legend, overlay, plain
from unetq.app.study import Study

__all__ = ["TRUTH", "Picture", "Scene", "Scores", "pictures", "score", "views"]

Mask = NDArray[np.uint8]
TRUTH = "Ground truth"


@dataclass(frozen=True)
class Scene:
    """A study and its masks (Z, Y, X) by name: model A, model B, the ground truth (`TRUTH`), as far as there."""

    study: Study
    masks: Mapping[str, Mask]

    @property
    def models(self) -> list[str]:
        """Names of the models that have a mask."""
        return [name for name in self.masks if name != TRUTH]


@dataclass(frozen=True)
class Picture:
    """One image on the page: caption, RGB pixels, and what its colours mean (CSS colour, words)."""

    caption: str
    pixels: NDArray[np.uint8]
    legend: tuple[tuple[str, str], ...] = ()


def views(scene: Scene) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Title of a view -> its pictures; a picture is () for the image alone, one mask's name, or two to compare.

    The richest comes first: it is what the viewer opens with.
    """
    names = list(scene.masks)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    if len(names) > 1:
        found["Overview"] = (*((name,) for name in names), pairs[0])
    found.update({f"Difference: {a} and {b}": ((a, b),) for a, b in pairs})
    found.update({f"Overlay: {name}": ((name,),) for name in names})
    found["Image only"] = ((),)
    return found


def pictures(scene: Scene, view: str, index: int, display: Display) -> list[Picture]:
    """The pictures of a view for slice `index`."""
    image = scene.study.volume.array[index]
    shown = []
    for names in views(scene)[view]:
        masks = [scene.masks[name][index] for name in names]
        if len(names) == 2:
            colours = tuple(legend(*names))
            shown.append(Picture("Difference", difference(image, masks[0], masks[1], display), colours))
        elif names:
            shown.append(Picture(names[0], overlay(image, masks[0], display)))
        else:
            shown.append(Picture(scene.study.name, plain(image, display)))
    return shown


@dataclass(frozen=True)
class Scores:
    """Dice against the truth, of the whole study and of each slice: the mean over the labels that occur, 1 where none does."""

    study: float
    slices: tuple[float, ...]


def score(mask: Mask, truth: Mask) -> Scores:
    """Scores a mask (Z, Y, X); counts every voxel once a label, whatever the number of slices."""
    labels = np.union1d(np.unique(mask), np.unique(truth))
    counts = [_counts(mask == label, truth == label) for label in labels[labels > 0]]
    whole = _mean_dice([(both.sum(keepdims=True), either.sum(keepdims=True)) for both, either in counts], 1)
    return Scores(float(whole[0]), tuple(map(float, _mean_dice(counts, mask.shape[0]))))


def _counts(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per slice: voxels in both, and the sum of the voxels of each."""
    return (a & b).sum(axis=(1, 2)), a.sum(axis=(1, 2)) + b.sum(axis=(1, 2))


def _mean_dice(counts: list[tuple[NDArray[np.int64], NDArray[np.int64]]], n: int) -> NDArray[np.float64]:
    total, occurs = np.zeros(n), np.zeros(n)
    for both, either in counts:
        total += np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0)
        occurs += either > 0
    mean: NDArray[np.float64] = np.where(occurs > 0, total / np.maximum(occurs, 1), 1.0)
    return mean
