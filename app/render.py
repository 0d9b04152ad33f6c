"""Pictures of the viewer, made on the server as uint8 arrays; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unetq.report.paint import AGREE, ONLY_A, ONLY_B, OUTLINE, difference_layer, outline, window

__all__ = [
    "HEAT",
    "LABELS",
    "PRESETS",
    "STYLES",
    "Colour",
    "Display",
    "css",
    "difference",
    "heat",
    "heat_legend",
    "labels_legend",
    "legend",
    "magnify",
    "overlay",
    "plain",
]

Style = Literal["Fill", "Outline", "Both"]
Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
STYLES: tuple[Style, ...] = ("Both", "Fill", "Outline")
# Colours of the labels 1, 2, ...; then they repeat.
LABELS: tuple[Colour, ...] = (AGREE, OUTLINE, ONLY_B, ONLY_A, (204, 121, 167), (0, 114, 178))
# Of CT: (low, high) HU.
PRESETS = {"Soft tissue": (-160.0, 240.0), "Lung": (-1350.0, 150.0), "Bone": (-500.0, 1300.0)}
# Dark blue, violet, orange, yellow: brighter with every step, also for the colour-blind and in print.
HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float64)


@dataclass(frozen=True)
class Display:
    """How a slice is shown.

    Attributes:
        low: this intensity and below is black.
        high: this intensity and above is white.
        style: of the masks.
        opacity: of the masks, 0 to 1.
        scale: how often each row and each column is repeated, so that outlines stay thin and pixels have their shape.
        colours: of the labels 1, 2, ...
    """

    low: float
    high: float
    style: Style = "Both"
    opacity: float = 0.4
    scale: tuple[int, int] = (1, 1)
    colours: Sequence[Colour] = LABELS


def magnify(picture: NDArray[Any], scale: tuple[int, int]) -> NDArray[Any]:
    """A picture (Y, X) with its rows and columns repeated."""
    return np.repeat(np.repeat(picture, scale[0], axis=0), scale[1], axis=1)


def plain(image: NDArray[Any], display: Display) -> Pixels:
    """The slice (Y, X) alone as RGB (Y', X', 3)."""
    gray = magnify(window(image, display.low, display.high), display.scale)
    return np.repeat(gray[:, :, None], 3, axis=2)


def overlay(image: NDArray[Any], mask: NDArray[Any], display: Display) -> Pixels:
    """The slice with a mask (Y, X) over it, a colour a label: filled, outlined or both."""
    rgb, labels = plain(image, display), magnify(mask, display.scale)
    for value in np.unique(mask[mask > 0]):
        where = labels == value
        colour = display.colours[(int(value) - 1) % len(display.colours)]
        if display.style != "Outline":
            _tint(rgb, where, colour, display.opacity)
        if display.style != "Fill":
            # An outline that fades with the fill would be lost first; it stays readable down to low opacity.
            _tint(rgb, outline(where), colour, min(1.0, display.opacity + 0.5))
    return rgb


def difference(image: NDArray[Any], a: NDArray[Any], b: NDArray[Any], display: Display) -> Pixels:
    """The slice with two masks compared: agree, only `a`, only `b` (colours: `legend`)."""
    strength = min(1.0, display.opacity * 1.8)
    layer = difference_layer(magnify(a, display.scale), magnify(b, display.scale), strength)
    return _over(plain(image, display), layer)


def heat(image: NDArray[Any], values: NDArray[np.uint8], display: Display) -> Pixels:
    """The slice under a map of 0 to 255 (Y, X): the higher the brighter and the less transparent."""
    share = magnify(values, display.scale).astype(np.float64) / 255
    at = np.arange(len(HEAT)) / (len(HEAT) - 1)
    colour = np.stack([np.interp(share, at, HEAT[:, channel]) for channel in range(3)], axis=2)
    alpha = np.rint(255 * np.minimum(1.0, 2 * share) * min(1.0, display.opacity * 2))
    return _over(plain(image, display), np.dstack([np.rint(colour), alpha]).astype(np.uint8))


def heat_legend(least: str, most: str) -> list[tuple[str, str]]:
    """(CSS colour, words) of a map."""
    return [(css((87, 16, 110)), least), (css((249, 142, 9)), "half"), (css((252, 255, 164)), most)]


def legend(a: str, b: str) -> list[tuple[str, str]]:
    """(CSS colour, words) of a difference picture."""
    words = ((AGREE, "agree"), (ONLY_A, f"only {a}"), (ONLY_B, f"only {b}"))
    return [(css(colour), text) for colour, text in words]


def labels_legend(labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(CSS colour, words) of a mask with these labels 1, 2, ..."""
    return tuple((css(LABELS[i % len(LABELS)]), name) for i, name in enumerate(labels))


def css(colour: Colour) -> str:
    """A colour for CSS.

    >>> css((0, 158, 115))
    '#009e73'
    """
    return "#" + "".join(f"{channel:02x}" for channel in colour)


def _tint(rgb: Pixels, where: NDArray[np.bool_], colour: Colour, opacity: float) -> None:
    """Lays a colour over some pixels; a table of 256 grays a channel is faster than arithmetic on each pixel."""
    at = np.flatnonzero(where)
    for channel, value in enumerate(colour):
        table = np.rint(np.arange(256) * (1 - opacity) + value * opacity).astype(np.uint8)
        flat = rgb.reshape(-1, 3)[:, channel]
        flat[at] = table[flat[at]]


def _over(rgb: Pixels, layer: Pixels) -> Pixels:
    """An RGBA layer over an RGB picture; most of it is clear, and only the rest is mixed."""
    where = layer[:, :, 3] > 0
    alpha = layer[where][:, 3:].astype(np.float32) / 255
    rgb[where] = np.rint(rgb[where] * (1 - alpha) + layer[where][:, :3] * alpha).astype(np.uint8)
    return rgb
