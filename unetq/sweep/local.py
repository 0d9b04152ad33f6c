"""The runs of a sweep in processes of this machine.

A worker process takes one run after another through a pipe of its own, so that one that is killed blocks no other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from unetq.sweep.job import RunJob, run_job
from unetq.sweep.plan import Job
from unetq.sweep.queue import Outcome

__all__ = ["LocalPool", "Machine"]

CORES_PER_WORKER = 4
GPU_FOLDER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Machine:
    """How this machine is shared.

    Attributes:
        workers: processes.
        threads: of each.
        gpus: CUDA's names of the GPUs, given to the workers in turn.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()

    @staticmethod
    def of(workers: int = 0, threads: int = 0) -> Machine:
        """0 workers: one a GPU, else one for every 4 cores; 0 threads: the cores divided among the workers."""
        cores = len(os.sched_getaffinity(0))
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = len(list(GPU_FOLDER.iterdir())) if GPU_FOLDER.is_dir() else 0
        gpus = tuple(map(str, range(count))) if named is None else tuple(name for name in named.split(",") if name)
        workers = workers or len(gpus) or max(1, cores // CORES_PER_WORKER)
        return Machine(workers, threads or max(1, cores // workers), gpus)


@dataclass(frozen=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    number: int


class LocalPool:
    """Worker processes, started when they are needed and replaced when they die."""

    def __init__(self, machine: Machine, run: RunJob = run_job) -> None:
        self.machine, self._run = machine, run
        self._busy: dict[_Worker, Job] = {}
        self._idle: list[_Worker] = []

    @property
    def free(self) -> int:
        """Runs that could be started now."""
        return self.machine.workers - len(self._busy)

    def start(self, job: Job) -> None:
        """Gives a run to a worker."""
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.pipe.send(job)
            except OSError:
                worker.process.join()  # killed between two runs
            else:
                break
        else:
            worker = self._new_worker()
            worker.pipe.send(job)
        self._busy[worker] = job

    def wait(self, seconds: float) -> list[tuple[Job, Outcome]]:
        """The runs that ended, after at most `seconds`; none where none did."""
        ready = wait([worker.pipe for worker in self._busy], seconds)
        ended = []
        for worker in [worker for worker in self._busy if worker.pipe in ready]:
            job = self._busy.pop(worker)
            try:
                outcome: Outcome = worker.pipe.recv()
                self._idle.append(worker)
            except (EOFError, OSError):
                outcome = _death(worker, job)
            ended.append((job, outcome))
        return ended

    def stop(self) -> None:
        """Asks the running trainings to save themselves and end; `wait` tells when they have."""
        for worker in self._busy:
            _signal(worker, signal.SIGINT)

    def close(self) -> None:
        """Ends all workers at once; what they trained since their last save is lost."""
        for worker in (*self._busy, *self._idle):
            _signal(worker, signal.SIGKILL)
            worker.process.join()
            worker.pipe.close()
        self._busy, self._idle = {}, []

    def _new_worker(self) -> _Worker:
        taken = {worker.number for worker in (*self._busy, *self._idle)}
        number = next(n for n in range(self.machine.workers) if n not in taken)
        gpu = self.machine.gpus[number % len(self.machine.gpus)] if self.machine.gpus else None
        ours, theirs = multiprocessing.Pipe()
        arguments = (theirs, self._run, self.machine.threads, gpu)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments, daemon=True)
        # Started with ctrl-C blocked: a worker asks for it once it can answer. The tracker's start would unblock it.
        resource_tracker.ensure_running()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()
        return _Worker(process, ours, number)


def _signal(worker: _Worker, number: int) -> None:
    if worker.process.is_alive() and worker.process.pid:
        os.kill(worker.process.pid, number)


def _death(worker: _Worker, job: Job) -> Outcome:
    """What a worker's end says of the run that it worked on: a signal may pass, an error of the program would come again."""
    worker.process.join()
    worker.pipe.close()
    code = worker.process.exitcode or 0
    if code == 0:  # asked to end outside a training
        return Outcome("stopped")
    if code < 0:
        hint = ", mostly for want of memory: try fewer --workers;" if -code == signal.SIGKILL else ""
        return Outcome("lost", f"its process was ended by signal {-code} ({signal.strsignal(-code)}){hint}")
    lines = _log(job).read_text(encoding="utf-8", errors="replace").split("\n") if _log(job).is_file() else []
    last = next((line for line in reversed(lines) if line.strip()), f"its process ended with code {code}")
    return Outcome("failed", f"{last} (see {_log(job)})")


def _log(job: Job) -> Path:
    return job.folder.with_name(f"{job.folder.name}.log")


def _work(pipe: Connection, run: RunJob, threads: int, gpu: str | None) -> None:
    """A worker's life: runs from the pipe, until it closes."""
    try:
        os.setsid()  # ctrl-C at the terminal reaches the sweep only, which passes it on: twice would end a run unsaved
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        threading.Thread(target=_follow_parent, daemon=True).start()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while True:
            job: Job = pipe.recv()
            with _output_to(_log(job)):
                outcome = run(job, threads)
            if outcome.kind != "busy" and _log(job).stat().st_size == 0:
                _log(job).unlink()
            pipe.send(outcome)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _follow_parent() -> None:
    """Where the sweep itself is killed, its workers save and end, too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """What a training writes to the terminal, native code included, goes to its log; after an error the traceback, too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(number) for number in (1, 2)]
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    yield
    sys.stdout.flush()
    sys.stderr.flush()
    for number, former in enumerate(kept, 1):
        os.dup2(former, number)
        os.close(former)
