"""A tiny sweep, and what a worker process can be made to do in place of a training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from unetq.data_prep.phantom import phantom
from unetq.spec import NetSpec, QuantSpec
from unetq.sweep.job import lock_of
from unetq.sweep.plan import Job
from unetq.sweep.queue import Outcome
from unetq.train.config import TrainConfig

CONFIG = """
name: tiny
net: {{base: 4, depth: 2, cap: 8}}
prep: {{tile: 128}}
iterations: {steps}
finetune_iterations: 4
batch: 2
crop: 32
validate_every: 1000
save_every: 5
calibrate: 1
"""


def config(folder: Path, steps: int) -> str:
    path = folder / "tiny.yaml"
    path.write_text(CONFIG.format(steps=steps))
    return str(path)


def em(folder: Path) -> Path:
    """Raw phantom slices."""
    phantom("em", folder / "em", 12, seed=0, size=128)
    return folder


def job(folder: Path, name: str, init_from: Path | None = None) -> Job:
    net = NetSpec(base=4, quant=QuantSpec.of("float"))
    return Job(folder / "em" / name, TrainConfig(net=net), folder, init_from)


def play(job: Job, threads: int) -> Outcome:
    """What the run's name says, without torch."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    tries = job.folder.with_name(f"{job.folder.name}.tries")
    with tries.open("a") as file:
        file.write("x")
    if job.folder.name.startswith("killed") or (job.folder.name == "unlucky" and tries.stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.folder.name == "broken":
        raise ZeroDivisionError("a fault of the program")
    if job.folder.name == "refused":
        return Outcome("failed", "The data is gone.")
    try:
        for _ in range(3000 if job.folder.name == "long" else 0):
            time.sleep(0.01)
    except KeyboardInterrupt:
        return Outcome("stopped", "saved")
    return Outcome("done")


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def kill_once_saved(run: Path) -> None:
    """kill -9 of the process that trains a run, as soon as there is something to go on from."""
    until((run / "last.pt").is_file)
    os.kill(int(lock_of(run).read_text().split()[0]), signal.SIGKILL)
