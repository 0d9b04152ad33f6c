"""What a sweep reads of its runs to show how far they are."""

from __future__ import annotations

import json
from pathlib import Path

from tests.sweep.made import job
from unetq.sweep.board import seconds_left, steps_done
from unetq.sweep.queue import Queue


def test_steps_done(tmp_path: Path) -> None:
    wanted = job(tmp_path, "float")
    assert steps_done(wanted) == 0
    wanted.folder.mkdir(parents=True)
    metrics = wanted.folder / "metrics.jsonl"
    for text, steps in (
        ("", 0),
        ('{"step": 1, "lo', 0),
        ('{"step": 1}\n{"step": 2}\n{"st', 2),
        ('{"step": 7}\n' * 999, 7),
    ):
        metrics.write_text(text)
        assert steps_done(wanted) == steps


def test_time_left(tmp_path: Path) -> None:
    done, running, *others = [job(tmp_path, name) for name in "abcd"]  # 1000 steps each
    assert seconds_left(Queue([done, running, *others]), 2) is None
    done.folder.mkdir(parents=True)
    (done.folder / "test.json").write_text(json.dumps({"train_seconds": 100.0}))
    queue = Queue([done, running, *others], [done])
    assert queue.next(0.0) == running
    running.folder.mkdir()
    (running.folder / "metrics.jsonl").write_text('{"step": 500}\n')
    assert seconds_left(queue, 1) == 250.0 and seconds_left(queue, 2) == 125.0 and seconds_left(queue, 9) == 250.0 / 3
    assert (
        seconds_left(queue, 1, [("em", 100.0, 1000)]) == 250.0
        and seconds_left(queue, 1, [("em", 300.0, 1000)]) == 500.0
    )
    assert seconds_left(Queue([running]), 1, [("em", 1.0, 10)]) == 50.0
