"""What a report found: settings as points of Dice against memory or time; no Streamlit in here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from unetq.errors import UserError
from unetq.report.recommend import front

__all__ = ["COSTS", "Case", "cases_of", "find_reports", "open_case", "points", "read_report"]

# Words on the page -> (column of table.json, unit's bytes or 1, unit).
COSTS = {
    "Memory of the parameters": ("bytes_honest", 1024.0, "KiB"),
    "Time of one image": ("ms_median", 1.0, "ms"),
    "Resident memory": ("peak_rss_bytes", 2.0**20, "MiB"),
}
MODELS = ("model.gguf", "best.pt")
NEEDED = ("label", "dataset", "dice_mean", "bytes_honest")


def find_reports(folders: Sequence[Path]) -> list[Path]:
    """The table.json files in the folders and below."""
    return sorted({path.resolve() for folder in folders if folder.is_dir() for path in folder.rglob("table.json")})


def read_report(path: Path) -> dict[str, Any]:
    """A report's table.json.

    Raises:
        UserError: no such file, or not one that `unetq report` wrote.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["rows"]
        whole = all(isinstance(row, dict) and all(row.get(key) is not None for key in NEEDED) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{path} is no table.json of a report: make it again with `unetq report`.")
    return dict(found)


def points(report: Mapping[str, Any], dataset: str, cost: str) -> list[dict[str, Any]]:
    """The settings of a data set that have a cost: setting, dice, cost in its unit, and whether no other beats it."""
    key, unit, _ = COSTS[cost]
    rows = [row for row in report["rows"] if row["dataset"] == dataset and row.get(key)]
    best = set(front([(row[key], row["dice_mean"]) for row in rows]))
    return [
        {
            "setting": row["label"],
            "dice": row["dice_mean"],
            "low": row.get("dice_low"),
            "high": row.get("dice_high"),
            "cost": row[key] / unit,
            "best": "on the front" if number in best else "beaten by another",
        }
        for number, row in enumerate(rows)
    ]


def cases_of(report: Mapping[str, Any], dataset: str, setting: str, base: Path) -> dict[str, float]:
    """Mean Dice of each test case over the runs of a setting, the worst first; {} where the run folders are gone.

    Args:
        report: of `read_report`.
        dataset: name of the data set.
        setting: label of the setting.
        base: folder of the report; relative run folders are below the current one, this one, or one above this.
    """
    values: dict[str, list[float]] = {}
    for folder in _runs(report, dataset, setting, base):
        try:
            cases = json.loads((folder / "test.json").read_text(encoding="utf-8"))["dice"]["per_case"]
            for case, dice in cases.items():
                values.setdefault(str(case), []).append(float(dice))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{folder / 'test.json'} is damaged: evaluate the run again.") from None
    means = {case: sum(found) / len(found) for case, found in values.items()}
    return dict(sorted(means.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class Case:
    """Files of a test case: image, truth, and the models of the setting that were tested on it."""

    image: Path
    truth: Path
    models: tuple[Path, ...]


def open_case(report: Mapping[str, Any], dataset: str, setting: str, base: Path, case: str) -> Case | None:
    """The files of a test case, by what the runs say of their data; None where they are gone. Arguments as of `cases_of`."""
    runs = _runs(report, dataset, setting, base)
    models = [next((run / name for name in MODELS if (run / name).is_file()), None) for run in runs]
    for run in runs:
        try:
            data = Path(json.loads((run / "environment.json").read_text(encoding="utf-8"))["data"]["folder"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        images = sorted(data.glob(f"imagesTr/{escape(case)}_0000.*"))
        truths = sorted(data.glob(f"labelsTr/{escape(case)}.*"))
        if images and truths:
            return Case(images[0], truths[0], tuple(model for model in models if model is not None))
    return None


def _runs(report: Mapping[str, Any], dataset: str, setting: str, base: Path) -> list[Path]:
    """Folders of a setting's runs, as far as they are there."""
    named = [
        run["run"] for run in report.get("runs", []) if (run.get("dataset"), run.get("label")) == (dataset, setting)
    ]
    starts = (Path(), base, *base.resolve().parents)
    found = [next((start / run for start in starts if (start / run / "test.json").is_file()), None) for run in named]
    return [folder for folder in found if folder is not None]
