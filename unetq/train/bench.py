"""Latency and peak memory of a run in torch: the float twin's line in the table, which no integer runtime can give."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.runtime.memory import peak_rss_bytes
from unetq.train.evaluate import load_run, torch_predictor

__all__ = ["bench_run"]

WARMUP = 2


def bench_run(run: Path, size: tuple[int, int], threads: int, repeats: int = 9) -> dict[str, Any]:
    """Times a run's network in torch, eager, in a process of its own, so that its peak memory is its own too.

    Args:
        run: run folder with a checkpoint.
        size: (height, width) of the image in pixels.
        threads: threads of torch.
        repeats: timed runs after the warm-up.

    Returns:
        {isa: "torch", threads, size, ms_median, ms_min, peak_rss_bytes, gmacs, layers: []}

    Raises:
        UserError: the run cannot be loaded or timed.
    """
    command = [sys.executable, "-P", "-m", "unetq.train.bench", str(run), *map(str, (*size, threads, repeats))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"Timing {run} in torch failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _time_here(run: Path, size: tuple[int, int], threads: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    model, config = load_run(run)
    predict = torch_predictor(model)
    image = np.random.default_rng(0).standard_normal((config.net.in_channels, *size), dtype=np.float32)
    times = []
    for _ in range(WARMUP + repeats):
        start = time.perf_counter()
        predict(image)
        times.append((time.perf_counter() - start) * 1e3)
    median = statistics.median(times[WARMUP:])
    return {
        "isa": "torch",
        "threads": threads,
        "size": f"{size[0]}x{size[1]}",
        "ms_median": median,
        "ms_min": min(times[WARMUP:]),
        "peak_rss_bytes": peak_rss_bytes(),
        "gmacs": net_cost(layout(config.net), size).macs / median / 1e6,
        "layers": [],
    }


def _main() -> None:
    run, *numbers = sys.argv[1:]
    height, width, threads, repeats = map(int, numbers)
    sys.stdout.write(json.dumps(_time_here(Path(run), (height, width), threads, repeats)))


if __name__ == "__main__":
    _main()
