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
    assert isa in reasons["enc0.conv2"] and "here 3 + 5" in reasons["enc0.conv2"]
    assert "here 8 + 8" in reasons["enc0.conv1"] and "here 8 + 5" in reasons["head"]
    for layer in layers:
        found = re.search(
            r"first of (\d+) that fit, of (\d+) .* up to (\d+) bits .* here (\d+) \+ (\d+)", reasons[layer["name"]]
        )
        if found:
            fit, rows, bound, wbits, abits = map(int, found.groups())
            assert 1 <= fit <= rows and wbits + abits <= bound == table[layer["kernel"]]["max_bits"]
