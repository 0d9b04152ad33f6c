"""Frozen descriptions that everything speaks: QuantSpec, NetSpec, PrepSpec; YAML in and out.

A spec validates itself when it is made and answers a mistake with one sentence (`UserError`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from unetq.errors import UserError, nearest

__all__ = ["FLOAT_BITS", "NetSpec", "PrepSpec", "QuantSpec", "from_mapping", "load_yaml", "to_mapping"]

FLOAT_BITS = 32
BITS = (*range(1, 9), FLOAT_BITS)
# The command line's word -> (weight quantizer, activation quantizer).
SCHEMES = {
    "fixed": ("fixed", "fixed"),
    "lsq": ("lsq", "lsq"),
    "ternary": ("ternary", "fixed"),
    "binary": ("binary", "fixed"),
    "ternarynet": ("ternary", "tht"),
    "float": ("float", "float"),
}
Weights = Literal["fixed", "lsq", "ternary", "binary", "float"]
Acts = Literal["fixed", "lsq", "tht", "float"]
# The opposite of each direction from the patient's centre; R, A and S name the axes.
AXES = {"L": "R", "P": "A", "I": "S"}
# A quantizer whose code set fixes the width by itself.
IMPLIED_BITS = {"ternary": 2, "tht": 2, "binary": 1, "float": FLOAT_BITS}


@dataclass(frozen=True)
class QuantSpec:
    """How one layer is quantized: its weights, and the activations that it puts out.

    Attributes:
        weights: weight quantizer, a name of `unetq.quant.quantizers`.
        acts: activation quantizer.
        wbits: bits of a weight code, 1..8, or 32 for float.
        abits: bits of an activation code, 1..8, or 32 for float.

    >>> QuantSpec.of("fixed", wbits=4, abits=6).label
    'W4A6'
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    weights: Weights = "fixed"
    acts: Acts = "fixed"
    wbits: int = 4
    abits: int = 6

    def __post_init__(self) -> None:
        for what, bits, kind in (("wbits", self.wbits, self.weights), ("abits", self.abits, self.acts)):
            if bits not in BITS:
                raise UserError(f"{what} is {bits}, but must be 1 to 8, or 32 for float.")
            want = IMPLIED_BITS.get(kind)
            if want is not None and bits != want:
                raise UserError(f'{what} is {bits}, but the quantizer "{kind}" has {want} bits; leave {what} out.')
            if want is None and bits == FLOAT_BITS:
                raise UserError(f'{what} is 32 (float), but the quantizer "{kind}" needs 1 to 8 bits.')
        if self.wbits == 1 and self.weights != "binary":
            raise UserError('1-bit weights are -1 and +1: use the weight quantizer "binary".')

    @staticmethod
    def of(scheme: str = "fixed", wbits: int | None = None, abits: int | None = None) -> QuantSpec:
        """The spec for a scheme of `SCHEMES` and two widths; 32 bits make that side float, 1-bit weights binary."""
        if scheme not in SCHEMES:
            raise UserError(f'There is no quantizer "{scheme}": {nearest(scheme, SCHEMES)}')
        weights, acts = SCHEMES[scheme]
        if wbits == FLOAT_BITS:
            weights = "float"
        if wbits == 1 and weights in ("fixed", "lsq"):
            weights = "binary"
        if abits == FLOAT_BITS:
            acts = "float"
        wbits = IMPLIED_BITS.get(weights, 4) if wbits is None else wbits
        abits = IMPLIED_BITS.get(acts, 6) if abits is None else abits
        return from_mapping(QuantSpec, {"weights": weights, "acts": acts, "wbits": wbits, "abits": abits})

    @property
    def is_float(self) -> bool:
        """True where nothing is quantized."""
        return self.weights == "float" and self.acts == "float"

    @property
    def label(self) -> str:
        """Short name for tables: float, ternarynet, W4A6, lsq W4A6."""
        if self.is_float:
            return "float"
        if (self.weights, self.acts) == SCHEMES["ternarynet"]:
            return "ternarynet"
        scheme = {"fixed": "", "binary": ""}.get(self.weights, f"{self.weights} ")
        return f"{scheme}W{self.wbits}A{self.abits}"


@dataclass(frozen=True)
class NetSpec:
    """One U-Net. Level l has min(base * 2**l, cap) channels; the bottom is level `depth`.

    With base=64, depth=3, cap=256, upsampling="bilinear" it is the network of arXiv 1908.01073.

    Attributes:
        in_channels: channels of the image.
        out_channels: 1 (sigmoid: mask = logit > 0), or the number of classes, background included (arg max).
        upsampling: nearest, bilinear (x2, on codes), or transposed (2x2 stride 2, learned).
        last_kernel: 1 or 3, side of the last convolution.
        quant: quantization of all layers; the first and last keep 8-bit weights (`quant_of`).
        layers: exceptions by layer name (`unetq.graph.layout` lists them).
        float_first_last: TernaryNet as published: first and last convolution in float. Runs in torch only.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    in_channels: int = 1
    out_channels: int = 1
    base: int = 16
    depth: int = 3
    cap: int = 64
    upsampling: Literal["nearest", "bilinear", "transposed"] = "nearest"
    last_kernel: int = 3
    quant: QuantSpec = field(default_factory=QuantSpec)
    layers: Mapping[str, QuantSpec] = field(default_factory=dict)
    float_first_last: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("in_channels", 1, 64),
            ("out_channels", 1, 256),
            ("base", 1, 1024),
            ("depth", 1, 6),
            ("cap", 1, 4096),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"{name} of the network is {value}, but must be {low} to {high}.")
        if self.last_kernel not in (1, 3):
            raise UserError(f"last_kernel of the network is {self.last_kernel}, but must be 1 or 3.")

    def channels(self, level: int) -> int:
        """Channels of the feature maps of a level (0 = full resolution)."""
        return min(self.base << level, self.cap)

    def quant_of(self, layer: str) -> QuantSpec:
        """The layer's own QuantSpec; `enc0.conv1` and `head` keep 8-bit weights (DESIGN 3.2) unless named in `layers`."""
        if layer in self.layers:
            return self.layers[layer]
        if layer not in ("enc0.conv1", "head") or self.quant.weights == "float":
            return self.quant
        if self.float_first_last:
            return QuantSpec("float", self.quant.acts, FLOAT_BITS, self.quant.abits)
        weights: Weights = "lsq" if self.quant.weights == "lsq" else "fixed"
        return QuantSpec(weights, self.quant.acts, 8, self.quant.abits)


@dataclass(frozen=True)
class PrepSpec:
    """What happens to an image before the network; the same numpy code in training and on the cart.

    Attributes:
        window: (low, high): clip the intensities to it first, or None.
        normalise: "zscore": subtract the mean of the slice, divide by its standard deviation;
            "unit": map the window (or the slice's own minimum and maximum) to [-1, 1].
        tile: side of a sliding window tile in pixels; a multiple of 2**depth.
        overlap: share of a tile that neighbouring tiles have in common, 0 to 0.75.
        orientation: where the axes x, y, z of a study go before its slices (along z) are taken, like "LPS" (left,
            posterior, superior: axial slices); None = as the file has them.
        spacing: mm of a pixel in a slice that the network works at; None = whatever the file has.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    window: tuple[float, float] | None = None
    normalise: Literal["zscore", "unit"] = "zscore"
    tile: int = 512
    overlap: float = 0.25
    orientation: str | None = None
    spacing: float | None = None

    def __post_init__(self) -> None:
        if self.orientation is not None and sorted(AXES.get(c, c) for c in self.orientation) != ["A", "R", "S"]:
            raise UserError(f'The orientation "{self.orientation}" must name three axes of the patient, like "LPS".')
        if self.spacing is not None and not 0 < self.spacing < math.inf:
            raise UserError(f"The spacing is {self.spacing} mm, but must be above 0.")
        if self.window is not None and not self.window[0] < self.window[1]:
            raise UserError(f"The window {self.window} is empty: its first number must be below its second.")
        if not 8 <= self.tile <= 16384:
            raise UserError(f"The tile of {self.tile} pixels fits no network here: use 8 to 16384.")
        if not 0.0 <= self.overlap <= 0.75:
            raise UserError(f"The tile overlap is {self.overlap}, but must be 0 to 0.75.")


T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Makes a spec of plain values (YAML, JSON); a wrong key or type is one sentence with the nearest valid name.

    Raises:
        UserError: unknown key, wrong type, or a value that the spec refuses.
    """
    place = f" in {where}" if where else ""
    if not isinstance(values, Mapping):
        raise UserError(f"Expected keys and values{place}, but found {type(values).__name__}.")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
            raise UserError(f"{cause}{f' ({where})' if where else ''}") from None
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "unexpected_keyword_argument":
            valid = _fields_at(cls, first["loc"][:-1])
            raise UserError(f'Unknown key "{path}"{place}: {nearest(str(first["loc"][-1]), valid)}') from None
        raise UserError(f'"{path}"{place} is {first.get("input")!r}: {first["msg"]}.') from None


def to_mapping(spec: Any) -> dict[str, Any]:
    """Plain values of a spec, for YAML and JSON; `from_mapping` reads them back."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(spec).items()}


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Reads one YAML mapping.

    Raises:
        UserError: no such file, not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, like `net:` and `iterations: 1000`.")
    return values


def _fields_at(cls: Any, loc: tuple[Any, ...]) -> list[str]:
    """Names of the fields of the (nested) dataclass that `loc` points into."""
    from typing import get_args, get_type_hints

    for part in loc:
        hints = get_type_hints(cls) if hasattr(cls, "__dataclass_fields__") else {}
        inner = hints.get(part, cls)
        candidates = [a for a in (inner, *get_args(inner)) if hasattr(a, "__dataclass_fields__")]
        cls = candidates[0] if candidates else cls
    return list(getattr(cls, "__dataclass_fields__", {}))
