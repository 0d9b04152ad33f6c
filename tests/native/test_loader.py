"""The loader trusts nothing: what it refuses, and that no damage to a file crashes it."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests import models
from unetq.graph import Graph, Params
from unetq.runtime.packing import pack_codes
from unetq.spec import NetSpec, QuantSpec

_native = pytest.importorskip("unetq._native")
FLIPS = 2000
ROOT = Path(__file__).parents[2]
NETS = {
    "nearest": NetSpec(base=2, depth=1, cap=4),
    "transposed": NetSpec(base=2, depth=1, cap=4, upsampling="transposed", quant=QuantSpec.of("ternarynet")),
    "bilinear": NetSpec(base=2, depth=1, cap=4, upsampling="bilinear", quant=QuantSpec.of("binary", abits=1)),
    "wide": NetSpec(
        in_channels=2, out_channels=3, base=3, depth=1, cap=5, last_kernel=1, quant=QuantSpec.of("lsq", 7, 8)
    ),
}


@pytest.fixture(scope="module", params=NETS)
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    models.write(models.random_graph(NETS[request.param], 0), path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, bytes]:
    path = tmp_path_factory.mktemp("small") / "model.gguf"
    graph = models.random_graph(NETS["nearest"], 1)
    models.write(graph, path)
    return graph, path.read_bytes()


def refusal(path: Path, verify_hash: bool = False) -> str:
    with pytest.raises(ValueError) as caught:
        _native.Model(str(path), 1, verify_hash)
    return str(caught.value)


def damage(path: Path, kind: str, verify_hash: bool, count: int = 0, seed: int = 0) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.native.damage", str(path), kind, str(verify_hash), str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the loader crashed ({done.returncode}): {done.stderr[-2000:]}"
    outcomes: dict[str, int] = json.loads(done.stdout)
    assert set(outcomes) <= {"refused", "ran"}
    return outcomes


def test_every_truncation_is_refused(model_file: Path) -> None:
    for verify_hash in (True, False):
        assert damage(model_file, "truncations", verify_hash) == {"refused": model_file.stat().st_size}


def test_every_flipped_byte_is_refused(model_file: Path) -> None:
    assert damage(model_file, "flips", True, FLIPS // len(NETS), seed=1) == {"refused": FLIPS // len(NETS)}


def test_flipped_bytes_that_pass_for_a_model_run(model_file: Path) -> None:
    outcomes = damage(model_file, "flips", False, FLIPS // len(NETS), seed=2)
    assert sum(outcomes.values()) == FLIPS // len(NETS)
    assert outcomes["ran"] > 50 and outcomes["refused"] > 50


def test_what_was_written_is_read(model_file: Path) -> None:
    model = _native.Model(str(model_file))
    graph = models.random_graph(NETS[model_file.stem], 0)
    keys = model.metadata()
    content = model_file.read_bytes()
    assert keys["unetq.graph.op.name"] == [op.name for op in graph.ops]
    assert keys["general.alignment"] == 64
    np.testing.assert_array_equal(np.float32(keys["unetq.graph.tensor.step"]), np.float32(list(graph.steps.values())))
    assert hashlib.sha256(content.replace(model.hash.encode(), b"0" * 64)).hexdigest() == model.hash
    for op in graph.weighted:
        params = graph.params[op.name]
        np.testing.assert_array_equal(model.tensor(f"{op.name}.m"), params.m)
        packed = model.tensor(f"{op.name}.weight")
        np.testing.assert_array_equal(packed, pack_codes(params.codes, op.wbits, op.weights).view(np.int8))


@pytest.mark.parametrize("size", [1, 55, 56, 63, 64, 65, 119, 1000])
def test_hash_of_any_length(small: tuple[Graph, bytes], tmp_path: Path, size: int) -> None:
    models.write(small[0], tmp_path / "m.gguf", {"test.filler": "x" * size})
    assert _native.Model(str(tmp_path / "m.gguf")).metadata()["test.filler"] == "x" * size


def test_unicode_is_kept(small: tuple[Graph, bytes], tmp_path: Path) -> None:
    text = "Zürich, \u0000 \u07ff \u0800 \ud7ff \ue000 \uffff \U00010000 \U0010ffff"
    models.write(small[0], tmp_path / "m.gguf", {"test.text": text})
    assert _native.Model(str(tmp_path / "m.gguf")).metadata()["test.text"] == text


@pytest.mark.parametrize(
    "bad",
    [
        b"\x80",
        b"\xc0\xaf",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"\xe2\x82",
    ],
)
def test_text_that_is_not_utf8_is_refused(small: tuple[Graph, bytes], tmp_path: Path, bad: bytes) -> None:
    content = small[1].replace(b"Tests of this software only.", bad.rjust(28))
    (tmp_path / "m.gguf").write_bytes(content)
    assert "is not UTF-8" in refusal(tmp_path / "m.gguf")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    assert "no such model file" in refusal(tmp_path / "none.gguf")
    assert "not a file" in refusal(tmp_path)
    assert "not a file" in refusal(Path("/dev/zero"))
    for content in (b"", b"GGU", b"\x89PNG\r\n\x1a\n" * 8):
        (tmp_path / "m.gguf").write_bytes(content)
        assert "does not begin with GGUF" in refusal(tmp_path / "m.gguf")


def after(anchor: bytes, skip: int, layout: str, value: Any) -> Callable[[bytes], bytes]:
    """Overwrites a number behind the first occurrence of some bytes."""

    def patch(content: bytes) -> bytes:
        at = content.index(anchor) + len(anchor) + skip
        new = struct.pack("<" + layout, value)
        return content[:at] + new + content[at + len(new) :]

    return patch


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def patch(content: bytes) -> bytes:
        assert old in content and len(old) == len(new)
        return content.replace(old, new)

    return patch


# A tensor's description behind its name: dimensions u32, size u64, type u32, offset u64. The weights of mid.conv1 are I8.
NAME = b"mid.conv1.weight"
FILE_FAULTS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("version 2", after(b"GGUF", 0, "I", 2), "GGUF version 2, but this runtime reads version 3"),
    ("big-endian", after(b"GGUF", 0, "I", 0x03000000), "GGUF version 50331648"),
    ("tensor count", after(b"GGUF", 4, "Q", 2**64 - 1), "it claims"),
    ("key count", after(b"GGUF", 12, "Q", 5000), "it claims 5000 keys"),
    ("one key more", lambda c: after(b"GGUF", 12, "Q", struct.unpack("<Q", c[16:24])[0] + 1)(c), "damaged"),
    ("length of a key", after(struct.pack("<Q", 20), -8, "Q", 2**64 - 8), "too early"),
    ("type of a key", after(b"unetq.prep.tile", 0, "I", 13), "unknown type 13"),
    ("list of lists", after(b"unetq.graph.op.kernel", 4, "I", 9), "list of the unknown type 9"),
    ("length of a list", after(b"unetq.graph.op.kernel", 8, "Q", 2**62), "too early"),
    ("length of a list of texts", after(b"unetq.graph.op.name", 8, "Q", 2**61), "too early"),
    ("NUL in a key", swap(b"unetq.labels.snomed", b"unetq.intended_use\0"), "not plain text"),
    ("key twice", swap(b"unetq.graph.op.input_b", b"unetq.graph.op.input_a"), 'input_a" stands there twice'),
    ("alignment 0", after(b"general.alignment", 4, "I", 0), "power of two"),
    ("alignment 48", after(b"general.alignment", 4, "I", 48), "power of two"),
    ("alignment 4", after(b"general.alignment", 4, "I", 4), "power of two"),
    ("two dimensions", after(NAME, 0, "I", 2), "has not one dimension"),
    ("no elements", after(NAME, 4, "Q", 0), "outside of it"),
    ("too many elements", after(NAME, 4, "Q", 2**63), "outside of it"),
    ("more elements than bytes", after(NAME, 4, "Q", 4000), "damaged"),
    ("float64 tensor", after(NAME, 12, "I", 28), "unknown type 28"),
    ("overlap", after(NAME, 16, "Q", 0), "overlap"),
    ("offset outside", after(NAME, 16, "Q", 2**64 - 64), "outside of it"),
    ("offset at the end", after(NAME, 16, "Q", 4096), "too early"),
    ("offset not aligned", after(NAME, 16, "Q", 68), "not aligned"),
    ("tensor twice", swap(b"mid.conv2.weight", NAME), "stands there twice"),
    ("other architecture", swap(b"\5\0\0\0\0\0\0\0unetq", b"\5\0\0\0\0\0\0\0llama"), "holds no unetq model"),
    ("newer schema", after(b"unetq.schema_version", 4, "I", 2), "update unetq"),
    ("schema 0", after(b"unetq.schema_version", 4, "I", 0), "schema version 0"),
    ("no hash", swap(b"unetq.content_hash", b"unetq.content_hush"), "no key unetq.content_hash"),
    ("hash in capitals", after(b"unetq.content_hash", 12, "c", b"A"), "content hash"),
    ("wrong type", after(b"unetq.graph.tensor.bits", 4, "I", 6), "tensor.bits of the model file has the wrong type"),
    ("name of a tensor", after(b"unetq.graph.tensor.name", 24, "5s", b"im ge"), "tensor's name is not plain"),
    ("name of a layer", after(b"unetq.graph.op.name", 24, "5s", b"in\0ut"), "layer's name is not plain"),
    ("layer twice", after(b"unetq.graph.op.name", 16 + 13 + 18 + 18 + 8, "5s", b"input"), "or used twice"),
    ("integer scales", after(b"mid.conv1.m", 12, "I", 24), "mid.conv1.m is missing or has the wrong size"),
    ("missing weights", swap(b"mid.conv2.weight", b"mid.conv3.weight"), "mid.conv2.weight is missing"),
]


@pytest.mark.parametrize(("fault", "sentence"), [pytest.param(f, s, id=name) for name, f, s in FILE_FAULTS])
def test_faults_of_the_file(
    small: tuple[Graph, bytes], tmp_path: Path, fault: Callable[[bytes], bytes], sentence: str
) -> None:
    (tmp_path / "m.gguf").write_bytes(fault(small[1]))
    assert sentence in refusal(tmp_path / "m.gguf")
    assert refusal(tmp_path / "m.gguf", verify_hash=True)


def tensor(name: str, /, **changes: Any) -> Callable[[Graph], Graph]:
    return lambda g: replace(g, tensors={**g.tensors, name: replace(g.tensors[name], **changes)})


def op(name: str, /, **changes: Any) -> Callable[[Graph], Graph]:
    return lambda g: replace(g, ops=tuple(replace(o, **changes) if o.name == name else o for o in g.ops))


def params(name: str, /, **changes: Callable[[Any], Any]) -> Callable[[Graph], Graph]:
    def change(graph: Graph) -> Graph:
        new = {key: f(getattr(graph.params[name], key)) for key, f in changes.items()}
        return replace(graph, params={**graph.params, name: replace(graph.params[name], **new)})

    return change


def first(value: float) -> Callable[[Any], Any]:
    return lambda array: np.concatenate([np.array([value], array.dtype), array.ravel()[1:]]).reshape(array.shape)


def without(name: str) -> Callable[[Graph], Graph]:
    return lambda g: replace(g, ops=tuple(o for o in g.ops if o.name != name))


GRAPH_FAULTS: list[tuple[str, Callable[[Graph], Graph], str]] = [
    ("no channels", tensor("mid.conv1", channels=0), "has 0 channels"),
    ("channels", tensor("mid.conv1", channels=5), "mid.conv1"),
    ("many channels", tensor("mid.conv1", channels=2**31 - 1), "has 2147483647 channels"),
    ("level", tensor("mid.conv1", level=0), "do not follow"),
    ("level below 0", tensor("pool0", level=-1), "has level -1"),
    ("level above all", tensor("pool0", level=17), "has level 17"),
    ("kind", tensor("mid.conv1", kind="complex"), "unknown kind"),
    ("float inside", tensor("mid.conv1", kind="float", bits=32), "wrong place"),
    ("integer head", tensor("head", kind="unsigned", bits=8), "wrong place"),
    ("9 bits", tensor("mid.conv1", bits=9), "codes of 9 bits"),
    ("0 bits", tensor("mid.conv1", bits=0), "codes of 0 bits"),
    ("ternary of 3 bits", tensor("mid.conv1", kind="ternary", bits=3), "codes of 3 bits"),
    ("quantizer of two widths", tensor("enc0.conv2", bits=5), "share a quantizer"),
    ("concatenation of two quantizers", tensor("cat0", quantizer="other"), "need one quantizer"),
    ("step 0", lambda g: replace(g, steps={**g.steps, "mid.conv1": 0.0}), "no positive, finite step"),
    ("step NaN", lambda g: replace(g, steps={**g.steps, "mid.conv1": np.nan}), "no positive, finite step"),
    ("two steps", lambda g: replace(g, steps={**g.steps, "enc0.conv2": 7.0}), "share a quantizer"),
    ("op kind", op("pool0", kind="avgpool"), "unknown kind"),
    ("reads itself", op("mid.conv1", inputs=("mid.conv1",)), "not there yet"),
    ("reads ahead", op("mid.conv1", inputs=("dec0.conv1",)), "not there yet"),
    ("made twice", op("mid.conv2", output="mid.conv1"), "already there"),
    ("writes the image", op("mid.conv2", output="image"), "already there"),
    ("conv with two inputs", op("mid.conv1", inputs=("pool0", "input")), "not there yet"),
    ("concat with one input", op("cat0", inputs=("up0",)), "not there yet"),
    ("concat of one with itself", op("cat0", inputs=("up0", "up0")), "do not follow"),
    ("concat of two levels", op("cat0", inputs=("mid.conv2", "enc0.conv2")), "do not follow"),
    ("order", lambda g: replace(g, ops=(g.ops[0], *reversed(g.ops[1:]))), "not there yet"),
    ("tensor that none makes", without("head"), "no layer makes"),
    ("conv of the image", op("enc0.conv1", inputs=("image",)), "floats"),
    ("pool of weights", op("pool0", kernel=2), "no use for them"),
    ("even kernel", op("mid.conv1", kernel=2), "kernel of side 2"),
    ("large kernel", op("mid.conv1", kernel=9), "kernel of side 9"),
    ("kernel below 0", op("mid.conv1", kernel=-3), "wrong kernel"),
    ("9-bit weights", op("mid.conv1", wbits=9), "weight codes of 9 bits"),
    ("1-bit weights", op("mid.conv1", wbits=1, weights="twos"), "weight codes of 1 bits"),
    ("no weights", op("mid.conv1", wbits=2, weights="none"), "weight codes of 2 bits"),
    ("float weights", op("mid.conv1", wbits=32, weights="float"), "weights of an unknown kind"),
    ("binary of 2 bits", op("mid.conv1", wbits=2, weights="binary"), "weight codes of 2 bits"),
    (
        "ternary code -2",
        lambda g: params("mid.conv1", codes=first(-2))(op("mid.conv1", wbits=2, weights="ternary")(g)),
        "not -1",
    ),
    ("too few codes", params("mid.conv1", codes=lambda c: c[:1]), "mid.conv1.weight is missing or has the wrong size"),
    ("too few scales", params("mid.conv1", m=lambda m: m[:1]), "mid.conv1.m is missing or has the wrong size"),
    ("scale infinite", params("mid.conv1", m=first(np.inf)), "mid.conv1.m has a number that is not finite"),
    ("shift NaN", params("mid.conv1", b=first(np.nan)), "mid.conv1.b has a number that is not finite"),
    ("input scale NaN", params("input", m=first(np.nan)), "input.m has a number that is not finite"),
]


@pytest.mark.parametrize(("fault", "sentence"), [pytest.param(f, s, id=name) for name, f, s in GRAPH_FAULTS])
def test_faults_of_the_graph(
    small: tuple[Graph, bytes], tmp_path: Path, fault: Callable[[Graph], Graph], sentence: str
) -> None:
    graph = fault(small[0])
    models.write(graph, tmp_path / "m.gguf")
    message = refusal(tmp_path / "m.gguf", verify_hash=True)
    assert sentence in message and message.endswith(".")


def test_bits_behind_the_codes_are_zero(tmp_path: Path) -> None:
    net = NetSpec(base=1, depth=1, cap=1, quant=QuantSpec.of("fixed", 3, 4))  # 9 codes of 3 bits: 27 of 32 bits
    models.write(models.random_graph(net, 0), tmp_path / "m.gguf")
    content = bytearray((tmp_path / "m.gguf").read_bytes())
    (weights,) = [t for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "mid.conv1.weight"]
    content[weights.data_offset + 3] |= 0x80
    (tmp_path / "m.gguf").write_bytes(content)
    assert "bits behind its end" in refusal(tmp_path / "m.gguf")


def test_sums_that_could_overflow_are_refused(small: tuple[Graph, bytes], tmp_path: Path) -> None:
    """8 bits x 8 bits overflows from 7,310 channels on in a 3x3 convolution."""
    graph, big = small[0], ("enc0.conv2", "pool0")
    wide = {
        name: replace(t, bits=8 if t.quantizer == "skip0" else t.bits, channels=8000 if name in big else t.channels)
        for name, t in graph.tensors.items()
        if t.kind == "unsigned"
    }
    graph = replace(graph, tensors={**graph.tensors, **wide})
    ones = np.ones(8000, np.float32)
    numbers = {**graph.params, "enc0.conv2": Params(np.zeros((8000, 3, 3, 2), np.int8), ones, ones)}
    graph = op("mid.conv1", wbits=8)(replace(graph, params=numbers))
    models.write(graph, tmp_path / "m.gguf")
    assert "mid.conv1 could overflow its 32-bit sums" in refusal(tmp_path / "m.gguf")
