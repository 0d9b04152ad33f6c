"""Which run is next: order, dependence on the float runs, and bounded retries. Pure: no processes, no files, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unetq.sweep.plan import Job

__all__ = ["Outcome", "Queue"]

# A killed worker's run is started so often in all: memory that another program took may be free again, but not for ever.
TRIES = 3
# Seconds until a run is asked for again that another process works on.
BUSY_PAUSE = 5.0


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended.

    Attributes:
        kind: done; failed = for a reason that would come again; busy = another process has it; lost = its process was
            killed; stopped = on request, saved.
        said: the reason, one sentence.
    """

    kind: Literal["done", "failed", "busy", "lost", "stopped"]
    said: str = ""


class Queue:
    """The runs of a sweep: waiting, running, done, failed. A finished run is done from the start."""

    def __init__(self, jobs: Iterable[Job], finished: Iterable[Job] = ()) -> None:
        ended = {job.folder for job in finished}
        self.jobs = {job.folder: job for job in jobs}
        self.done = [job for job in self.jobs.values() if job.folder in ended]
        self.waiting = [job for job in self.jobs.values() if job.folder not in ended]
        self.running: list[Job] = []
        self.failed: dict[Path, str] = {}
        self._lost: Counter[Path] = Counter()
        self._not_before: dict[Path, float] = {}

    @property
    def is_open(self) -> bool:
        """True while there is anything to start or to wait for."""
        return bool(self.waiting or self.running)

    def next(self, now: float) -> Job | None:
        """The first run that can start at the time `now` (seconds, of any clock); it counts as running then."""
        ready = {job.folder for job in self.done}
        for job in self.waiting:
            if (job.init_from is None or job.init_from in ready) and self._not_before.get(job.folder, now) <= now:
                self.waiting.remove(job)
                self.running.append(job)
                return job
        return None

    def settle(self, job: Job, outcome: Outcome, now: float) -> Outcome:
        """Takes note of how an attempt ended; returns what became of the run: a run lost too often has failed."""
        self.running.remove(job)
        if outcome.kind == "lost":
            self._lost[job.folder] += 1
            if self._lost[job.folder] >= TRIES:
                outcome = Outcome("failed", f"{outcome.said} {TRIES} times")
        if outcome.kind == "done":
            self.done.append(job)
        elif outcome.kind == "failed":
            self._fail(job, outcome.said)
        else:
            self.waiting.insert(0, job)
            if outcome.kind == "busy":
                self._not_before[job.folder] = now + BUSY_PAUSE
        return outcome

    def _fail(self, job: Job, said: str) -> None:
        """A failed float run takes those with it that start from it."""
        self.failed[job.folder] = said
        for other in [other for other in self.waiting if other.init_from == job.folder]:
            self.waiting.remove(other)
            self.failed[other.folder] = f"not started, for {job.name} failed"
