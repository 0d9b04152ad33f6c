"""A run folder and what is written to it; no torch in here.

config.yaml, environment.json, metrics.jsonl, tb/, last.pt, best.pt, val.json, test.json, test_masks/, test_opened.jsonl.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unetq.errors import UserError
from unetq.files import atomic_text, make_folder
from unetq.train.config import TrainConfig, load_config, save_config

__all__ = ["RunFolder", "environment", "read_json", "record_test_opening"]

PACKAGES = ("unetq", "torch", "numpy", "monai", "nibabel")


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config, self.environment = self.path / "config.yaml", self.path / "environment.json"
        self.metrics, self.tensorboard = self.path / "metrics.jsonl", self.path / "tb"
        self.last, self.best = self.path / "last.pt", self.path / "best.pt"
        self.val, self.test, self.masks = self.path / "val.json", self.path / "test.json", self.path / "test_masks"

    @property
    def twin(self) -> RunFolder:
        """The float run that a quantized one starts from."""
        return RunFolder(self.path / "float")

    @property
    def finished(self) -> bool:
        """True once the test split is scored, which is the last thing a training does."""
        return self.test.is_file()

    def check(self, config: TrainConfig, resume: bool) -> None:
        """Refuses to touch a run unless it is to be resumed as it is.

        Raises:
            UserError: the folder holds a run and `resume` was not asked for, or the run is of another configuration.
        """
        if self.config.is_file():
            if not resume:
                hint = "is finished" if self.finished else f"is unfinished (go on with `--resume {self.path}`)"
                raise UserError(f"The run in {self.path} {hint}; choose another folder for a new one.")
            if load_config(self.config) != config:
                raise UserError(f"The run in {self.path} has another configuration: resume it without other options.")

    def claim(self, config: TrainConfig, now: dict[str, Any]) -> None:
        """Makes the folder of a new run, or adds this session to the environment of a resumed one.

        Raises:
            UserError: the data has changed since the run was started, or the folder cannot be made.
        """
        if not self.config.is_file():
            make_folder(self.path)
            self.write_json(self.environment, {**now, "resumed": []})
            save_config(config, self.config)
            return
        first = read_json(self.environment)
        if first["data"]["hash"] != now["data"]["hash"]:
            folder = now["data"]["folder"]
            raise UserError(f"The data in {folder} is not the data that the run in {self.path} was started with.")
        first["resumed"].append(now)
        self.write_json(self.environment, first)

    def rewind(self, step: int) -> None:
        """Drops the metrics of steps after `step`: a resumed run makes them again."""
        if self.metrics.is_file():
            kept = []
            for line in self.metrics.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # cut short by a kill
                if entry["step"] <= step:
                    kept.append(line + "\n")
            atomic_text(self.metrics, "".join(kept))

    def log(self, **entry: Any) -> None:
        """Appends a line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def write_json(self, path: Path, values: dict[str, Any]) -> None:
        """Writes a JSON file of the run, whole or not at all."""
        atomic_text(path, json.dumps(values, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object of a run.

    Raises:
        UserError: missing or damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path} is missing or damaged: {path.parent} is not a complete run.")
    return values


def record_test_opening(run: Path, engine: str) -> int:
    """Notes that the test split is scored with a run's weights; returns how often that has happened by now.

    A number that was looked at more than once is no longer a test result: the record lets a reader see it.
    """
    path = run / "test_opened.jsonl"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": _now(), "engine": engine, "command": sys.argv}) + "\n")
        return len(path.read_text(encoding="utf-8").splitlines())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def environment(data: dict[str, str], **more: Any) -> dict[str, Any]:
    """Versions, processor, data and command of this process; `data` is {"folder", "name", "hash"}."""
    return {
        "started": _now(),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "data": data,
        **more,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Commit of the source tree that runs, with "-dirty" if it was changed; None for an installed package."""
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
