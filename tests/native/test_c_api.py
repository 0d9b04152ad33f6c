"""The C interface, called as a C program would: codes and sentences, no exception, the same numbers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.models import random_graph, write
from unetq import _native
from unetq.spec import NetSpec

OK, BAD_ARGUMENT, BAD_MODEL = 0, 1, 2
FLOATS = ctypes.POINTER(ctypes.c_float)


class Info(ctypes.Structure):
    _fields_ = (
        ("in_channels", ctypes.c_int32),
        ("out_channels", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("isa", ctypes.c_char_p),
        ("content_hash", ctypes.c_char_p),
        ("weights_bytes", ctypes.c_uint64),
    )


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = ctypes.CDLL(_native.__file__)
    found.unetq_last_error.restype = ctypes.c_char_p
    found.unetq_close.restype = None
    found.unetq_close.argtypes = [ctypes.c_void_p]
    found.unetq_memory.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]
    found.unetq_limit_memory.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    found.unetq_info.argtypes = [ctypes.c_void_p, ctypes.POINTER(Info)]
    found.unetq_run.argtypes = [ctypes.c_void_p, FLOATS, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, FLOATS]
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c_api") / "model.gguf"
    write(random_graph(NetSpec(base=4, depth=1, out_channels=2), 0), path)
    return path


@pytest.fixture
def model(library: ctypes.CDLL, path: Path) -> Iterator[ctypes.c_void_p]:
    handle = ctypes.c_void_p()
    assert library.unetq_open(str(path).encode(), 2, 1, ctypes.byref(handle)) == OK
    yield handle
    library.unetq_close(handle)


def test_run_equals_python(library: ctypes.CDLL, path: Path, model: ctypes.c_void_p) -> None:
    image = np.random.default_rng(0).normal(size=(1, 13, 9)).astype(np.float32)
    logits = np.zeros((2, 13, 9), np.float32)
    code = library.unetq_run(model, image.ctypes.data_as(FLOATS), 1, 13, 9, logits.ctypes.data_as(FLOATS))
    assert (code, library.unetq_last_error()) == (OK, b"")
    np.testing.assert_array_equal(logits, _native.Model(str(path), 1).run(image))


def test_info(library: ctypes.CDLL, path: Path, model: ctypes.c_void_p) -> None:
    info = Info()
    assert library.unetq_info(model, ctypes.byref(info)) == OK
    opened = _native.Model(str(path), 1)
    assert (info.in_channels, info.out_channels, info.threads) == (1, 2, 2)
    assert info.isa.decode() == opened.isa
    assert info.content_hash.decode() == opened.hash
    assert info.weights_bytes == opened.plan(8, 8)["weights_bytes"]


def test_failures_are_codes_with_a_sentence(library: ctypes.CDLL, tmp_path: Path, model: ctypes.c_void_p) -> None:
    handle = ctypes.c_void_p(1)
    assert library.unetq_open(str(tmp_path / "none.gguf").encode(), 0, 1, ctypes.byref(handle)) == BAD_MODEL
    assert handle.value is None
    assert b"none.gguf" in library.unetq_last_error()
    assert library.unetq_open(None, 0, 1, ctypes.byref(handle)) == BAD_ARGUMENT
    assert b"null pointer" in library.unetq_last_error()
    values = np.full((1, 4, 4), np.nan, np.float32)
    pointer = values.ctypes.data_as(FLOATS)
    assert library.unetq_run(model, pointer, 1, 4, 4, None) == BAD_ARGUMENT
    assert library.unetq_run(model, pointer, 1, 4, 4, pointer) == BAD_ARGUMENT
    assert b"not finite" in library.unetq_last_error()
    for size in ((2, 4, 4), (1, 0, 4), (1, 4, -1)):
        assert library.unetq_run(model, pointer, *size, pointer) == BAD_ARGUMENT
        assert library.unetq_last_error().endswith(b".")


def test_memory_limit(library: ctypes.CDLL, model: ctypes.c_void_p) -> None:
    """Lower strips under a limit, with the same logits; below them a refusal that names what is needed."""

    def needed() -> int:
        taken = ctypes.c_uint64()
        assert library.unetq_memory(model, 200, 300, ctypes.byref(taken)) == OK
        return taken.value

    def run() -> bytes | None:
        logits = np.zeros((2, 200, 300), np.float32)
        code = library.unetq_run(model, image.ctypes.data_as(FLOATS), 1, 200, 300, logits.ctypes.data_as(FLOATS))
        return logits.tobytes() if code == OK else None

    image = np.random.default_rng(0).normal(size=(1, 200, 300)).astype(np.float32)
    free, want = needed(), run()
    assert want is not None
    assert library.unetq_limit_memory(model, ctypes.c_uint64(free - 1)) == OK
    assert needed() < free and run() == want
    assert library.unetq_limit_memory(model, ctypes.c_uint64(1000)) == OK
    assert run() is None and b"needs at least" in library.unetq_last_error()
    assert library.unetq_memory(model, 200, 300, ctypes.byref(ctypes.c_uint64())) == BAD_ARGUMENT
    assert library.unetq_limit_memory(model, ctypes.c_uint64(0)) == OK
    assert needed() == free and run() == want


def test_close_takes_null(library: ctypes.CDLL) -> None:
    library.unetq_close(None)
