"""How fast each row of the kernel table is on this CPU, and how far from what bounds it.

python scripts/bench_floors.py                       W4A6, every row that can, on shapes of the networks in configs/
python scripts/bench_floors.py --bits 3 3

Each time is the fastest of many short runs on one thread, rows in turn, so that a busy machine disturbs it little. Floors:
multiplications (fewer with Winograd; none for rows that look up or count bits) over the peak of the row's instruction set,
measured now, and bytes that must pass (input, output, packed weights) over the speed of a large copy.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from unetq import _native
from unetq.runtime.memory import copy_bandwidth

# Input and output channels, rows, columns: strips of the layers, short enough to find the machine idle at times.
SHAPES = [
    (16, 16, 64, 512),
    (32, 32, 64, 256),
    (64, 64, 32, 256),
    (192, 64, 32, 128),
    (128, 128, 32, 64),
    (256, 256, 32, 32),
]


def rows_for(bits: tuple[int, int]) -> list[str]:
    """Names of the 3x3 rows of this CPU that take these bits."""
    rows = [row for row in _native.kernels() if row["op"] == "conv" and row["kernel"] == 3 and row["max_out"] > 4]
    return [row["name"] for row in rows if row["isa"] in _native.isas() and bits in [*row["always"], *row["checked"]]]


def measure(names: list[str], shape: tuple[int, int, int, int], bits: tuple[int, int]) -> dict[str, float]:
    """Seconds of each row on one shape; rows that these weights do not fit are left out."""
    channels, out, height, width = shape
    wbits, abits = bits
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**abits, (channels, height, width)).astype(np.int16)
    largest = max(1, 2 ** (wbits - 1) - 1)  # as quantizers of symmetric range put out
    weights = rng.integers(-largest, largest + 1, (out, 3, 3, channels)).astype(np.int8)
    weights[weights == 0] = 1
    m, b = np.full(out, 2.0**-8, np.float32), np.full(out, 20, np.float32)
    settings: dict[str, Any] = {"wbits": wbits, "abits": abits, "lo": 0, "hi": 2**abits - 1}
    best: dict[str, float] = {}
    for _ in range(4):
        for name in names:
            try:
                _, seconds = _native.run_kernel(name, codes, weights, m, b, repeats=40, **settings)
            except ValueError:
                continue
            best[name] = min(best.get(name, 1e9), seconds)
    return best


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs=2, default=(4, 6), metavar=("WBITS", "ABITS"))
    options = parser.parse_args()
    bits = (options.bits[0], options.bits[1])
    speed = copy_bandwidth()
    table = {row["name"]: row for row in _native.kernels()}
    peaks = {isa: _native.peak_gmacs(isa) for isa in _native.isas()}
    names = [name for name in rows_for(bits) if not name.endswith("scalar")]
    known = ", ".join(f"{isa} {peak:.0f}" for isa, peak in peaks.items() if peak)
    print(f"W{bits[0]}A{bits[1]}, peaks in GMAC/s: {known}; copy {speed / 1e9:.1f} GB/s")
    print(
        "| layer | row | ms | GMAC/s | floor, multiplications | floor, bytes | of the floor |\n|---|---|---|---|---|---|---|"
    )
    for shape in SHAPES:
        channels, out, height, width = shape
        outputs = out * height * width
        moved = height * width * (channels + out) + 9 * channels * out * bits[0] / 8
        for name, seconds in measure(names, shape, bits).items():
            row = table[name]
            peak = peaks[row["isa"]]
            floor = 9 * outputs * channels * row["products"] / peak / 1e9 if peak else 0.0
            numbers = f"{seconds * 1e3:.3f} | {9 * outputs * channels / seconds / 1e9:.0f} | {floor * 1e3:.3f}"
            share = max(floor, moved / speed) / seconds
            print(
                f"| {channels} to {out}, {height}x{width} | {name} | {numbers} | {moved / speed * 1e3:.3f} | {share:.0%} |"
            )


if __name__ == "__main__":
    main()
