"""A real Ray cluster on this machine, with two workers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.sweep.made import config, em, job, kill_once_saved, play, until
from unetq.errors import UserError
from unetq.sweep.board import Board
from unetq.sweep.plan import SweepSpec, plan
from unetq.sweep.queue import TRIES, Queue
from unetq.sweep.ray import RayPool
from unetq.sweep.sweep import _drain


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    pool = RayPool("local", workers=2, threads=1)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return em(tmp_path_factory.mktemp("data"))


def drain(pool: RayPool, queue: Queue) -> None:
    with Board(queue, pool.workers) as board:
        _drain(queue, pool, board)


def test_trainings_with_a_killed_worker(pool: RayPool, data: Path, tmp_path: Path) -> None:
    spec = SweepSpec(("em",), ("W4A6", "ternarynet"), configs=(config(tmp_path, 60),), data=data, out=tmp_path)
    jobs = plan(spec)
    twin = jobs[0].folder
    killer = threading.Thread(target=kill_once_saved, args=(twin,))
    killer.start()
    queue = Queue(jobs)
    drain(pool, queue)
    killer.join()
    assert not queue.failed and len(queue.done) == 3 and all(job.finished for job in jobs)
    environment = json.loads((twin / "environment.json").read_text())
    assert len(environment["resumed"]) == 1 and environment["threads"] == 1


def test_a_stopped_training_is_saved(pool: RayPool, data: Path, tmp_path: Path) -> None:
    path = Path(config(tmp_path, 100000))
    path.write_text(path.read_text().replace("save_every: 5", "save_every: 100000"))
    (wanted,) = plan(SweepSpec(("em",), ("float",), configs=(str(path),), data=data, out=tmp_path))
    pool.start(wanted)
    until((wanted.folder / "metrics.jsonl").is_file)
    pool.stop()
    ((ended, outcome),) = pool.wait(60.0)
    assert ended == wanted and outcome.kind == "stopped" and (wanted.folder / "last.pt").is_file()


def test_what_may_pass_is_retried_what_would_come_again_is_not(pool: RayPool, tmp_path: Path) -> None:
    light = object.__new__(RayPool)
    light.__dict__.update(pool.__dict__)
    light.use(play)
    names = ("killed", "unlucky", "broken", "refused", "well")
    queue = Queue([job(tmp_path, name) for name in names])
    drain(light, queue)
    assert sorted(j.folder.name for j in queue.done) == ["unlucky", "well"]
    failed = {folder.name: said for folder, said in queue.failed.items()}
    assert failed["killed"].startswith("its Ray worker ended") and failed["killed"].endswith(f"{TRIES} times")
    assert failed["broken"] == "ZeroDivisionError: a fault of the program" and failed["refused"] == "The data is gone."


JOIN = """
import sys
from unetq.sweep.ray import RayPool
pool = RayPool(sys.argv[1])
print(pool.workers, pool.threads, pool.free)
"""


def test_a_cluster_by_its_address(pool: RayPool) -> None:
    address = pool.ray.get_runtime_context().gcs_address
    done = subprocess.run([sys.executable, "-c", JOIN, address], capture_output=True, text=True, check=False)
    assert done.stdout == "1 2 1\n", done.stderr


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "nowhere.invalid:6379", "nowhere", "127.0.0.1:x", "127.0.0.1:70000"]
)
def test_no_cluster_is_a_sentence(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=f"^No Ray cluster can be used at {address} .*: start one, or leave --ray out"):
        RayPool(address)
    assert time.monotonic() - start < 30
