"""A trained network to a model file."""

from __future__ import annotations

from pathlib import Path

from unetq.deploy.container import write_model
from unetq.deploy.lower import lower
from unetq.nets import UNet
from unetq.runtime.meta import ModelMeta

__all__ = ["export"]


def export(model: UNet, meta: ModelMeta, out: Path | str) -> Path:
    """Lowers a network in evaluation mode to the integer graph and writes it.

    Raises:
        UserError: the network has float layers, its training diverged, or `out` cannot be written.
    """
    return write_model(lower(model), meta, out)
