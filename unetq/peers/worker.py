"""The process of one contender: it loads a network, then does what the lines on its standard input ask, and answers in JSON.

    first line     the job
    run            a timed run -> {"ms"}
    peak           -> {"peak_rss_bytes"}
    describe FILE  -> {"executed": {"int8": layers, "float": layers}}; the last run's logits go to FILE (.npy)

A line that cannot be answered is {"error"}.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.runtime.memory import peak_rss_bytes

__all__ = ["Entrant", "Image", "Job"]

Image = NDArray[np.float32]
# The first run allocates. A run finds the caches that the others left, and in some virtual machines memory that has become
# slow while the process was stopped (docs/performance.md): it is run twice, and the second time counts, unless it takes
# so long that it does not matter.
WARMUP, LONG_MS = 2, 1000.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        engine: "module" of this package or "module:backend".
        form: of the network.
        file: the network in that form.
        channels, height, width: of the image.
        threads: of a run.
    """

    engine: str
    form: str
    file: str
    channels: int
    height: int
    width: int
    threads: int

    @property
    def backend(self) -> str:
        """What stands behind the colon of the engine."""
        return self.engine.partition(":")[2]

    def image(self) -> Image:
        """float32 (1, C, H, W), the same in all processes."""
        shape = (self.channels, self.height, self.width)
        return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)[None]


@dataclass(frozen=True)
class Entrant:
    """A loaded network: image (1, C, H, W) -> logits (1, K, H, W), and how many weighted layers it runs in int8 and in float."""

    run: Callable[[Image], Image]
    executed: Callable[[], dict[str, int]]


def serve() -> None:
    """Answers until the input ends, or the parent does, which it would not notice while it is stopped."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an engine prints is no answer

    def answer(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        job = Job(**json.loads(sys.stdin.readline()))
        entrant: Entrant = importlib.import_module(f"unetq.peers.{job.engine.partition(':')[0]}").load(job)
        image = job.image()
        best, logits = _timed(entrant, image)
        for _ in range(WARMUP - 1 if best < LONG_MS else 0):
            best = min(best, _timed(entrant, image)[0])
        answer({"ms": best})
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "run":
                if best < LONG_MS:
                    entrant.run(image)
                took, logits = _timed(entrant, image)
                answer({"ms": took})
            elif word == "peak":
                answer({"peak_rss_bytes": peak_rss_bytes()})
            else:
                np.save(Path(rest), logits)
                answer({"executed": entrant.executed()})
    except Exception as error:  # noqa: BLE001 - whatever an engine throws is its reason to be left out
        answer({"error": " ".join(str(error).split())[:200] or type(error).__name__})


def _timed(entrant: Entrant, image: Image) -> tuple[float, Image]:
    start = perf_counter()
    logits = entrant.run(image)
    return (perf_counter() - start) * 1e3, logits


if __name__ == "__main__":
    # Under its own name: what the engines' modules import must be what runs here.
    from unetq.peers.worker import serve as _serve

    _serve()
