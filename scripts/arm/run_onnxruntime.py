"""ONNX Runtime on an image from standard input, one thread: run_onnxruntime.py MODEL.onnx HEIGHT WIDTH RUNS.

For networks.py, in the emulated Python: with the settings of `unetq bench --peers`.
"""

from __future__ import annotations

import sys

import numpy as np

from unetq.peers.onnxruntime import load
from unetq.peers.worker import Job

path, height, width, runs = sys.argv[1], *map(int, sys.argv[2:])
image = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(1, 1, height, width)
entrant = load(Job("onnxruntime", "", path, 1, height, width, 1))
for _ in range(runs):
    entrant.run(image)
