"""A model file, opened: what it says about itself, and the native runtime behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unetq import _native
from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import Graph, Op, Params, Tensor, check
from unetq.runtime.meta import Label, ModelMeta
from unetq.runtime.packing import unpack_codes
from unetq.spec import PrepSpec, from_mapping

__all__ = ["Model", "open_model"]

T = TypeVar("T")
Image = NDArray[np.float32]


class Model:
    """A verified model file; `open_model` makes it. May be used from several threads.

    Attributes:
        path: the file.
        hash: its content hash (SHA-256, hex).
        graph: the integer graph with its numbers.
        meta: preparation, labels, provenance, intended use.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.path = path
        self._native = _refusing(path, lambda: _native.Model(str(path), threads))
        self._keys: Mapping[str, Any] = self._native.metadata()
        self.hash = str(self._keys["unetq.content_hash"])
        self.meta = _refusing(path, lambda: _meta(self._keys))

    @property
    def isa(self) -> str:
        """Instruction set that the kernels use."""
        return str(self._native.isa)

    @property
    def threads(self) -> int:
        """Threads of a run."""
        return int(self._native.threads)

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return int(self._keys["unetq.graph.tensor.channels"][0])

    @property
    def classes(self) -> int:
        """Channels of the logits."""
        return int(self._keys["unetq.graph.tensor.channels"][-1])

    @property
    def stride(self) -> int:
        """Pixels of the image to one of the lowest level."""
        return 1 << max(map(int, self._keys["unetq.graph.tensor.level"]))

    @cached_property
    def graph(self) -> Graph:
        """The integer graph, with codes unpacked: for the reference, reports and tests."""
        return _refusing(self.path, lambda: _graph(self._keys, self._native.tensor))

    def run(self, image: Image) -> NDArray[np.float32]:
        """Logits float32 (K, H, W) of a prepared image float32 (C, H, W), any H and W from 1 up.

        Raises:
            UserError: wrong number of channels, an empty image, or one that needs more memory than there is.
        """
        result: NDArray[np.float32] = _refusing(self.path, lambda: self._native.run(image))
        return result

    def dump(self, image: Image) -> dict[str, NDArray[np.generic]]:
        """Codes int16 (channels, h, w) of every tensor of one run, and "head": logits float32."""
        result: dict[str, NDArray[np.generic]] = _refusing(self.path, lambda: self._native.dump(image))
        return result

    def profile(self, image: Image) -> list[dict[str, Any]]:
        """One run, operation by operation: [{name, op, kernel, ms, macs, products, tuned}].

        `macs` are the multiply-accumulates of the direct convolution, `products` those of bytes that the kernel really does,
        0 where it does none (bit-serial, tables).
        """
        result: list[dict[str, Any]] = _refusing(self.path, lambda: self._native.profile(image))
        return result

    def plan(self, height: int, width: int, streams: bool = False) -> dict[str, int]:
        """Bytes that a run of this size takes: {arena_bytes, scratch_bytes, weights_bytes}.

        Args:
            height: pixels of the image.
            width: pixels of the image.
            streams: with image and logits in the arena, as the standalone command has them.
        """
        result: dict[str, int] = _refusing(self.path, lambda: self._native.plan(height, width, streams))
        return result

    def least_bytes(self, height: int, width: int) -> int:
        """Bytes that a run of the standalone command takes where `--max-memory` asks for the least: skips packed, strips of
        4 rows, weights of one group of layers at a time."""
        return int(_refusing(self.path, lambda: self._native.least_bytes(height, width)))

    def buffers(self, height: int, width: int) -> list[dict[str, Any]]:
        """The arena of a run of this size: [{tensors, bytes, offset, rows, height, first_op, last_op}]."""
        result: list[dict[str, Any]] = _refusing(self.path, lambda: self._native.buffers(height, width))
        return result

    def tune(self, size: tuple[int, int], timings: Path, progress: Callable[[int, int], None]) -> list[dict[str, Any]]:
        """Times the kernels that could run each operation for images of this size, and from then on runs the fastest; models
        that are opened later do, too, if `timings` is the file that they read (`unetq.runtime.tune`).

        Args:
            size: (height, width) in pixels.
            timings: file that gets the times, beside those of other sizes and models in it.
            progress: called with (done, total) after each run of the network.

        Returns:
            [{name, op, first, chosen, ms: {kernel: milliseconds}}] of each operation that has a kernel; `first` is the
            kernel table's own choice.

        Raises:
            UserError: the image does not fit into memory, or the file cannot be written.
        """
        call = (*size, str(timings), progress)
        result: list[dict[str, Any]] = _refusing(self.path, lambda: self._native.tune(*call))
        return result

    def peak_gmacs(self) -> float | None:
        """10^9 multiply-accumulates a second that this CPU's instruction for bytes does with this many threads and nothing
        else to do, measured now; None where nothing was written to measure it."""
        return float(self._native.peak_gmacs()) or None

    @property
    def skips(self) -> set[str]:
        """Names of the tensors that a concatenation takes over from another level's way down."""
        names = self._keys["unetq.graph.tensor.name"]
        columns = ("kind", "input_a", "input_b", "output")
        ops = list(zip(*(self._keys[f"unetq.graph.op.{column}"] for column in columns), strict=True))
        raised = {output for kind, *_, output in ops if kind in ("nearest", "bilinear", "transposed")}
        joined = {i for kind, a, b, _ in ops if kind == "concat" for i in (a, b)}
        return {names[i] for i in joined - raised}

    def info(self) -> dict[str, Any]:
        """What the file holds: {parameters, bytes_file, bytes_float32, bytes_nominal, bytes_honest, hash,
        layers: [{name, op, wbits, abits, bytes, bytes_nominal}]}.

        `abits` is the width of a layer's output, 32 for the logits; `bytes` are the honest ones.
        """
        cost = net_cost(self.graph)
        bits = {op.name: (op.kind, op.wbits, self.graph.tensors[op.output].bits) for op in self.graph.weighted}
        layers = []
        for layer in cost.layers:
            kind, wbits, abits = bits[layer.name]
            size = {"bytes": layer.bytes_honest, "bytes_nominal": layer.bytes_nominal}
            layers.append({"name": layer.name, "op": kind, "wbits": wbits, "abits": abits, **size})
        return {
            "parameters": cost.parameters,
            "bytes_file": self.path.stat().st_size,
            "bytes_float32": cost.bytes_float32,
            "bytes_nominal": cost.bytes_nominal,
            "bytes_honest": cost.bytes_honest,
            "layers": layers,
            "hash": self.hash,
        }


def open_model(path: Path | str, threads: int = 0) -> Model:
    """Opens and verifies a model file.

    Args:
        path: file made by `unetq export`.
        threads: threads of a run; 0 = the physical cores.

    Raises:
        UserError: no such file, or a file that is damaged or no model.
    """
    return Model(Path(path), threads)


def _refusing(path: Path, call: Callable[[], T]) -> T:
    """The runtime's own sentences as `UserError`, with the file's name in them."""
    try:
        return call()
    except MemoryError:
        raise UserError(f"{path.name} needs more memory than there is; use a smaller tile or size.") from None
    except ValueError as error:  # a UserError is one, too
        sentence = str(error)
        raise UserError(sentence if path.name in sentence else f"{path}: {sentence}") from None


def _meta(keys: Mapping[str, Any]) -> ModelMeta:
    """The loader checked that each key is a number, a string or a list of them, but not which."""
    try:
        prep = {field: keys[f"unetq.prep.{field}"] for field in ("normalise", "tile", "overlap")}
        prep |= {f: keys[f"unetq.prep.{f}"] for f in ("orientation", "spacing") if f"unetq.prep.{f}" in keys}
        if "unetq.prep.window_low" in keys:
            prep["window"] = (keys["unetq.prep.window_low"], keys["unetq.prep.window_high"])
        names, codes = keys["unetq.labels.name"], keys["unetq.labels.snomed"]
        labels = tuple(Label(str(name), str(code)) for name, code in zip(names, codes, strict=True))
        provenance = json.loads(keys.get("unetq.provenance", "{}"))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError("its preparation, labels or provenance are missing or damaged; export it again.") from None
    if not isinstance(provenance, dict):
        raise UserError("its provenance is not a JSON object; export it again.")
    spec = from_mapping(PrepSpec, prep, "the model file")
    return ModelMeta(spec, labels, provenance, str(keys.get("unetq.intended_use", "")))


def _columns(keys: Mapping[str, Any], prefix: str, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return list(zip(*(keys[f"unetq.graph.{prefix}.{name}"] for name in names), strict=True))


def _graph(keys: Mapping[str, Any], numbers: Callable[[str], NDArray[Any]]) -> Graph:
    rows = _columns(keys, "tensor", ("name", "channels", "level", "kind", "bits", "quantizer"))
    tensors = {row[0]: Tensor(*row) for row in rows}
    names = list(tensors)
    ops, params = [], {}
    for name, kind, a, b, out, kernel, wbits, weights in _columns(
        keys, "op", ("name", "kind", "input_a", "input_b", "output", "kernel", "wbits", "weights")
    ):
        op = Op(name, kind, tuple(names[i] for i in (a, b) if i >= 0), names[out], kernel, wbits, weights)
        ops.append(op)
        if kind == "quantize":
            params[name] = Params(np.zeros(0, np.int8), numbers(f"{name}.m"), np.zeros(0, np.float32))
        elif kernel:
            shape = (tensors[op.output].channels, kernel, kernel, tensors[op.inputs[0]].channels)
            packed = numbers(f"{name}.weight").view(np.uint8)
            codes = unpack_codes(packed, int(np.prod(shape)), wbits, weights).reshape(shape)
            params[name] = Params(codes, numbers(f"{name}.m"), numbers(f"{name}.b"))
    steps = dict(zip(names, map(float, keys["unetq.graph.tensor.step"]), strict=True))
    graph = Graph(tensors, tuple(ops), params, steps)
    check(graph)
    return graph
