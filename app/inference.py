"""Native inference for the viewer: once for each pair of study and model."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.app.study import Study
from unetq.errors import UserError
from unetq.image.segment import network_stack, turned
from unetq.runtime.model import Model, open_model
from unetq.runtime.predict import predict

__all__ = ["Result", "Results", "memory_of", "segment"]


@dataclass(frozen=True)
class Result:
    """A mask and what it cost.

    Attributes:
        key: hashes of the study and of the model.
        mask: uint8 (Z, Y, X).
        seconds: wall time of the inference.
        memory_bytes: what the runtime holds (`memory_of`).
        shares: name of each label 1, 2, ... -> its share of the voxels.
        bytes_file: size of the model file.
        isa: instruction set of the kernels.
    """

    key: tuple[str, str]
    mask: NDArray[np.uint8]
    seconds: float
    memory_bytes: int
    shares: Mapping[str, float]
    bytes_file: int
    isa: str


class Results:
    """The last results by (study's hash, model's hash), at most `limit` bytes of masks; safe between sessions."""

    def __init__(self, limit: int = 2**30) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Result] = OrderedDict()
        self._hashes: dict[tuple[str, int, int], str] = {}

    def get(self, study: Study, path: Path) -> Result | None:
        """The result of a study and a model file, if it is still kept and the file is as it was."""
        with self._lock:
            key = (study.hash, self._hashes.get(_stamp(path), ""))
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, path: Path, result: Result) -> None:
        """Keeps the result of a model file, and drops the oldest where room is short."""
        with self._lock:
            self._hashes[_stamp(path)] = result.key[1]
            self._kept[result.key] = result
            while len(self._kept) > 1 and sum(r.mask.nbytes for r in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)


def _stamp(path: Path) -> tuple[str, int, int]:
    """Path, time of change and size: as long as they stand, the file need not be hashed again at every click."""
    try:
        about = path.stat()
    except OSError:
        raise UserError(f"The model file {path} is gone.") from None
    return str(path.resolve()), about.st_mtime_ns, about.st_size


def segment(path: Path, study: Study, results: Results, on_progress: Callable[[float], object] | None = None) -> Result:
    """Segments a study with a model file, or takes the kept result; `on_progress` gets shares from 0 to 1.

    Raises:
        UserError: a damaged model file, or a study that the model cannot take.
    """
    kept = results.get(study, path)
    if kept is not None:
        return kept
    model = open_model(path)

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done / total)

    start = time.perf_counter()
    mask = predict(model, study.volume, on_progress=report)
    seconds = time.perf_counter() - start
    counts = np.bincount(mask.reshape(-1), minlength=len(model.meta.labels) + 1)
    shares = {label.name: float(counts[value] / mask.size) for value, label in enumerate(model.meta.labels, 1)}
    key = (study.hash, model.hash)
    result = Result(key, mask, seconds, memory_of(model, study), shares, path.stat().st_size, model.isa)
    results.put(path, result)
    return result


def memory_of(model: Model, study: Study) -> int:
    """Bytes that the runtime holds for one tile of the study: weights, activations and scratch.

    It is the plan's sum: the resident memory of this process would be that of the web server.
    """
    prep = model.meta.prep
    _, size = network_stack(turned([study.volume], prep)[0], prep)
    height, width = (min(n, prep.tile) for n in size)
    return sum(model.plan(height, width)[key] for key in ("weights_bytes", "arena_bytes", "scratch_bytes"))
