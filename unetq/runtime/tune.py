"""Which kernels are fastest for a model on this machine; kept in a file that every later run reads.

`UNETQ_TIMINGS` names that file, or is `off`; else it lies below `$XDG_CACHE_HOME` or `~/.cache`. Results are the same
whatever the file says: all kernels are exact.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from unetq import _native
from unetq.errors import UserError
from unetq.runtime.model import open_model
from unetq.runtime.predict import check_memory

__all__ = ["tune"]


def tune(
    path: Path,
    size: tuple[int, int] | None,
    threads: int,
    timings: Path | None,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Times every kernel that could run a layer, for each layer of a model, inside the network.

    Args:
        path: model file.
        size: (height, width) of an image in pixels; None = a tile of the model.
        threads: threads of a run; 0 = the physical cores.
        timings: file for the times; None = the one that runs read.
        progress: called with (done, total) after each run of the network.

    Returns:
        {cpu, isa, threads, size, timings, replaced, seconds, ms_first, ms_chosen, layers: [{name, op, first, chosen,
        ms: {kernel: milliseconds}}]}; `first` is the kernel table's own choice, ms_first and ms_chosen the sums over
        layers, replaced why an older file's contents were dropped, or "".

    Raises:
        UserError: the file is no model, the image does not fit into memory, or there is no place for the times.
    """
    start = perf_counter()
    file = str(timings or _native.default_timings_path())
    if not file:
        said = "UNETQ_TIMINGS is off" if os.environ.get("UNETQ_TIMINGS") == "off" else "There is no home folder"
        raise UserError(f"{said}, so there is no file for the times; name one with --cache.")
    model = open_model(path, threads)
    size = size or (model.meta.prep.tile, model.meta.prep.tile)
    check_memory(model, size, max(size), size[0] * size[1])
    replaced = _native.read_timings(file)[1]
    layers = model.tune(size, Path(file), progress)
    return {
        "cpu": _native.cpu_model(),
        "isa": model.isa,
        "threads": model.threads,
        "size": f"{size[0]}x{size[1]}",
        "timings": file,
        "replaced": replaced,
        "seconds": perf_counter() - start,
        "ms_first": sum(layer["ms"][layer["first"]] for layer in layers),
        "ms_chosen": sum(layer["ms"][layer["chosen"]] for layer in layers),
        "layers": layers,
    }
