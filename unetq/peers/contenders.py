"""Who is compared, in which form of the network and with which settings: data that the race, the table and the docs read."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unetq.errors import UserError, nearest

__all__ = ["CAPS", "CONTENDERS", "Contender", "cap", "left_out"]

# What is written for a contender: the model file itself, ONNX, or arrays for torch.
Form = Literal["model", "float", "int8", "int8-bytes", "arrays"]


@dataclass(frozen=True)
class Contender:
    """One engine with one form of the network.

    Attributes:
        name: key of the result. Contenders of one name are variants: the fastest counts.
        engine: module of `unetq.peers` that runs it, and what that calls it: "engine" or "engine:backend".
        package: distribution that must be installed; its version is reported.
        form: of the network. "int8-bytes" has logits in bytes, too.
        setting: for a reader who wants to run it himself.
        capped: whether it obeys `--cap-isa`.
    """

    name: str
    engine: str
    package: str
    form: Form
    setting: str
    capped: bool = True


OPENVINO = "performance hint latency, one stream, inference threads set"
ONNXRUNTIME = "all graph optimisations, sequential, intra-op threads set, spinning stopped after each run"
TORCH = "channels last"
CONTENDERS = (
    Contender("unetq", "ours", "unetq", "model", "as it is"),
    Contender("openvino-int8", "openvino", "openvino", "int8", f"{OPENVINO}; QDQ, logits in float"),
    Contender("openvino-int8", "openvino", "openvino", "int8-bytes", f"{OPENVINO}; QDQ, logits in bytes"),
    Contender("openvino-float", "openvino", "openvino", "float", f"{OPENVINO}, inference precision f32"),
    Contender("onnxruntime-int8", "onnxruntime", "onnxruntime", "int8-bytes", f"{ONNXRUNTIME}; QDQ", capped=False),
    Contender("onnxruntime-float", "onnxruntime", "onnxruntime", "float", ONNXRUNTIME, capped=False),
    Contender(
        "torch-float", "pytorch:traced", "torch", "arrays", f"oneDNN, {TORCH}, traced, frozen, optimised for inference"
    ),
    Contender("torch-float", "pytorch:compiled", "torch", "arrays", f"oneDNN, {TORCH}, torch.compile with freezing"),
    Contender("torch-int8-onednn", "pytorch:onednn", "torch", "arrays", f"quantized engine onednn, {TORCH}"),
    Contender("torch-int8-qnnpack", "pytorch:qnnpack", "torch", "arrays", f"quantized engine qnnpack, {TORCH}"),
)
# Instruction set that all are held to -> the environment that holds them. ONNX Runtime's MLAS reads none.
CAPS: Mapping[str, Mapping[str, str]] = {
    "avx2": {"UNETQ_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    # As a CPU without AMX: Zen 4, Ice Lake.
    "avx512vnni": {
        "UNETQ_ISA": "avx512vnni",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
        "ATEN_CPU_CAPABILITY": "avx512",
    },
}


def cap(isa: str | None) -> Mapping[str, str]:
    """Environment of a cap, {} for none.

    Raises:
        UserError: no such cap.

    >>> cap("avx2")["ONEDNN_MAX_CPU_ISA"]
    'AVX2'
    """
    if isa is None:
        return {}
    if isa not in CAPS:
        raise UserError(f'There is no cap "{isa}" for all engines: {nearest(isa, CAPS)}')
    return CAPS[isa]


def left_out(contender: Contender) -> str | None:
    """Why a contender cannot take part, or None."""
    needs = [contender.package, *(["onnx"] if contender.form not in ("model", "arrays") else [])]
    missing = [package for package in needs if importlib.util.find_spec(package) is None]
    return f"{' and '.join(missing)} not installed" if missing else None
