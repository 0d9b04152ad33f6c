"""What a sweep shows on standard error: how many runs are done, which are running, how long it will take."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from unetq.sweep.plan import Job
from unetq.sweep.queue import Outcome, Queue
from unetq.train.runlog import RunFolder

__all__ = ["Board", "bar", "seconds_left", "show_time", "steps_done"]

TAIL = 4096


class Board:
    """One bar for all runs, counted in steps, and one for each that is running."""

    def __init__(self, queue: Queue, workers: int) -> None:
        self.queue, self.workers = queue, workers
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
        )
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.all = self.progress.add_task("all runs", total=len(queue.jobs), more="")
        self.rows: dict[Path, TaskID] = {}
        self.seen: dict[Path, tuple[float, int]] = {}  # of a running training: when and where it was first seen

    def __enter__(self) -> Board:
        self.progress.start()
        self.update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def say(self, line: str) -> None:
        """A line above the bars, which stays."""
        self.console.print(line, markup=False, soft_wrap=True)

    def settled(self, job: Job, outcome: Outcome) -> None:
        """Says what became of a run."""
        count = f"[{len(self.queue.done)} of {len(self.queue.jobs)}]"
        if outcome.kind == "done":
            self.say(f"{count} {job.name} is finished: best validation Dice {best_dice(job)}")
        elif outcome.kind == "failed":
            self.say(f"{count} {job.name} failed: {outcome.said}")
            hurt = sum(other.init_from == job.folder for other in self.queue.jobs.values())
            if hurt:
                self.say(f"{count} {hurt} runs that start from it are left out")
        elif outcome.kind == "lost":
            self.say(f"{count} {job.name}: {outcome.said}; it goes on from its last save")
        self.update()

    def update(self) -> None:
        """Reads how far the running trainings are."""
        queue = self.queue
        for folder in [folder for folder in self.rows if folder not in {job.folder for job in queue.running}]:
            self.progress.remove_task(self.rows.pop(folder))
            self.seen.pop(folder, None)
        paces = []
        for job in queue.running:
            if job.folder not in self.rows:
                self.rows[job.folder] = self.progress.add_task(job.name, total=job.config.steps, more="")
            now, steps = time.monotonic(), steps_done(job)
            self.progress.update(self.rows[job.folder], completed=steps)
            if steps:
                since, first = self.seen.setdefault(job.folder, (now, steps))
                paces.append((job.config.dataset, now - since, steps - first))
        counts = f"{len(queue.running)} running" + (f", {len(queue.failed)} failed" if queue.failed else "")
        left = seconds_left(queue, self.workers, paces)
        more = counts if left is None else f"{counts}, about {show_time(left)} left"
        self.progress.update(self.all, completed=len(queue.done), more=more)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; the callable takes (done, total)."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def steps_done(job: Job) -> int:
    """Steps of a run so far, by the last whole line of its metrics."""
    try:
        with RunFolder(job.folder).metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def seconds_left(queue: Queue, workers: int, paces: Sequence[tuple[str, float, int]] = ()) -> float | None:
    """Time that the runs which are not finished will take; None before anything was trained.

    Args:
        queue: of the sweep; its finished runs say what a step of their data set takes.
        workers: trainings at a time.
        paces: data set, seconds and steps of the running trainings.
    """
    records = [(job.config.dataset, _json(RunFolder(job.folder).test), job.config.steps) for job in queue.done]
    paces = [*paces, *((name, float(record.get("train_seconds", 0.0)), steps) for name, record, steps in records)]
    spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for dataset, seconds, steps in paces:
        for name in (dataset, ""):
            spent[name][0] += seconds
            spent[name][1] += steps
    left = 0.0
    for job in (*queue.running, *queue.waiting):
        seconds, count = spent[job.config.dataset] if spent[job.config.dataset][1] else spent[""]
        if not count:
            return None
        left += max(0, job.config.steps - steps_done(job)) * seconds / count
    return left / max(1, min(workers, len(queue.running) + len(queue.waiting)))


def show_time(seconds: float) -> str:
    """Seconds in words.

    >>> show_time(42), show_time(3000), show_time(9000)
    ('42 s', '50 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def best_dice(job: Job) -> str:
    """Best validation Dice of a run, as text. The test split is for the report only: nobody tunes by it on the way."""
    dice = _json(RunFolder(job.folder).val).get("dice") or {}
    return f"{dice.get('mean', float('nan')):.4f}"


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
