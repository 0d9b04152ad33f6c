"""The files of a race: one network in each form that a contender wants."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unetq.deploy.numbers import float_layer, int8_layer, int8_tensor
from unetq.deploy.onnx import Int8Form, float_layers, write_float, write_int8
from unetq.graph import Graph
from unetq.peers.contenders import Form
from unetq.runtime.model import Model

__all__ = ["write_form"]


def write_form(model: Model, form: Form, size: tuple[int, int], logits_step: float, folder: Path) -> Path:
    """Writes a network in one form, unless it is there.

    Args:
        model: the network.
        form: which.
        size: (height, width) of the image.
        logits_step: of logits in bytes.
        folder: where to.
    """
    if form == "model":
        return model.path
    path = folder / (form if form == "arrays" else f"{form}.onnx")
    if path.exists():
        return path
    graph = model.graph
    if form == "arrays":
        return _write_arrays(graph, logits_step, path)
    if form == "float":
        return write_float(graph, float_layers(graph), size, path)
    return write_int8(graph, Int8Form(size, True, logits_step if form == "int8-bytes" else None), path)


def _write_arrays(graph: Graph, logits_step: float, folder: Path) -> Path:
    """A folder with the graph without numbers, and a file an array: torch takes them one by one, so that its peak is its own."""
    folder.mkdir()
    bare = replace(graph, params={}, steps={})
    held = {op.output: int8_tensor(graph, op.output, stretch=True) for op in graph.ops if op.output != "head"}
    scales: dict[str, tuple[float, int]] = {name: (tensor.scale, tensor.zero) for name, tensor in held.items()}
    scales["head"] = (logits_step, 128)
    (folder / "graph.pickle").write_bytes(pickle.dumps((bare, scales)))
    for op in graph.weighted:
        real, whole = float_layer(graph, op), int8_layer(graph, op, stretch=True)
        # As torch has it: convolutions [out, in, k, k], transposed ones [in, out, k, k].
        order = (3, 0, 1, 2) if op.kind == "transposed" else (0, 3, 1, 2)
        arrays: dict[str, NDArray[Any]] = {
            "weight": real.weight.transpose(order),
            "bias": real.bias,
            "codes": whole.codes.transpose(order),
            "scale": whole.scale,
        }
        for name, values in arrays.items():
            np.save(folder / f"{op.name}.{name}.npy", np.ascontiguousarray(values))
    return folder
