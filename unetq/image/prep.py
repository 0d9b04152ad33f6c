"""What happens to a slice before the network, in training and on the cart alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.spec import PrepSpec

__all__ = ["prepare_slice"]


def prepare_slice(image: NDArray[Any], spec: PrepSpec) -> NDArray[np.float32]:
    """Clips a slice to the window and normalises it.

    Computed in float64 in one fixed order of memory, so that a slice gives the same bits however it is stored.

    Args:
        image: (Y, X), any whole or float type, finite.
        spec: window and normalisation.

    Returns:
        float32 (Y, X). "zscore": mean 0, standard deviation 1; "unit": the window, or else the slice's own range,
        becomes [-1, 1]. A constant slice becomes zeros ("unit" with a window: its place in the window).

    Raises:
        UserError: the intensities span more than a float can hold.

    >>> prepare_slice(np.array([[0, 5, 20]]), PrepSpec(window=(0, 10), normalise="unit")).tolist()
    [[-1.0, 0.0, 1.0]]
    """
    values = np.ascontiguousarray(image, np.float64)
    if spec.window is not None:
        values = np.clip(values, *spec.window)
    low, high = float(values.min()), float(values.max())
    if spec.normalise == "unit" and spec.window is not None:
        low, high = spec.window
    if low == high:
        return np.zeros(values.shape, np.float32)
    if not np.isfinite(high - low):
        raise UserError(f"The intensities {low:g} to {high:g} of a slice are too far apart: give the model a window.")
    # To [0, 1] first: then neither the squares of huge values nor those of tiny ones leave float64's range.
    values = (values - low) / (high - low)
    if spec.normalise == "unit":
        return (2.0 * values - 1.0).astype(np.float32)
    normal: NDArray[np.float32] = ((values - values.mean()) / values.std()).astype(np.float32)
    return normal
