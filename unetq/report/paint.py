"""Pictures as arrays: window, outline, colour, PNG bytes; for the report and for the viewer."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AGREE",
    "ONLY_A",
    "ONLY_B",
    "OUTLINE",
    "auto_window",
    "difference_layer",
    "enlarge",
    "outline",
    "png",
    "window",
]

Colour = tuple[int, int, int]
# Okabe and Ito's palette: told apart with every kind of colour vision, and on gray.
AGREE: Colour = (0, 158, 115)
ONLY_A: Colour = (213, 94, 0)
ONLY_B: Colour = (86, 180, 233)
OUTLINE: Colour = (240, 228, 66)


def auto_window(image: NDArray[Any]) -> tuple[float, float]:
    """(low, high) intensities that show a study well: the 0.5 and 99.5 percentiles of its finite pixels."""
    values = np.asarray(image, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)


def window(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Gray uint8 of the same shape: `low` and below is black, `high` and above is white.

    >>> window(np.array([0, 5, 10, 20]), 0, 10).tolist()
    [0, 128, 255, 255]
    """
    scaled = (np.nan_to_num(np.asarray(image, dtype=np.float64)) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(scaled, 0.0, 1.0) * 255).astype(np.uint8)


def outline(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels (Y, X) of the mask's objects with a 4-neighbour of another label; the image's edge is no border."""
    edge = np.zeros(mask.shape, dtype=bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    found: NDArray[np.bool_] = edge & (mask > 0)
    return found


def enlarge(image: NDArray[Any], side: int = 384) -> NDArray[Any]:
    """Repeats pixels a whole number of times, the longer side to about `side`: outlines stay thin on small images."""
    factor = max(1, round(side / max(image.shape[:2])))
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def difference_layer(a: NDArray[Any], b: NDArray[Any], opacity: float = 1.0) -> NDArray[np.uint8]:
    """RGBA (Y, X, 4) of two masks (Y, X): green where they agree, orange where only `a` has the label, blue only `b`.

    Agreement is painted at half of `opacity`: the eye should go to the differences.
    """
    layer = np.zeros((*a.shape, 4), dtype=np.uint8)
    strong = round(255 * min(max(opacity, 0.0), 1.0))
    parts = (
        ((a > 0) & (a == b), AGREE, strong // 2),
        ((b > 0) & (a == 0), ONLY_B, strong),
        ((a > 0) & (a != b), ONLY_A, strong),
    )
    for where, colour, alpha in parts:
        layer[where] = (*colour, alpha)
    return layer


def png(pixels: NDArray[np.uint8], level: int = 6) -> bytes:
    """PNG file of uint8 pixels (Y, X) gray, (Y, X, 3) RGB or (Y, X, 4) RGBA; `level` 1 is fast, 9 small."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    kind = {1: 0, 3: 2, 4: 6}[channels]
    lines = np.ascontiguousarray(pixels).reshape(height, width * channels)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), lines], axis=1).tobytes()  # 0 = a line without a filter

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw, level)) + chunk(b"IEND", b"")
    )
