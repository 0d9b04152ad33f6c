"""ONNX Runtime as a contender."""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from unetq.peers.worker import Entrant, Image, Job

__all__ = ["load"]

ERRORS_ONLY = 3
INT8 = ("QLinearConv", "ConvInteger")
FLOAT = ("Conv", "FusedConv", "ConvTranspose")


def load(job: Job) -> Entrant:
    """Opens an ONNX file with the CPU's provider."""
    ort: Any = importlib.import_module("onnxruntime")

    def session(optimised: Path | None = None) -> Any:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = ERRORS_ONLY
        if optimised is not None:
            options.optimized_model_filepath = str(optimised)
        return ort.InferenceSession(job.file, options, providers=["CPUExecutionProvider"])

    opened = session()

    def executed() -> dict[str, int]:
        """The graph after all optimisations, which is what runs."""
        onnx: Any = importlib.import_module("onnx")
        with tempfile.TemporaryDirectory() as folder:
            session(Path(folder) / "optimised.onnx")
            kinds = Counter(node.op_type for node in onnx.load(Path(folder) / "optimised.onnx").graph.node)
        return {
            word: sum(kinds[kind] for kind in names)
            for word, names in (("int8", INT8), ("float", FLOAT))
            if any(kinds[kind] for kind in names)
        }

    def run(image: Image) -> Image:
        return np.asarray(opened.run(None, {"image": image})[0])

    return Entrant(run, executed)
