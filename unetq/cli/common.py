"""What all verbs share: output, progress, and options that mean the same everywhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

__all__ = ["Data", "Json", "Threads", "emit", "note", "progress", "verbs"]

# A table that goes to a file is not to be cut to a terminal's width.
note = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 180)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of the data; else $UNETQ_DATA, else ./data.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads; 0 = the physical cores.")]


def verbs(name: str | None, help: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(name=name, help=help, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, or with UNETQ_PROGRESS=lines lines of `done/total` for a program that reads them.

    The callable takes (done, total).
    """
    if os.environ.get("UNETQ_PROGRESS") == "lines":
        yield lambda done, total: print(f"{done}/{total}", file=sys.stderr, flush=True)
        return
    with Progress(*Progress.get_default_columns(), console=note, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def emit(result: dict[str, Any], as_json: bool, *lines: str) -> None:
    """The result as JSON on standard output, or lines for a person on standard error."""
    if as_json:
        print(json.dumps(result, indent=1))
    else:
        for line in lines:
            note.print(line, markup=False, soft_wrap=True)
