"""Runs in worker processes: kill -9, ctrl-C, errors; and that a second start trains nothing twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.made import config, em, job, kill_once_saved, play, until
from unetq.sweep import sweep as sweep_module
from unetq.sweep.job import claimed, run_job
from unetq.sweep.local import LocalPool, Machine
from unetq.sweep.plan import SweepSpec
from unetq.sweep.queue import TRIES, Outcome, Queue
from unetq.sweep.sweep import SweepOptions, sweep

ONE = SweepOptions(workers=1, threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return em(tmp_path_factory.mktemp("data"))


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The runs of each report, which has tests of its own."""
    calls: list[list[str]] = []

    def report(runs: list[Path], out: Path, **_: Any) -> dict[str, Any]:
        calls.append([run.name for run in runs])
        return {"rows": []}

    monkeypatch.setattr(sweep_module, "report_runs", report)
    return calls


def steps(run: Path) -> list[int]:
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry["step"] for entry in entries if "loss" in entry]


def test_kill_9_a_failure_and_a_second_start(
    data: Path, tmp_path: Path, reported: list[list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs/em"
    spec = SweepSpec(("em",), ("W4A6", "W2A2"), configs=(config(tmp_path, 60),), data=data, out=tmp_path / "runs")
    runs.mkdir(parents=True)
    (runs / "W2A2-f0-s0").write_text("in the way")
    killer = threading.Thread(target=kill_once_saved, args=(runs / "float-f0-s0",))
    killer.start()
    result = sweep(spec, ONE)
    killer.join()

    said = capfd.readouterr()
    assert said.out == "" and "float-f0-s0: its process was ended by signal 9" in said.err
    assert "[2 of 3] em/W4A6-f0-s0 is finished: best validation Dice 0." in said.err
    assert [Path(run).name for run in result["done"]] == ["float-f0-s0", "W4A6-f0-s0"]
    (failure,) = result["failed"].items()
    assert Path(failure[0]).name == "W2A2-f0-s0" and failure[1].startswith("Cannot make the folder")
    assert reported == [["float-f0-s0", "W4A6-f0-s0"]]

    environment = json.loads((runs / "float-f0-s0/environment.json").read_text())
    assert len(environment["resumed"]) == 1 and environment["threads"] == 1, "the retry went on from the last save"
    assert steps(runs / "float-f0-s0") == list(range(1, 61))
    assert not (runs / "W4A6-f0-s0/float").exists(), "one float run serves all"
    assert not list(runs.glob("*/.*")), "nothing half written is left"

    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    (runs / "W2A2-f0-s0").unlink()
    (runs / "W2A2-f0-s0").mkdir()
    again = sweep(replace(spec, settings=("W4A6",)), ONE)
    assert len(again["done"]) == again["total"] == 2 and not again["failed"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if "W2A2" not in path.name)


def test_ctrl_c_and_the_second_start_goes_on(data: Path, tmp_path: Path, reported: list[list[str]]) -> None:
    """At a terminal ctrl-C reaches every process of the group; the run is saved, and not by luck of `save_every`."""
    out, run = tmp_path / "runs", tmp_path / "runs/em/float-f0-s0"
    path = Path(config(tmp_path, 150))
    path.write_text(path.read_text().replace("save_every: 5", "save_every: 100000"))
    options = ["--settings", "float", "--config", path, "--data", data, "--out", out, "--workers", 1, "--threads", 1]
    command = [sys.executable, "-m", "unetq.cli", "sweep", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: process.poll() is not None or ((run / "metrics.jsonl").is_file() and steps(run)))
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Stopped: 0 of 1 runs are finished; the same command goes on" in said and "Traceback" not in said
    assert (run / "last.pt").is_file() and not (run / "test.json").exists()

    spec = SweepSpec(("em",), ("float",), configs=(str(path),), data=data, out=out)
    assert sweep(spec, ONE)["done"] == [str(run)]
    assert steps(run) == list(range(1, 151)) and reported == [["float-f0-s0"]]
    assert len(json.loads((run / "environment.json").read_text())["resumed"]) == 1


def drain(pool: LocalPool, queue: Queue) -> dict[str, str]:
    """Name -> how each run ended, through the loop of a sweep."""
    with sweep_module.Board(queue, 1) as board:
        try:
            sweep_module._drain(queue, pool, board)
        finally:
            pool.close()
    ended = {j.folder.name: "done" for j in queue.done}
    return ended | {folder.name: said for folder, said in queue.failed.items()}


def test_what_may_pass_is_retried_what_would_come_again_is_not(tmp_path: Path) -> None:
    names = ("killed", "unlucky", "broken", "refused", "well")
    jobs = [job(tmp_path, name) for name in names] + [job(tmp_path, "child", tmp_path / "em/refused")]
    ended = drain(LocalPool(Machine(2, 1), play), Queue(jobs))
    assert ended["unlucky"] == ended["well"] == "done"
    assert (
        ended["killed"].startswith("its process was ended by signal 9 (Killed)")
        and f" {TRIES} times" in ended["killed"]
    )
    assert ended["broken"] == f"ZeroDivisionError: a fault of the program (see {tmp_path}/em/broken.log)"
    assert ended["refused"] == "The data is gone." and ended["child"] == "not started, for em/refused failed"
    tries = {path.stem: path.stat().st_size for path in (tmp_path / "em").glob("*.tries")}
    assert tries == {"killed": TRIES, "unlucky": 2, "broken": 1, "refused": 1, "well": 1}
    assert [path.stem for path in (tmp_path / "em").glob("*.log") if path.stat().st_size] == ["broken"]


def test_stop_and_workers_that_outlive_their_sweep(tmp_path: Path) -> None:
    pool = LocalPool(Machine(1, 1), play)
    pool.start(job(tmp_path, "long"))
    until((tmp_path / "em/long.tries").is_file)
    pool.stop()
    assert pool.wait(60.0) == [(job(tmp_path, "long"), Outcome("stopped", "saved"))]
    pool.close()

    parent = multiprocessing.get_context("spawn").Process(target=orphan, args=(tmp_path,))
    parent.start()
    parent.join()
    worker = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{worker}").exists() or " Z " in Path(f"/proc/{worker}/stat").read_text(), 10.0)


def orphan(folder: Path) -> None:
    """A sweep that is killed while its worker is at work."""
    pool = LocalPool(Machine(1, 1), play)
    pool.start(job(folder, "long"))
    until(lambda: (folder / "em/long.tries").stat().st_size == 2)
    (folder / "pid").write_text(str(next(iter(pool._busy)).process.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def hold(run: Path, held: Any) -> None:
    with claimed(run) as mine:
        held.send(mine)
        signal.pause()


def test_two_processes_never_train_one_run_and_a_dead_one_lets_go(tmp_path: Path) -> None:
    wanted = job(tmp_path, "float")
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(wanted.folder, theirs))
    process.start()
    assert ours.recv() is True
    assert run_job(wanted, 1).kind == "busy" and not wanted.folder.exists()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with claimed(wanted.folder) as mine:
        assert mine


def test_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Machine.of() == Machine(4, 4) and Machine.of(3) == Machine(3, 5) and Machine.of(32) == Machine(32, 1)
    assert Machine.of(2, 3) == Machine(2, 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert Machine.of() == Machine(2, 8, ("1", "3"))


def test_a_table_names_runs_as_seen_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_module._named(tmp_path / "runs/em/float-f0-s0") == Path("runs/em/float-f0-s0")
    assert sweep_module._named(Path("/elsewhere/em")) == Path("/elsewhere/em")
