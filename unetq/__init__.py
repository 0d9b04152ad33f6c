"""unetq: quantized U-Nets for medical image segmentation.

The names here are what a program on the cart needs; none of them reaches torch, and each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetq.errors import UserError
    from unetq.image.read import read, write_mask
    from unetq.image.volume import Volume
    from unetq.runtime.model import Model, open_model
    from unetq.runtime.predict import predict
    from unetq.spec import NetSpec, PrepSpec, QuantSpec

__all__ = [
    "Model",
    "NetSpec",
    "PrepSpec",
    "QuantSpec",
    "UserError",
    "Volume",
    "open_model",
    "predict",
    "read",
    "write_mask",
]

try:
    __version__ = version("unetq")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0"

_HOME = {
    "Model": "runtime.model",
    "NetSpec": "spec",
    "PrepSpec": "spec",
    "QuantSpec": "spec",
    "UserError": "errors",
    "Volume": "image.volume",
    "open_model": "runtime.model",
    "predict": "runtime.predict",
    "read": "image.read",
    "write_mask": "image.read",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unetq' has no attribute {name!r}")
    return getattr(import_module(f"unetq.{_HOME[name]}"), name)
