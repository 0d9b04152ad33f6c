"""The audit log: a JSON line an event, appended only; studies and models by their hash, never by name. No Streamlit in here."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unetq.errors import UserError
from unetq.files import make_folder

__all__ = ["Audit", "now", "show_time"]


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def show_time(time: str) -> str:
    """A time of `now` for a person.

    >>> show_time("2026-01-02T10:20:30+00:00")
    '2026-01-02 10:20 UTC'
    """
    return f"{time[:16].replace('T', ' ')} UTC"


class Audit:
    """The log audit.jsonl of a store."""

    def __init__(self, store: Path) -> None:
        self.path = store / "audit.jsonl"

    def write(self, event: str, user: str, **about: Any) -> None:
        """Appends an event in one write, so that lines of several sessions do not mix.

        Raises:
            UserError: the log cannot be written; what is not logged must not happen.
        """
        make_folder(self.path.parent)
        line = json.dumps({"time": now(), "event": event, "user": user, **about}) + "\n"
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            raise UserError(f"The audit log {self.path} cannot be written: {error.strerror}.") from None
