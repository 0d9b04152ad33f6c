"""What the viewer shows of an opened study: views and pictures; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unetq.app.planes import Grid, Plane, Point
from unetq.app.render import Display, difference, heat, heat_legend, labels_legend, legend, overlay, plain
from unetq.app.study import Mask, Study

__all__ = [
    "DISAGREEMENT",
    "DRAFT",
    "IMAGE",
    "TRUTH",
    "Look",
    "Picture",
    "Scene",
    "disagreement",
    "pictures",
    "scale_of",
    "views",
]

TRUTH = "Ground truth"
DRAFT = "Correction in work"
DISAGREEMENT = "Disagreement of all"
IMAGE = "Image only"
SIDE = 640  # pixels that the longer side of a picture gets at least


@dataclass(frozen=True)
class Scene:
    """A study and its masks (Z, Y, X) by name: models, corrections, the ground truth (`TRUTH`), as far as there.

    Attributes:
        labels: names of the labels 1, 2, ...
        maps: name -> uint8 (Z, Y, X) that is shown as heat, 0 to 255: probability, entropy.
    """

    study: Study
    masks: Mapping[str, Mask]
    labels: tuple[str, ...] = ("foreground",)
    maps: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """Where and how a person looks: view, planes, the point under the cross-hair, window and style.

    Attributes:
        neurological: as in `Grid`.
        solid: as a body that can be turned, with its planes below; of a view of several pictures the last one.
    """

    view: str
    planes: tuple[Plane, ...]
    point: Point
    display: Display
    neurological: bool = False
    solid: bool = False


@dataclass(frozen=True)
class Picture:
    """One image on the page: caption, plane, RGB pixels, and what its colours mean (CSS colour, words)."""

    caption: str
    plane: Plane
    pixels: NDArray[np.uint8]
    legend: tuple[tuple[str, str], ...] = ()


def views(scene: Scene) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Title of a view -> its pictures; a picture is () for the image alone, one mask's or map's name, or two to compare.

    What is being corrected comes first, then the richest: it is what the viewer opens with.
    """
    names = list(scene.masks)
    pairs = list(combinations(names, 2))
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    if DRAFT in names:
        found[f"Overlay: {DRAFT}"] = ((DRAFT,),)
    if len(names) > 1:
        found["Overview"] = (*((name,) for name in names), *(pairs[:1] if len(names) == 2 else [(DISAGREEMENT,)]))
    found.update({f"Overlay: {name}": ((name,),) for name in names})
    found.update({f"Difference: {a} and {b}": ((a, b),) for a, b in pairs})
    if len(names) > 2:
        found[DISAGREEMENT] = ((DISAGREEMENT,),)
    found.update({name: ((name,),) for name in scene.maps})
    found[IMAGE] = ((),)
    return found


def pictures(scene: Scene, look: Look) -> list[Picture]:
    """The pictures of a view: each of its masks in each plane."""
    shown = views(scene)[look.view]
    return [
        _picture(scene, look, names, plane) for names in (shown[-1:] if look.solid else shown) for plane in look.planes
    ]


def scale_of(grid: Grid, plane: Plane, side: int = SIDE) -> tuple[int, int]:
    """How often rows and columns are repeated: whole numbers, so that the picture has about its shape in mm."""
    height, width = grid.size(plane)
    rows, columns = grid.cut(grid.turned(np.broadcast_to(np.uint8(0), grid.volume.array.shape)), plane, (0, 0, 0)).shape
    longer = max(height, width)
    down, across = (max(1, round(side * mm / longer / n)) for mm, n in ((height, rows), (width, columns)))
    return min(down, 64), min(across, 64)


def disagreement(masks: Mapping[str, Mask]) -> NDArray[np.uint8]:
    """Of each pixel the share of the pairs of masks that differ in it, 0 to 255, in the shape of the masks."""
    pairs = list(combinations(masks.values(), 2))
    total = np.zeros(next(iter(masks.values())).shape, np.float32)
    for a, b in pairs:
        total += a != b
    return np.rint(255 * total / max(len(pairs), 1)).astype(np.uint8)


def _picture(scene: Scene, look: Look, names: tuple[str, ...], plane: Plane) -> Picture:
    grid = Grid(scene.study.volume, look.neurological)
    display = replace(look.display, scale=scale_of(grid, plane))

    def cut(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return grid.cut(grid.turned(array), plane, look.point)

    image = cut(scene.study.volume.array)
    if not names:
        return Picture(IMAGE, plane, plain(image, display))
    if names == (DISAGREEMENT,):
        values = disagreement({name: cut(mask).astype(np.uint8) for name, mask in scene.masks.items()})
        return Picture(
            DISAGREEMENT, plane, heat(image, values, display), tuple(heat_legend("few", "most pairs differ"))
        )
    if names[0] in scene.maps:
        values = cut(scene.maps[names[0]]).astype(np.uint8)
        return Picture(names[0], plane, heat(image, values, display), tuple(heat_legend("low", "high")))
    cuts = [cut(scene.masks[name]) for name in names]
    if len(names) == 2:
        return Picture("Difference", plane, difference(image, cuts[0], cuts[1], display), tuple(legend(*names)))
    return Picture(names[0], plane, overlay(image, cuts[0], display), labels_legend(scene.labels))
