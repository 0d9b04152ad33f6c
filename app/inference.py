"""Native inference for the viewer: once for each pair of study and model."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unetq.app.study import Study
from unetq.errors import UserError
from unetq.image.segment import network_stack, turned
from unetq.image.sure import sure_maps
from unetq.runtime.meta import Label
from unetq.runtime.model import Model, open_model
from unetq.runtime.predict import check_memory, predict
from unetq.spec import PrepSpec

__all__ = ["Result", "Results", "fitting", "largest_tile", "layer_bits", "memory_of", "segment", "uncertainty"]

SMALLEST = 64  # pixels of a tile; below it the overlap is most of the work
Step = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """A mask and what it cost.

    Attributes:
        key: hashes of the study and of the model.
        mask: uint8 (Z, Y, X).
        seconds: wall time of the inference.
        memory_bytes: what the runtime holds (`memory_of`).
        labels: the labels 1, 2, ... and their SNOMED CT codes.
        bytes_file: size of the model file.
        isa: instruction set of the kernels.
        bits: of weights and activations, like "W4A6".
        warning: a sentence where memory made the tile smaller, or "".
    """

    key: tuple[str, str]
    mask: NDArray[np.uint8]
    seconds: float
    memory_bytes: int
    labels: tuple[Label, ...]
    bytes_file: int
    isa: str
    bits: str
    warning: str = ""


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

    def studies(self) -> set[str]:
        """Hashes of the studies that have a kept result."""
        with self._lock:
            return {study for study, _ in self._kept}

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


def segment(path: Path, study: Study, results: Results, on_tile: Step | None = None) -> Result:
    """Segments a study with a model file, or takes the kept result.

    Args:
        path: the model file.
        study: an opened study.
        results: where results are kept.
        on_tile: called with (tiles done, tiles in all); what it raises stops the work.

    Raises:
        UserError: a damaged model file, a study that the model cannot take, or too little memory even for small tiles.
    """
    kept = results.get(study, path)
    if kept is not None:
        return kept
    model = open_model(path)
    prep, warning = fitting(model, study)
    start = time.perf_counter()
    mask = predict(model, study.volume, prep, on_tile)
    seconds = time.perf_counter() - start
    held = memory_of(model, study, prep)
    key = (study.hash, model.hash)
    bits = " and ".join(f"W{w}A{a}" for w, a in layer_bits(model))
    result = Result(key, mask, seconds, held, model.meta.labels, path.stat().st_size, model.isa, bits, warning)
    results.put(path, result)
    return result


def layer_bits(model: Model) -> list[tuple[int, int]]:
    """Bits of weights and of activations that occur in a model, without its first and last layer, which have their own."""
    layers = [(op.wbits, model.graph.tensors[op.output].bits) for op in model.graph.weighted]
    return sorted(set(layers[1:-1] or layers[:1]))


def fitting(model: Model, study: Study) -> tuple[PrepSpec, str]:
    """The model's preparation with the largest tile that memory allows, and a sentence where that is not its own tile.

    Raises:
        UserError: not even the smallest tile fits.
    """
    prep, voxels = model.meta.prep, study.volume.array.size
    _, size = network_stack(turned([study.volume], prep)[0], prep)
    return largest_tile(prep, model.stride, lambda tile: check_memory(model, size, tile, voxels))


def largest_tile(prep: PrepSpec, stride: int, check: Callable[[int], None]) -> tuple[PrepSpec, str]:
    """A preparation with the largest tile, its own or that halved, that `check` lets pass, and a sentence as of `fitting`.

    Args:
        prep: of the model.
        stride: whole tiles are multiples of it.
        check: takes the side of a tile; raises UserError, "what is short: what to do", where memory does not allow it.

    Raises:
        UserError: not even the smallest tile passes.
    """
    tile, warning = prep.tile, ""
    while True:
        try:
            check(tile)
        except UserError as error:
            smaller = tile // 2 // stride * stride
            if smaller < max(SMALLEST, stride):
                raise
            tile, warning = smaller, str(error).split(":")[0]
            continue
        if tile == prep.tile:
            return prep, ""
        return replace(prep, tile=tile), f"{warning}: tiles of {tile} pixels were used instead."


def memory_of(model: Model, study: Study, prep: PrepSpec) -> int:
    """Bytes that the runtime holds for one tile of the study: weights, activations and scratch.

    It is the plan's sum: the resident memory of this process would be that of the web server.
    """
    _, size = network_stack(turned([study.volume], prep)[0], prep)
    height, width = (min(n, prep.tile) for n in size)
    return sum(model.plan(height, width)[key] for key in ("weights_bytes", "arena_bytes", "scratch_bytes"))


def uncertainty(path: Path, study: Study, flips: bool, on_tile: Step | None = None) -> dict[str, NDArray[np.uint8]]:
    """How sure a model is of each voxel.

    Args:
        path: the model file.
        study: an opened study.
        flips: average over the slice and its mirror images left-right, up-down and both.
        on_tile: as in `segment`.

    Returns:
        "Probability" and "Entropy", uint8 (Z, Y, X), 255 = 1: `unetq.image.sure`.

    Raises:
        UserError: as `segment`.
    """
    model = open_model(path)
    prep, _ = fitting(model, study)
    return sure_maps([study.volume], prep, model.run, flips, on_tile)
