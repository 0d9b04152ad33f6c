"""Pictures of the viewer, made on the server as uint8 arrays; no Streamlit in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unetq.report.paint import AGREE, ONLY_A, ONLY_B, OUTLINE, difference_layer, enlarge, outline, window

__all__ = ["LABELS", "STYLES", "Display", "difference", "legend", "overlay", "plain"]

Style = Literal["Fill", "Outline", "Both"]
Pixels = NDArray[np.uint8]
STYLES: tuple[Style, ...] = ("Both", "Fill", "Outline")
# Colours of the labels 1, 2, ...; then they repeat.
LABELS = (AGREE, OUTLINE, ONLY_B, ONLY_A, (204, 121, 167), (0, 114, 178))


@dataclass(frozen=True)
class Display:
    """How a slice is shown: `low` and below is black, `high` and above white; opacity 0 to 1."""

    low: float
    high: float
    style: Style = "Both"
    opacity: float = 0.4
    side: int = 640


def plain(image: NDArray[Any], display: Display) -> Pixels:
    """The slice (Y, X) alone as RGB (Y', X', 3); small slices are enlarged by a whole number."""
    gray = enlarge(window(image, display.low, display.high), display.side).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def overlay(image: NDArray[Any], mask: NDArray[Any], display: Display) -> Pixels:
    """The slice with a mask (Y, X) over it, a colour a label: filled, outlined or both."""
    labels = enlarge(mask, display.side)
    layer = np.zeros((*labels.shape, 4), dtype=np.uint8)
    for value in np.unique(labels[labels > 0]):
        where = labels == value
        colour = LABELS[(int(value) - 1) % len(LABELS)]
        if display.style != "Outline":
            layer[where] = (*colour, round(255 * display.opacity))
        if display.style != "Fill":
            # An outline that fades with the fill would be lost first; it stays readable down to low opacity.
            layer[outline(where)] = (*colour, round(255 * min(1.0, display.opacity + 0.5)))
    return _over(plain(image, display), layer)


def difference(image: NDArray[Any], a: NDArray[Any], b: NDArray[Any], display: Display) -> Pixels:
    """The slice with two masks compared: agree, only `a`, only `b` (colours: `legend`)."""
    layer = difference_layer(enlarge(a, display.side), enlarge(b, display.side), min(1.0, display.opacity * 1.8))
    return _over(plain(image, display), layer)


def legend(a: str, b: str) -> list[tuple[str, str]]:
    """(CSS colour, words) of a difference picture."""
    words = ((AGREE, "agree"), (ONLY_A, f"only {a}"), (ONLY_B, f"only {b}"))
    return [(f"rgb({', '.join(map(str, colour))})", text) for colour, text in words]


def _over(rgb: Pixels, layer: Pixels) -> Pixels:
    """An RGBA layer over an RGB picture."""
    alpha = layer[:, :, 3:].astype(np.float32) / 255
    mixed = rgb * (1 - alpha) + layer[:, :, :3] * alpha
    return np.rint(mixed).astype(np.uint8)
