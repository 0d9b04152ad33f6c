"""Reads run folders: what was trained, how it scored, what it costs. No torch, nothing is measured here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetq.errors import UserError
from unetq.spec import NetSpec, from_mapping, load_yaml

__all__ = ["RunRecord", "collect", "group_by_dataset", "read_run"]

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class RunRecord:
    """One run folder, read.

    Attributes:
        config: config.yaml as it stands there.
        test: test.json: dataset, split, engine, n_cases, n_empty, dice {mean, std, per_case}; classes, v_rand and subjects, where
            the data has them.
        val: val.json, or {} where the run has none.
        bench: bench.json, or None where nothing was timed.
        environment: environment.json: versions, commit, data {folder, name, hash}.
        model_bytes: size of model.gguf, or what bench.json says it was; None where the run has neither.
    """

    folder: Path
    net: NetSpec
    config: Mapping[str, Any]
    test: Mapping[str, Any]
    val: Mapping[str, Any]
    bench: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    model_bytes: int | None

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.test["dataset"])

    @property
    def fold(self) -> int:
        """Which split of the data set."""
        return int(self.test.get("fold", self.config.get("fold", 0)))

    @property
    def seed(self) -> int | None:
        """Seed of the training."""
        return self.config.get("seed")

    @property
    def per_case(self) -> Mapping[str, float]:
        """Dice by test case."""
        cases: Mapping[str, float] = self.test["dice"]["per_case"]
        return cases

    def scores(self, *measure: str, split: str = "test") -> Scores:
        """A measure by case, like `scores("classes", "membrane", "dice")`; {} where it was not taken."""
        values: Any = self.test if split == "test" else self.val
        for name in measure:
            values = values.get(name) or {}
        cases: Scores = values.get("per_case", {})
        return cases

    @property
    def data(self) -> Path | None:
        """The prepared data folder that the run was scored on, as recorded."""
        folder = self.environment.get("data", {}).get("folder")
        return Path(folder) if folder else None

    @property
    def data_hash(self) -> str | None:
        """Hash of the images, labels and splits that the run was trained and scored on."""
        value = self.environment.get("data", {}).get("hash")
        return str(value) if value else None

    @property
    def test_openings(self) -> int | None:
        """How often the test split was scored with this run's weights, or None where nobody counted."""
        path = self.folder / "test_opened.jsonl"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else None


def read_run(folder: Path | str) -> RunRecord:
    """Reads one run folder.

    Raises:
        UserError: not a run, not scored on the test split yet, or a damaged file in it.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is not a run folder: it has no config.yaml.")
    config = load_yaml(folder / "config.yaml")
    net = from_mapping(NetSpec, config.get("net", {}), f"{folder / 'config.yaml'}, net")
    test = _json(folder / "test.json")
    if test is None:
        raise UserError(
            f"{folder} has no test.json: finish its training, or run `unetq evaluate {folder} --split test`."
        )
    _check_test(test, folder / "test.json")
    model, bench = folder / "model.gguf", _json(folder / "bench.json")
    return RunRecord(
        folder=folder,
        net=net,
        config=config,
        test=test,
        val=_json(folder / "val.json") or {},
        bench=bench,
        environment=_json(folder / "environment.json") or {},
        model_bytes=model.stat().st_size if model.is_file() else (bench or {}).get("bytes_file"),
    )


def collect(folders: Sequence[Path]) -> list[RunRecord]:
    """Reads all runs.

    Raises:
        UserError: no run, one run twice, or runs of one data set and fold that were scored on different cases.
    """
    if not folders:
        raise UserError("Name at least one run folder for the report.")
    counts = Counter(Path(folder).resolve() for folder in folders)
    twice = next((path for path, n in counts.items() if n > 1), None)
    if twice:
        raise UserError(f"{twice} is named twice; name each run once.")
    runs = [read_run(folder) for folder in folders]
    first: dict[tuple[str, int], RunRecord] = {}
    for run in runs:
        _check_comparable(run, first.setdefault((run.dataset, run.fold), run))
    return runs


def group_by_dataset(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by data set, in the order of the first run of each; numbers of two data sets never share a mean."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def _json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None where there is no file."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {error}.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold a JSON object.")
    return values


def _check_test(test: Mapping[str, Any], path: Path) -> None:
    missing = [key for key in ("dataset", "split", "engine", "n_cases", "dice") if key not in test]
    missing += [f"dice.{key}" for key in ("mean", "std", "per_case") if key not in test.get("dice", {})]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}: run `unetq evaluate` again.")
    if not test["dice"]["per_case"]:
        raise UserError(f"{path} holds no test case, so there is nothing to report.")


def _check_comparable(run: RunRecord, first: RunRecord) -> None:
    if run.test["split"] != first.test["split"] or set(run.per_case) != set(first.per_case):
        raise UserError(
            f"{run.folder} and {first.folder} were scored on different cases of {run.dataset}, so their Dice "
            "cannot stand in one table: evaluate both on the same data and split, or report them apart."
        )
    if run.data_hash and first.data_hash and run.data_hash != first.data_hash:
        raise UserError(
            f"{run.folder} and {first.folder} were scored on different images of {run.dataset} (the data's hashes "
            "differ), so their Dice cannot stand in one table: report them apart."
        )
