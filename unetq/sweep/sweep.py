"""`unetq sweep`: plan, train what is not finished, report."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from unetq.pipeline import report_runs
from unetq.sweep.board import Board, bar
from unetq.sweep.local import LocalPool, Machine
from unetq.sweep.plan import Job, SweepSpec, plan
from unetq.sweep.queue import Outcome, Queue

__all__ = ["Pool", "SweepOptions", "sweep"]

# Seconds between two looks at the running trainings.
LOOK = 1.0


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run, which does not change its results but for rounding.

    Attributes:
        workers: trainings at a time; 0 = one a GPU, else one for every 4 cores (with Ray: what the cluster holds).
        threads: of each training; 0 = the cores divided among the workers.
        ray: address of a Ray cluster, "local" for one on this machine, or None for processes without Ray.
    """

    workers: int = 0
    threads: int = 0
    ray: str | None = None


class Pool(Protocol):
    """Where runs are trained."""

    @property
    def free(self) -> int:
        """Runs that could be started now."""

    def start(self, job: Job) -> None:
        """Starts a run."""

    def wait(self, seconds: float) -> list[tuple[Job, Outcome]]:
        """The runs that ended, after at most `seconds`."""

    def stop(self) -> None:
        """Asks the running trainings to save themselves and end."""

    def close(self) -> None:
        """Ends everything at once."""


def sweep(spec: SweepSpec, options: SweepOptions | None = None) -> dict[str, Any]:
    """Trains every run that is not finished, then writes the report of the finished ones to OUT/report.

    A run that fails, or whose process is killed again and again, does not keep the others from being trained.

    Returns:
        {"out", "total": number of runs, "done": [folder], "failed": {folder: sentence}, "report": page or None}, and what
        `unetq.report.report.report` returns.

    Raises:
        UserError: nothing like that can be trained (`unetq.sweep.plan.plan`), or the finished runs fit no common report.
        KeyboardInterrupt: ctrl-C or SIGTERM; the running trainings were saved, and the same sweep goes on.
    """
    options = options or SweepOptions()
    jobs = plan(spec)
    queue = Queue(jobs, [job for job in jobs if job.finished])
    if queue.is_open:
        _train(queue, options)
    ended = {job.folder for job in queue.done}
    done = [job.folder for job in jobs if job.folder in ended]
    result: dict[str, Any] = {
        "out": str(spec.out),
        "total": len(jobs),
        "done": [str(folder) for folder in done],
        "failed": {str(folder): said for folder, said in queue.failed.items()},
        "report": None,
    }
    if done:
        report = spec.out / "report"
        with bar("export and time") as advance:
            result |= report_runs([_named(folder) for folder in done], report, advance=advance)
        result["report"] = str(report / "index.html")
    return result


def _train(queue: Queue, options: SweepOptions) -> None:
    with _term_as_ctrl_c():
        pool, workers = _pool(options)
        with Board(queue, workers) as board:
            try:
                _drain(queue, pool, board)
            except KeyboardInterrupt:
                board.say("Stopping: the running trainings save themselves; ctrl-C once more ends them at once.")
                _wind_up(queue, pool, board)
                done, count = len(queue.done), len(queue.jobs)
                raise KeyboardInterrupt(
                    f"Stopped: {done} of {count} runs are finished; the same command goes on with the others."
                ) from None
            finally:
                pool.close()


def _drain(queue: Queue, pool: Pool, board: Board) -> None:
    while queue.is_open:
        while pool.free and (job := queue.next(time.monotonic())):
            pool.start(job)
        board.update()
        for job, outcome in pool.wait(LOOK):
            board.settled(job, queue.settle(job, outcome, time.monotonic()))


def _wind_up(queue: Queue, pool: Pool, board: Board) -> None:
    """Waits until the running trainings are saved; a second ctrl-C waits no longer."""
    try:
        pool.stop()
        while queue.running:
            for job, outcome in pool.wait(LOOK):
                queue.settle(job, outcome, time.monotonic())
            board.update()
    except KeyboardInterrupt:
        board.say("Ended; what was trained since the last saves will be trained again.")


def _pool(options: SweepOptions) -> tuple[Pool, int]:
    if options.ray is None:
        machine = Machine.of(options.workers, options.threads)
        return LocalPool(machine), machine.workers
    from unetq.sweep.ray import RayPool

    pool = RayPool(options.ray, options.workers, options.threads)
    return pool, pool.workers


@contextmanager
def _term_as_ctrl_c() -> Iterator[None]:
    """A batch system ends a job with SIGTERM."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread
        former = {}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _named(folder: Path) -> Path:
    """A run's folder as a table is to name it: without what is above the working directory, which is another one elsewhere."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
