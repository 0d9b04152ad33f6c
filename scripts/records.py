"""Keeps what a report needs of finished runs, without weights and pictures, so that another machine goes on with a sweep.

    python scripts/records.py RUNS RECORDS

RUNS/<data set>/<setting>/ of `unetq sweep` -> RECORDS/<data set>/<setting>/. Paths of the machine are left out. Copied back into
the folder of a sweep, a record is a finished run: it is not trained again, and the report has its numbers.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from unetq.files import atomic_text

COPIED = ("config.yaml", "val.json", "test.json", "bench.json")
CLEANED = ("environment.json", "test_opened.jsonl")
# Keys whose values name places of a machine.
PLACES = ("command", "folder", "init_from")


def without_places(value: Any) -> Any:
    """The value with every key of `PLACES` left out, at any depth."""
    if isinstance(value, dict):
        return {key: without_places(inner) for key, inner in value.items() if key not in PLACES}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


def keep(run: Path, record: Path) -> None:
    """Writes the record of one finished run."""
    record.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (run / name).is_file():
            shutil.copyfile(run / name, record / name)
    for name in CLEANED:
        text = (run / name).read_text(encoding="utf-8")
        indent, parts = (None, text.splitlines()) if name.endswith("l") else (1, [text])
        lines = [json.dumps(without_places(json.loads(part)), indent=indent) + "\n" for part in parts]
        atomic_text(record / name, "".join(lines))


def main() -> None:
    """Keeps every finished run under RUNS."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("records", type=Path)
    args = parser.parse_args()
    finished = sorted(path.parent for path in args.runs.glob("*/*/test.json"))
    for run in finished:
        keep(run, args.records / run.parent.name / run.name)
    print(f"{len(finished)} records in {args.records}")


if __name__ == "__main__":
    main()
