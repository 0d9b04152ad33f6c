"""Native inference for the viewer: once for each pair of study and model."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.app.study import Study
from unetq.errors import UserError
from unetq.image.tiles import tile_count
from unetq.runtime.model import Model, open_model
from unetq.runtime.predict import predict

__all__ = ["Result", "Results", "segment", "tiles_of"]


@dataclass(frozen=True)
class Result:
    """A mask and what it cost.

    Attributes:
        mask: uint8 (Z, Y, X).
        seconds: wall time of the inference.
        memory_bytes: how far the resident memory rose above its level before, or None where the system does not tell.
        labels: names of the labels 1, 2, ...
        bytes_file: size of the model file.
        isa: instruction set of the kernels.
    """

    mask: NDArray[np.uint8]
    seconds: float
    memory_bytes: int | None
    labels: tuple[str, ...]
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

    def put(self, study: Study, path: Path, model_hash: str, result: Result) -> None:
        """Keeps a result, and drops the oldest where room is short."""
        with self._lock:
            self._hashes[_stamp(path)] = model_hash
            self._kept[study.hash, model_hash] = result
            while len(self._kept) > 1 and sum(r.mask.nbytes for r in self._kept.values()) > self._limit:
                self._kept.popitem(last=False)


def _stamp(path: Path) -> tuple[str, int, int]:
    """Path, time of change and size: as long as they stand, the file need not be hashed again at every click."""
    try:
        about = path.stat()
    except OSError:
        raise UserError(f"The model file {path} is gone.") from None
    return str(path.resolve()), about.st_mtime_ns, about.st_size


def tiles_of(model: Model, study: Study) -> int:
    """How often `predict` will report progress."""
    depth, height, width = study.volume.array.shape
    return int(depth) * tile_count((int(height), int(width)), model.meta.prep)


def segment(path: Path, study: Study, results: Results, on_progress: Callable[[float], None] | None = None) -> Result:
    """Segments a study with a model file, or takes the kept result; `on_progress` gets shares from 0 to 1.

    Raises:
        UserError: a damaged model file, or a study that the model cannot take.
    """
    kept = results.get(study, path)
    if kept is not None:
        return kept
    model = open_model(path)
    total, done = max(1, tiles_of(model, study)), 0

    def on_tile() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(min(1.0, done / total))

    before = _restart_peak()
    start = time.perf_counter()
    mask = predict(model, study.volume, on_tile)
    seconds = time.perf_counter() - start
    memory = max(0, _status("VmHWM") - before) if before else None
    labels = tuple(label.name for label in model.meta.labels)
    result = Result(mask, seconds, memory, labels, path.stat().st_size, model.isa)
    results.put(study, path, model.hash, result)
    return result


def _restart_peak() -> int:
    """Resident bytes now, with the system's record of the peak set back to it; 0 where the system does not allow that.

    The peak of the whole process would be that of the web server, not of the inference.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS")
    except OSError:
        return 0


def _status(key: str) -> int:
    """A memory figure of this process in bytes, from Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    return 0
