"""`unetq bench --peers`: our runtime and its peers on one network, in turns.

Each contender has a process of its own: its memory, its thread pool, its environment. All but the one whose turn it is are
stopped (SIGSTOP), so that no spinning pool takes time from another. A round gives each one run; rounds start at another contender
each time, and figures are medians over rounds, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from unetq.errors import UserError
from unetq.image.tiles import logits_to_mask
from unetq.peers.contenders import CONTENDERS, Contender, cap, left_out
from unetq.peers.forms import write_form
from unetq.peers.worker import Job
from unetq.runtime.bench import bench
from unetq.runtime.model import Model, open_model

__all__ = ["RaceOptions", "bench_peers"]

OURS = "unetq"


@dataclass(frozen=True)
class RaceOptions:
    """How a comparison is run.

    Attributes:
        size: (height, width) of the image.
        threads: of a run, of each contender.
        rounds: timed runs of each contender.
        cap_isa: instruction set that all are held to, a key of `CAPS`, or None.
    """

    size: tuple[int, int] = (512, 512)
    threads: int = 1
    rounds: int = 15
    cap_isa: str | None = None


def bench_peers(path: Path, options: RaceOptions, advance: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """What `unetq.runtime.bench.bench` returns, timed in turns with the peers.

    Returns:
        The keys of `bench` (ms_median, ms_min, ms_p90 and peak_rss_bytes of the turns), and
        peers: {name: {ms_median, ms_min, ratio, peak_rss_bytes, version, setting, executed, same_mask, capped}}, ratio = a peer's
        ms_median / ours, executed = layers in int8 and in float as the engine itself reports them, same_mask = share of pixels
        with our label;
        left_out: {name: why}; cap_isa; and with more than one thread one_thread: {ms_median, peak_rss_bytes, peers, left_out}.

    Raises:
        UserError: the file is no model, the image does not fit into memory, or there is no such cap.
    """
    environment = cap(options.cap_isa)
    result = bench(path, options.size, options.threads, options.rounds, environment)
    counts = [result["threads"], *([1] if result["threads"] != 1 else [])]
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for index, threads in enumerate(counts):

            def ahead(done: int, total: int, index: int = index) -> None:
                if advance:
                    advance(index * total + done, len(counts) * total)

            race = _Race(open_model(path, 1), options, threads, Path(folder))
            turns.append(race.run(environment, ahead))
    macs = result["gmacs"] * result["ms_median"]
    result |= turns[0]
    result["gmacs"], result["cap_isa"] = macs / result["ms_median"], options.cap_isa
    if len(turns) > 1:
        result["one_thread"] = turns[1]
    return result


class _Process:
    """A contender's process, stopped unless asked."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "unetq.peers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(job.threads), **environment},
        )
        self.times: list[float] = []
        self.first = self.ask(json.dumps(asdict(job)))

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to one line; {"error"} where the process died of it."""
        assert self.process.stdin and self.process.stdout
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        self.process.send_signal(signal.SIGSTOP)
        said: dict[str, Any] = json.loads(answer) if answer else {"error": "its process was killed"}
        return said

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class _Race:
    def __init__(self, model: Model, options: RaceOptions, threads: int, folder: Path) -> None:
        self.model, self.options, self.threads, self.folder = model, options, threads, folder
        self.left_out: dict[str, str] = {}
        image = Job("", "", "", model.channels, *options.size, threads).image()[0]
        # Calibrated on the image that is timed: no engine can ask for more.
        self.logits = model.run(image)
        self.logits_step = float(np.abs(self.logits).max()) / 127 or 1.0

    def run(self, environment: Mapping[str, str], advance: Callable[[int, int], None]) -> dict[str, Any]:
        with ExitStack() as stack:
            running: dict[Contender, _Process] = {}
            for contender in CONTENDERS:
                process = self._start(contender, environment, stack)
                if process is not None:
                    running[contender] = process
            self._rounds(running, advance)
            ours = {c: p for c, p in running.items() if c.name == OURS}
            if not ours:
                raise UserError(f"Timing {self.model.path} failed: {self.left_out[OURS]}.")
            rows = {c: self._row(c, p) for c, p in running.items()}
        (own,) = (rows.pop(c) for c in ours)
        peers: dict[str, dict[str, Any]] = {}
        for contender, row in sorted(rows.items(), key=lambda item: item[1]["ms_median"]):
            if contender.name not in peers:  # the fastest of its variants
                peers[contender.name] = {**row, "ratio": row["ms_median"] / own["ms_median"]}
        names = ("ms_median", "ms_min", "ms_p90", "peak_rss_bytes")
        missing = {name: why for name, why in self.left_out.items() if name not in peers}
        return {**{name: own[name] for name in names}, "peers": peers, "left_out": missing}

    def _start(self, contender: Contender, environment: Mapping[str, str], stack: ExitStack) -> _Process | None:
        why = left_out(contender)
        if why is None:
            file = write_form(self.model, contender.form, self.options.size, self.logits_step, self.folder)
            shape = (self.model.channels, *self.options.size)
            job = Job(contender.engine, contender.form, str(file), *shape, self.threads)
            process = _Process(job, environment)
            stack.callback(process.close)
            why = process.first.get("error")
        if why is not None:
            self.left_out[contender.name] = why
            return None
        return process

    def _rounds(self, running: dict[Contender, _Process], advance: Callable[[int, int], None]) -> None:
        for index in range(self.options.rounds):
            turn = list(running)
            for contender in turn[index % len(turn) :] + turn[: index % len(turn)]:
                said = running[contender].ask("run")
                if "error" in said:
                    self.left_out[contender.name] = said["error"]
                    del running[contender]
                else:
                    running[contender].times.append(said["ms"])
            advance(index + 1, self.options.rounds)

    def _row(self, contender: Contender, process: _Process) -> dict[str, Any]:
        peak = process.ask("peak")["peak_rss_bytes"]  # before what follows, which is no part of a run
        logits = self.folder / "logits.npy"
        executed = process.ask(f"describe {logits}")["executed"]
        same = logits_to_mask(np.load(logits)[0]) == logits_to_mask(self.logits)
        row = {
            "ms_median": statistics.median(process.times),
            "ms_min": min(process.times),
            "ms_p90": float(np.percentile(process.times, 90)),
            "peak_rss_bytes": peak,
            "version": _version(contender.package),
            "setting": contender.setting,
            "executed": executed,
            "same_mask": float(same.mean()),
        }
        return row if self.options.cap_isa is None else {**row, "capped": contender.capped}


def _version(package: str) -> str:
    """Of the distribution that brings a package, which may have another name (onnxruntime-openvino)."""
    return version(packages_distributions().get(package, [package])[0])
