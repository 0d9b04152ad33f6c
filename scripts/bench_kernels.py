"""Times every row of the kernel table that fits a layer, on made-up numbers: who wins where, on this machine.

    python scripts/bench_kernels.py                               # 3x3, 64 and 256 channels, 64 x 64 pixels, six widths
    python scripts/bench_kernels.py --isa avx2 --json             # rows that a CPU without AVX-512 has
    python scripts/bench_kernels.py --op bilinear --channels 64 --size 256

Rows are timed in turn, one call each a round, and the median of the rounds counts. A call's time is that of its thread,
so other processes disturb it only through the caches; packing and slicing are part of it. Convolutions give 10^9
multiply-accumulates a second, other operations 10^9 bytes read and written a second.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq import _native

BITS = ("W1A1", "W1A2", "W2A2", "ternary", "W2A4", "W4A4")
SIDES = {"conv": 3, "transposed": 2}
UPSAMPLING = ("nearest", "bilinear")


@dataclass(frozen=True)
class Layer:
    """`channels` in and as many out, of size x size pixels; `bits` like W2A4, or ternary."""

    op: str
    bits: str
    channels: int
    size: int

    @property
    def ternary(self) -> bool:
        """Weights and activations in {-1, 0, 1}, as in TernaryNet."""
        return self.bits == "ternary"

    @property
    def widths(self) -> tuple[int, int]:
        """(wbits, abits)."""
        wbits, abits = map(int, re.findall(r"\d+", "W2A2" if self.ternary else self.bits))
        return wbits, abits

    def work(self) -> float:
        """10^9 multiply-accumulates, or bytes."""
        pixels = self.size**2
        if self.op in SIDES:
            return pixels * self.channels**2 * SIDES[self.op] ** 2 / 1e9
        if self.op == "quantize":
            return pixels * self.channels * 5 / 1e9
        if self.op == "argmax":
            return pixels * (self.channels * 4 + 1) / 1e9
        return pixels * self.channels * {"maxpool": 1.25, "concat": 2}.get(self.op, 5) / 1e9


def arguments(layer: Layer, rng: np.random.Generator) -> tuple[list[NDArray[Any]], dict[str, int]]:
    """What `_native.run_kernel` takes."""
    wbits, abits = layer.widths
    shape = (layer.channels, layer.size, layer.size)
    if layer.op in ("quantize", "argmax"):
        image = rng.standard_normal(shape, dtype=np.float32)
        return [image, np.zeros(0, np.int8), np.ones(1, np.float32)], {"lo": -128, "hi": 127, "out_zero": 128}
    codes = rng.integers(0, 3 if layer.ternary else 2**abits, shape).astype(np.int16)
    if layer.op not in SIDES:
        twice = {"out_height": 2 * layer.size, "out_width": 2 * layer.size} if layer.op in UPSAMPLING else {}
        return [codes], twice
    side = SIDES[layer.op]
    low, high = (-1, 2) if layer.ternary or wbits == 1 else (-(2 ** (wbits - 1)), 2 ** (wbits - 1))
    weights = rng.integers(low, high, (layer.channels, side, side, layer.channels)).astype(np.int8)
    if wbits == 1:
        weights[weights == 0] = 1
    scales = np.full(layer.channels, 0.01, np.float32)
    settings = {"wbits": wbits, "abits": abits, "ternary": int(layer.ternary), "hi": 2**abits - 1}
    return [codes, weights, scales, scales], settings


def candidates(op: str, isa: str) -> list[str]:
    """Names of the rows of an operation up to an instruction set, in the table's order; no scalar convolution, which
    would take as long as all others together."""
    isas = _native.isas()
    allowed = isas[int(op in SIDES) : isas.index(isa) + 1]
    rows = [row for row in _native.kernels() if row["op"] == op and row["isa"] in allowed]
    return [row["name"] for row in rows if row["kernel"] in (0, SIDES.get(op, 0))]


def measure(layer: Layer, isa: str, rounds: int) -> dict[str, float]:
    """Median seconds of each row that can do the layer."""
    values, settings = arguments(layer, np.random.default_rng(0))
    seconds: dict[str, list[float]] = {}
    names = candidates(layer.op, isa)
    for _ in range(rounds):
        for name in list(names):
            try:
                seconds.setdefault(name, []).append(_native.run_kernel(name, *values, **settings)[1])
            except ValueError:  # not these widths or channels
                names.remove(name)
                del seconds[name]
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def markdown(isa: str, layers: list[Layer], results: list[dict[str, float]]) -> str:
    """A table of rates, rows in the table's order, the fastest of each layer bold."""
    rates = [{name: layer.work() / s for name, s in r.items()} for layer, r in zip(layers, results, strict=True)]
    titles = [f"{layer.bits} {layer.channels}" if layer.op in SIDES else str(layer.channels) for layer in layers]
    lines = [f"| {isa} | {' | '.join(titles)} |", "| --- |" + " --- |" * len(layers)]
    for name in candidates(layers[0].op, isa):
        cells = []
        for rate in rates:
            cell = f"{rate[name]:.0f}" if name in rate else ""
            cells.append(f"**{cell}**" if cell and rate[name] == max(rate.values()) else cell)
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    operations = sorted({row["op"] for row in _native.kernels()})
    parser.add_argument("--op", choices=operations, default="conv")
    parser.add_argument("--bits", nargs="+", default=list(BITS), help="W1A1 to W8A8, or ternary")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--isa", choices=_native.isas()[1:], default=_native.isas()[-1])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bits = args.bits if args.op in SIDES else ["W8A8"]
    layers = [Layer(args.op, each, channels, args.size) for channels in args.channels for each in bits]
    results = [measure(layer, args.isa, args.rounds) for layer in layers]
    if args.json:
        rows = [
            {"op": layer.op, "bits": layer.bits, "channels": layer.channels, "ms": {n: 1e3 * s for n, s in r.items()}}
            for layer, r in zip(layers, results, strict=True)
        ]
        print(json.dumps({"isa": args.isa, "size": args.size, "layers": rows}, indent=1))
    else:
        print(markdown(args.isa, layers, results))


if __name__ == "__main__":
    main()
