"""Reads run folders: what was trained, how it scored, what it costs. No torch, nothing is measured here."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unetq.cost import net_cost
from unetq.errors import UserError
from unetq.graph import layout
from unetq.spec import SCHEMES, NetSpec, from_mapping, load_yaml

__all__ = ["RunRecord", "Row", "collect", "group_by_dataset", "read_run", "reference_of", "row_of", "rows_of"]

Row = dict[str, Any]


@dataclass(frozen=True)
class RunRecord:
    """One run folder, read.

    Attributes:
        label: name in tables: the setting (W4A6), with the folder's name where two runs have one setting.
        test: test.json: dataset, split, engine, n_cases, n_empty, dice {mean, std, per_case}.
        bench: bench.json, or None where nothing was timed.
        environment: environment.json: versions, commit, data {folder, name, hash}.
        model_bytes: size of model.gguf, or None where the run has none.
    """

    folder: Path
    label: str
    net: NetSpec
    seed: int | None
    test: Mapping[str, Any]
    bench: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    model_bytes: int | None

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.test["dataset"])

    @property
    def per_case(self) -> Mapping[str, float]:
        """Dice by test case."""
        cases: Mapping[str, float] = self.test["dice"]["per_case"]
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
    model = folder / "model.gguf"
    return RunRecord(
        folder=folder,
        label=net.quant.label,
        net=net,
        seed=config.get("seed"),
        test=test,
        bench=_json(folder / "bench.json"),
        environment=_json(folder / "environment.json") or {},
        model_bytes=model.stat().st_size if model.is_file() else None,
    )


def collect(folders: Sequence[Path]) -> list[RunRecord]:
    """Reads all runs and gives each a label of its own.

    Raises:
        UserError: no run, one run twice, or runs of one data set that were scored on different cases.
    """
    if not folders:
        raise UserError("Name at least one run folder for the report.")
    counts = Counter(Path(folder).resolve() for folder in folders)
    twice = next((path for path, n in counts.items() if n > 1), None)
    if twice:
        raise UserError(f"{twice} is named twice; name each run once.")
    runs = [read_run(folder) for folder in folders]
    for group in group_by_dataset(runs).values():
        _check_comparable(group)
    alike = Counter((run.dataset, run.label) for run in runs)
    return [_named(run) if alike[run.dataset, run.label] > 1 else run for run in runs]


def group_by_dataset(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by data set, in the order of the first run of each; numbers of two data sets never share a table."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def reference_of(group: Sequence[RunRecord]) -> RunRecord:
    """The run that the others are compared with: the float one if there is one, else the first."""
    return next((run for run in group if run.net.quant.is_float), group[0])


def rows_of(runs: Sequence[RunRecord]) -> list[Row]:
    """One row a run; `dice_delta` is the mean difference to the reference run of its data set, case by case."""
    groups = group_by_dataset(runs)
    return [row_of(run, reference_of(groups[run.dataset])) for run in runs]


def row_of(run: RunRecord, reference: RunRecord) -> Row:
    """The numbers of one run; None where something was not measured. Bytes are bytes, times are ms, Dice is 0 to 1."""
    bench = run.bench or {}
    size = image_size(bench)
    cost = net_cost(layout(run.net), size)
    quant = run.net.quant
    scheme = next(
        (n for n, pair in SCHEMES.items() if pair == (quant.weights, quant.acts)), f"{quant.weights}/{quant.acts}"
    )
    delta = float(np.mean([run.per_case[case] - reference.per_case[case] for case in run.per_case]))
    return {
        "run": str(run.folder),
        "label": run.label,
        "dataset": run.dataset,
        "split": run.test["split"],
        "engine": run.test["engine"],
        "quantizer": scheme,
        "wbits": quant.wbits,
        "abits": quant.abits,
        "seed": run.seed,
        "commit": run.environment.get("commit"),
        "n_cases": run.test["n_cases"],
        "n_empty": run.test.get("n_empty", 0),
        "dice_mean": run.test["dice"]["mean"],
        "dice_std": run.test["dice"]["std"],
        "dice_delta": None if run is reference else delta,
        "parameters": cost.parameters,
        "bytes_float32": cost.bytes_float32,
        "bytes_nominal": cost.bytes_nominal,
        "bytes_honest": cost.bytes_honest,
        "bytes_file": run.model_bytes,
        "peak_activation_bytes": cost.peak_activation_bytes,
        "peak_rss_bytes": bench.get("peak_rss_bytes"),
        "ms_median": bench.get("ms_median"),
        "size": f"{size[0]}x{size[1]}",
        "isa": bench.get("isa"),
        "threads": bench.get("threads"),
    }


def image_size(bench: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of a bench result, whether written as "512x512" or as a list; 512x512 where nothing was timed."""
    size = bench.get("size", "512x512")
    numbers = re.findall(r"\d+", size) if isinstance(size, str) else list(size)
    if len(numbers) != 2:
        raise UserError(f"bench.json has the size {size!r}, but it must be height x width.")
    return int(numbers[0]), int(numbers[1])


def _named(run: RunRecord) -> RunRecord:
    return RunRecord(**{**run.__dict__, "label": f"{run.label} ({run.folder.name})"})


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


def _check_comparable(group: Sequence[RunRecord]) -> None:
    first = group[0]
    for run in group[1:]:
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
