"""Why a layer runs on its kernel: the reason names the bound of the row that ran."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.models import random_graph, write
from unetq import _native
from unetq.runtime.explain import explain
from unetq.runtime.model import open_model
from unetq.spec import NetSpec, QuantSpec


@pytest.mark.parametrize("isa", _native.isas())
def test_reasons(isa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNETQ_ISA", isa)
    write(random_graph(NetSpec(base=8, depth=1, quant=QuantSpec.of("fixed", 3, 5)), 0), tmp_path / "model.gguf")
    model = open_model(tmp_path / "model.gguf", 1)
    layers = model.profile(np.zeros((1, 16, 16), np.float32))
    reasons, table = explain(model, layers), {row["name"]: row for row in _native.kernels()}
    assert set(reasons) == {layer["name"] for layer in layers}
    assert isa in reasons["enc0.conv2"] and "3-bit weights and 5-bit activations" in reasons["enc0.conv2"]
    assert "8-bit weights and 8-bit" in reasons["enc0.conv1"] and "8-bit weights and 5-bit" in reasons["head"]
    for layer in layers:
        found = re.search(r"first of (\d+) that may fit, of (\d+) .* with (\d)-bit .* (\d)-bit", reasons[layer["name"]])
        if found:
            fit, rows, *bits = map(int, found.groups())
            row = table[layer["kernel"]]
            assert 1 <= fit <= rows
            assert tuple(bits) in row["always" if "whatever the weights" in reasons[layer["name"]] else "checked"]
