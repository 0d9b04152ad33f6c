"""Latency and peak memory of a model file on this machine."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.errors import UserError
from unetq.runtime.explain import explain
from unetq.runtime.footprint import footprint
from unetq.runtime.memory import copy_bandwidth, peak_rss_bytes
from unetq.runtime.model import Model, open_model
from unetq.runtime.predict import check_memory

__all__ = ["bench", "parse_size"]

WARMUP = 3
# Exit code of the timing process for a sentence that its user is meant to read.
REFUSED = 2


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of a size like 512x512.

    Raises:
        UserError: not of that form, or a side of 0.

    >>> parse_size("480x640")
    (480, 640)
    """
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if not match or 0 in (size := (int(match[1]), int(match[2]))):
        raise UserError(f'The size "{text}" is not height x width in pixels, like 512x512.')
    return size


def bench(
    path: Path,
    size: tuple[int, int],
    threads: int = 1,
    repeats: int = 15,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Times a model in a fresh process, so that peak memory is that of one study and nothing else.

    Args:
        path: model file.
        size: (height, width) of the image in pixels.
        threads: threads of a run; 0 = the physical cores.
        repeats: timed runs after the warm-up.
        environment: variables of the timing process beside its own.

    Returns:
        {isa, threads, size, ms_median, ms_min, ms_p90, repeats, peak_rss_bytes, gmacs, peak_gmacs, of_peak, floor,
        layers: [{name, op, kernel, ms, gmacs, of_peak, why}]}; gmacs are 10^9 multiply-accumulates per second of the direct
        convolution, peak_gmacs what the CPU's multiply instruction alone does with these threads, of_peak the one over the
        other (both None where the peak is not known): above 1 where a kernel needs fewer multiplications. floor is
        {multiplications_ms, bytes_ms}: those that the kernels do, over the peak (None like it, or where a kernel does
        not multiply bytes), and the bytes that have to leave the caches (image, logits and weights once, skips twice),
        over the speed of a large copy. why is the reason for the kernel.

    Raises:
        UserError: the file is no model, or the image does not fit into memory.
    """
    open_model(path, threads)  # its sentence, if there is one, from this process
    command = [sys.executable, "-P", "-m", "unetq.runtime.bench", str(path), *map(str, (*size, threads, repeats))]
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode == REFUSED:
        raise UserError(done.stderr.strip())
    if done.returncode != 0:
        raise UserError(f"Timing {path} failed: {(done.stderr.strip() or 'the process was killed').splitlines()[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _time_here(path: Path, size: tuple[int, int], threads: int, repeats: int) -> dict[str, Any]:
    model = open_model(path, threads)
    check_memory(model, size, max(size), size[0] * size[1])
    image = np.random.default_rng(0).standard_normal((model.channels, *size), dtype=np.float32)
    for _ in range(WARMUP):
        model.run(image)
    times = []
    for _ in range(repeats):
        start = perf_counter()
        model.run(image)
        times.append((perf_counter() - start) * 1e3)
    peak = peak_rss_bytes()  # before the profile, which is no part of a run
    layers = _layers(model, image, min(repeats, 9))
    median = statistics.median(times)
    reasons = explain(model, layers)
    gmacs, most = sum(layer["macs"] for layer in layers) / median / 1e6, model.peak_gmacs()

    def share(rate: float) -> float | None:
        return rate / most if most else None

    return {
        "isa": model.isa,
        "threads": model.threads,
        "size": f"{size[0]}x{size[1]}",
        "ms_median": median,
        "ms_min": min(times),
        "ms_p90": float(np.percentile(times, 90)),
        "repeats": repeats,
        "peak_rss_bytes": peak,
        "gmacs": gmacs,
        "peak_gmacs": most,
        "of_peak": share(gmacs),
        "floor": {"multiplications_ms": _multiplications_ms(layers, most), "bytes_ms": _bytes_ms(model, size)},
        "layers": [
            {
                **{key: layer[key] for key in ("name", "op", "kernel", "ms", "gmacs")},
                "of_peak": share(layer["gmacs"]),
                "why": reasons[layer["name"]],
            }
            for layer in layers
        ],
    }


def _multiplications_ms(layers: list[dict[str, Any]], peak: float | None) -> float | None:
    if not peak or any(layer["macs"] and not layer["products"] for layer in layers):
        return None
    return float(sum(layer["products"] for layer in layers) / peak / 1e6)


def _bytes_ms(model: Model, size: tuple[int, int]) -> float:
    taken = footprint(model, *size)
    moved = taken["image_bytes"] + taken["logits_bytes"] + taken["weights_bytes"] + 2 * taken["skip_bytes"]
    return float(moved / copy_bandwidth() * 1e3)


def _layers(model: Model, image: NDArray[np.float32], repeats: int) -> list[dict[str, Any]]:
    """Median milliseconds of each operation over some runs."""
    times = defaultdict(list)
    for _ in range(repeats):
        rows = model.profile(image)
        for row in rows:
            times[row["name"]].append(row["ms"])
    for row in rows:
        row["ms"] = statistics.median(times[row["name"]])
        row["gmacs"] = row["macs"] / row["ms"] / 1e6 if row["ms"] else 0.0
    return rows


def _main() -> None:
    path, *numbers = sys.argv[1:]
    height, width, threads, repeats = map(int, numbers)
    try:
        sys.stdout.write(json.dumps(_time_here(Path(path), (height, width), threads, repeats)))
    except UserError as error:
        sys.stderr.write(str(error))
        sys.exit(REFUSED)


if __name__ == "__main__":
    _main()
