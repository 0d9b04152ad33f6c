"""What the viewer shows of an opened study: views, pictures, Dice; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unetq.app.render import Display, difference, legend, overlay, plain
from unetq.app.study import Study
from unetq.image.measures import dice

__all__ = ["Picture", "Scene", "dice_rows", "mean_dice", "pictures", "views"]

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
        found["Side by side"] = tuple((name,) for name in names)
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
            shown.append(Picture(" / ".join(names), difference(image, masks[0], masks[1], display), colours))
        elif names:
            shown.append(Picture(names[0], overlay(image, masks[0], display)))
        else:
            shown.append(Picture(scene.study.name, plain(image, display)))
    return shown


def mean_dice(a: Mask, b: Mask) -> float:
    """Dice of two masks of any shape, the mean over the labels that occur; 1 where both are empty."""
    labels = np.union1d(np.unique(a), np.unique(b))
    values = [dice(a, b, int(label)) for label in labels[labels > 0]]
    return float(np.mean(values)) if values else 1.0


def dice_rows(scene: Scene) -> list[dict[str, float | int | str]]:
    """Dice of each model against the truth: a row for the whole study, then one a slice (from 1); [] without truth."""
    if TRUTH not in scene.masks:
        return []
    truth = scene.masks[TRUTH]
    rows: list[dict[str, float | int | str]] = []
    for name in ("Whole study", *range(scene.study.depth)):
        part = slice(None) if isinstance(name, str) else slice(name, name + 1)
        row: dict[str, float | int | str] = {"Slice": name if isinstance(name, str) else str(name + 1)}
        row.update({model: mean_dice(scene.masks[model][part], truth[part]) for model in scene.models})
        rows.append(row)
    return rows
