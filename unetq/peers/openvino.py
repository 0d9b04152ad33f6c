"""OpenVINO as a contender."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

import numpy as np

from unetq.peers.worker import Entrant, Image, Job

__all__ = ["load"]


def load(job: Job) -> Entrant:
    """Compiles an ONNX file for the CPU."""
    ov: Any = importlib.import_module("openvino")
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": job.threads, "NUM_STREAMS": 1}
    if job.form == "float":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    core = ov.Core()
    compiled = core.compile_model(core.read_model(job.file), "CPU", settings)
    request = compiled.create_infer_request()

    def run(image: Image) -> Image:
        request.infer({0: ov.Tensor(image, shared_memory=True)})
        return np.asarray(request.get_output_tensor(0).data)

    def executed() -> dict[str, int]:
        """The graph as it runs: a convolution that takes bytes has the precision u8 or i8."""
        rows = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        layers = [
            row["runtimePrecision"].value for row in rows if row["layerType"].value in ("Convolution", "Deconvolution")
        ]
        return dict(Counter("int8" if precision in ("u8", "i8") else "float" for precision in layers))

    return Entrant(run, executed)
