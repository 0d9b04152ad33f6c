"""Writes the model file that docs/model-file.md describes: GGUF v3, by the PyPI package `gguf`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import gguf
import numpy as np

from unetq.errors import UserError
from unetq.files import atomic
from unetq.graph import Graph, check
from unetq.runtime.meta import ModelMeta
from unetq.runtime.packing import pack_codes

__all__ = ["SCHEMA_VERSION", "write_model"]

SCHEMA_VERSION = 1
ALIGNMENT = 64
HASH_PLACE = b"0" * 64


def write_model(graph: Graph, meta: ModelMeta, path: Path | str) -> Path:
    """Writes an integer graph and its metadata, whole or not at all.

    Args:
        graph: integer graph with numbers (`unetq.deploy.lower`).
        meta: preparation, labels, provenance, intended use.
        path: file to write.

    Raises:
        UserError: the graph is not integer or breaks an invariant, or the file cannot be written.
    """
    path = Path(path)
    if not (graph.is_integer and graph.params):
        raise UserError(
            "Only a network whose layers are all quantized fits a model file; a float network runs in torch."
        )
    check(graph)
    classes = graph.tensors["head"].channels
    if len(meta.labels) != max(1, classes - 1):  # gguf writes no empty arrays, and a mask needs its meaning
        raise UserError(f"The network tells {max(1, classes - 1)} labels apart, but {len(meta.labels)} are named.")
    with atomic(path) as temporary:
        writer = gguf.GGUFWriter(temporary, "unetq")
        writer.add_custom_alignment(ALIGNMENT)
        writer.add_uint32("unetq.schema_version", SCHEMA_VERSION)
        writer.add_string("unetq.content_hash", HASH_PLACE.decode())
        _add_graph(writer, graph)
        _add_meta(writer, meta)
        _add_numbers(writer, graph)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        _sign(temporary)
    return path


def _add_graph(writer: gguf.GGUFWriter, graph: Graph) -> None:
    tensors = list(graph.tensors.values())
    index = {tensor.name: i for i, tensor in enumerate(tensors)}
    for field in ("name", "channels", "level", "bits", "kind", "quantizer"):
        writer.add_array(f"unetq.graph.tensor.{field}", [getattr(tensor, field) for tensor in tensors])
    writer.add_array("unetq.graph.tensor.step", [float(graph.steps.get(tensor.name, 1.0)) for tensor in tensors])
    for field in ("name", "kind", "weights", "kernel", "wbits"):
        writer.add_array(f"unetq.graph.op.{field}", [getattr(op, field) for op in graph.ops])
    writer.add_array("unetq.graph.op.input_a", [index[op.inputs[0]] for op in graph.ops])
    writer.add_array("unetq.graph.op.input_b", [index[op.inputs[1]] if len(op.inputs) > 1 else -1 for op in graph.ops])
    writer.add_array("unetq.graph.op.output", [index[op.output] for op in graph.ops])


def _add_meta(writer: gguf.GGUFWriter, meta: ModelMeta) -> None:
    prep = meta.prep
    # float64, as the training had them: another last digit could move a pixel or a tile.
    if prep.orientation is not None:
        writer.add_string("unetq.prep.orientation", prep.orientation)
    if prep.spacing is not None:
        writer.add_float64("unetq.prep.spacing", prep.spacing)
    if prep.window is not None:
        writer.add_float64("unetq.prep.window_low", prep.window[0])
        writer.add_float64("unetq.prep.window_high", prep.window[1])
    writer.add_string("unetq.prep.normalise", prep.normalise)
    writer.add_uint32("unetq.prep.tile", prep.tile)
    writer.add_float64("unetq.prep.overlap", prep.overlap)
    writer.add_array("unetq.labels.name", [label.name for label in meta.labels])
    writer.add_array("unetq.labels.snomed", [label.snomed for label in meta.labels])
    writer.add_string("unetq.provenance", json.dumps(meta.provenance, sort_keys=True))
    writer.add_string("unetq.intended_use", meta.intended_use)


def _add_numbers(writer: gguf.GGUFWriter, graph: Graph) -> None:
    for op in graph.ops:
        if op.name not in graph.params:
            continue
        numbers = graph.params[op.name]
        writer.add_tensor(f"{op.name}.m", np.ascontiguousarray(numbers.m, np.float32))
        if op.kernel:
            packed = pack_codes(numbers.codes, op.wbits, op.weights)
            writer.add_tensor(f"{op.name}.weight", packed.view(np.int8))
            writer.add_tensor(f"{op.name}.b", np.ascontiguousarray(numbers.b, np.float32))


def _sign(path: Path) -> None:
    """Puts the hash of the file, taken with zeros in the hash's place, into that place."""
    data = bytearray(path.read_bytes())
    key = b"unetq.content_hash"
    # key, type (uint32), length (uint64), then the 64 digits
    place = data.index(key) + len(key) + 4 + 8
    if data[place : place + 64] != HASH_PLACE:
        raise UserError(f"{path.name} was not laid out as expected; the installed gguf package does not fit.")
    data[place : place + 64] = hashlib.sha256(data).hexdigest().encode()
    path.write_bytes(data)
