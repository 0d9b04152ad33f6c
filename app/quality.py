"""Quality control: verdicts on studies, kept in SQLite at once; no Streamlit in here."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from unetq.errors import UserError
from unetq.files import make_folder

__all__ = ["VERDICTS", "Review", "Reviews", "changed_at", "csv_of"]

VERDICTS = ("pass", "fail", "comment")
TABLE = """CREATE TABLE IF NOT EXISTS reviews (number INTEGER PRIMARY KEY, time TEXT NOT NULL, user TEXT NOT NULL,
study TEXT NOT NULL, name TEXT NOT NULL, models TEXT NOT NULL, verdict TEXT NOT NULL, comment TEXT NOT NULL)"""
# Where a study was opened: a list of files knows no hashes, and many a series has the same name as others.
PLACES = """CREATE TABLE IF NOT EXISTS places (path TEXT PRIMARY KEY, changed INTEGER NOT NULL, study TEXT NOT NULL)"""
# A spreadsheet takes a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Review:
    """One verdict.

    Attributes:
        time: UTC, ISO 8601.
        study: its hash.
        name: the study's name as it was opened.
        models: names of the models that were shown, with commas.
        verdict: one of `VERDICTS`.
    """

    time: str
    user: str
    study: str
    name: str
    models: str
    verdict: str
    comment: str = ""


COLUMNS = tuple(field.name for field in fields(Review))


class Reviews:
    """The reviews of a store; every call opens the file anew, so that sessions do not wait for each other."""

    def __init__(self, store: Path) -> None:
        self.path = store / "reviews.sqlite"

    def add(self, review: Review) -> None:
        """Saves a verdict; earlier ones of the same study stay.

        Raises:
            UserError: the file is damaged or cannot be written.
        """
        if review.verdict not in VERDICTS:
            raise ValueError(f"The verdict {review.verdict} is none of {VERDICTS}.")
        with self._open() as database:
            places = ", ".join("?" * len(COLUMNS))
            database.execute(f"INSERT INTO reviews ({', '.join(COLUMNS)}) VALUES ({places})", astuple(review))

    def all(self, verdict: str | None = None) -> list[Review]:
        """All verdicts, or those of one kind, the latest first."""
        if not self.path.is_file():
            return []
        with self._open() as database:
            rows = database.execute(f"SELECT {', '.join(COLUMNS)} FROM reviews ORDER BY number DESC").fetchall()
        reviews = [Review(*row) for row in rows]
        return [review for review in reviews if verdict in (None, review.verdict)]

    def of(self, study: str) -> list[Review]:
        """The verdicts on a study, the latest first."""
        return [review for review in self.all() if review.study == study]

    def verdicts(self) -> dict[str, str]:
        """Hash of a study -> its latest pass or fail."""
        return {review.study: review.verdict for review in reversed(self.all()) if review.verdict != "comment"}

    def place(self, path: Path, changed: int, study: str) -> None:
        """Remembers which study lies at a path, as long as the file there is not changed (ns)."""
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", (str(path), changed, study))

    def places(self) -> dict[Path, str]:
        """Path -> hash of the study that was opened there, of the files that are as they were."""
        if not self.path.is_file():
            return {}
        with self._open() as database:
            rows = database.execute("SELECT path, changed, study FROM places").fetchall()
        return {Path(path): study for path, changed, study in rows if changed == changed_at(Path(path))}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        make_folder(self.path.parent)
        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
                database.execute(TABLE)
                database.execute(PLACES)
                yield database
        except sqlite3.Error as error:
            raise UserError(f"The reviews in {self.path} cannot be read or written: {error}.") from None


def changed_at(path: Path) -> int:
    """When a file or folder was changed, ns; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def csv_of(reviews: Sequence[Review]) -> str:
    """The reviews as CSV with a header line; what a spreadsheet would take for a formula gets an apostrophe before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for review in reviews:
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in astuple(review)])
    return out.getvalue()
