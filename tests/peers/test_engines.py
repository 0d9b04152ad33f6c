"""Each contender computes the network, int8 as the reference and float as each other, and runs it in the precision it says."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models import exact_in_int8, random_graph, write
from unetq.peers.contenders import CONTENDERS, Contender
from unetq.peers.forms import write_form
from unetq.peers.worker import Entrant, Job
from unetq.runtime.model import Model, open_model
from unetq.runtime.reference import run_reference
from unetq.spec import NetSpec, QuantSpec

SIZE = (40, 36)


def model(net: NetSpec, folder: Path) -> Model:
    write(exact_in_int8(random_graph(net, 5)), folder / "model.gguf")
    return open_model(folder / "model.gguf", 1)


def entrant(contender: Contender, opened: Model, step: float, folder: Path) -> tuple[Entrant, Job]:
    file = write_form(opened, contender.form, SIZE, step, folder)
    job = Job(contender.engine, contender.form, str(file), opened.channels, *SIZE, 1)
    return importlib.import_module(f"unetq.peers.{contender.engine.partition(':')[0]}").load(job), job


def label(contender: Contender) -> str:
    return f"{contender.engine} {contender.form}"


WHOLE = [c for c in CONTENDERS if "float" not in c.name]
FLOAT = [c for c in CONTENDERS if "float" in c.name]
NETS = [
    NetSpec(base=8, depth=2, quant=QuantSpec.of("fixed", 4, 8)),
    NetSpec(base=8, depth=1, quant=QuantSpec.of("fixed", 4, 8), upsampling="bilinear", in_channels=2, out_channels=3),
]


@pytest.mark.parametrize("contender", WHOLE, ids=label)
@pytest.mark.parametrize("net", NETS, ids=lambda net: net.upsampling)
def test_int8(net: NetSpec, contender: Contender, tmp_path: Path) -> None:
    opened = model(net, tmp_path)
    image = Job("", "", "", opened.channels, *SIZE, 1).image()
    want = run_reference(opened.graph, image[0])["head"]
    step = float(np.abs(want).max()) / 127
    running, _ = entrant(contender, opened, step, tmp_path)
    off = np.abs(running.run(image)[0] - want)
    if contender.name == "unetq":
        assert off.max() == 0
        return
    # Ties may fall elsewhere (zero points are added before rounding, QNNPACK's scales are fixed point); logits in bytes have
    # their own rounding. A wrong layer would be off by the whole spread of the logits.
    assert np.median(off) <= 0.6 * step and np.sqrt(np.mean(off**2)) < 0.1 * want.std()
    assert running.executed() == {"int8": len(opened.graph.weighted)}


@pytest.mark.parametrize("contender", FLOAT, ids=label)
def test_float(contender: Contender, tmp_path: Path) -> None:
    opened = model(NETS[1], tmp_path)
    running, job = entrant(contender, opened, 1.0, tmp_path)
    traced, _ = entrant(next(c for c in CONTENDERS if c.engine == "pytorch:traced"), opened, 1.0, tmp_path)
    want = traced.run(job.image())
    np.testing.assert_allclose(running.run(job.image()), want, atol=1e-4 * np.abs(want).max())
    assert running.executed() == {"float": len(opened.graph.weighted)}


@pytest.mark.parametrize("contender", [c for c in FLOAT if "compiled" not in c.engine], ids=label)
def test_float_of_ternary_codes(contender: Contender, tmp_path: Path) -> None:
    """A ternary tensor is its codes in float, too: from an image of whole steps comes what the reference computes."""
    opened = model(NetSpec(base=8, depth=1, upsampling="transposed", quant=QuantSpec.of("ternarynet")), tmp_path)
    step = opened.graph.steps["input"]
    running, job = entrant(contender, opened, 1.0, tmp_path)
    image = (np.round(job.image() / step).clip(-128, 127) * step).astype(np.float32)
    np.testing.assert_allclose(running.run(image)[0], run_reference(opened.graph, image[0])["head"], atol=1e-5)


@pytest.mark.parametrize("backend", ["traced", "onednn", "qnnpack"])
def test_ternary_and_transposed_in_torch(backend: str, tmp_path: Path) -> None:
    net = NetSpec(base=8, depth=1, upsampling="transposed", quant=QuantSpec.of("ternarynet"))
    opened = model(net, tmp_path)
    contender = next(c for c in CONTENDERS if c.engine == f"pytorch:{backend}")
    running, job = entrant(contender, opened, 0.1, tmp_path)
    logits = running.run(job.image())
    assert logits.shape == (1, 1, *SIZE) and np.isfinite(logits).all()
    # onednn has no transposed convolution of bytes with a scale a channel.
    floats = {"traced": 8, "onednn": 1, "qnnpack": 0}[backend]
    assert running.executed().get("float", 0) == floats


@pytest.fixture(autouse=True)
def engine_of_torch() -> object:
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before
