"""What the viewer's server was started with; no Streamlit in here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Settings", "default_store"]


def default_store() -> Path:
    """Folder of reviews, corrections and audit log where none is named: XDG_DATA_HOME/unetq, else ~/.local/share/unetq."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "unetq"


@dataclass(frozen=True)
class Settings:
    """Choices of a server.

    Attributes:
        models: folders with model files, runs and reports.
        root: the folder below which studies may be opened by path.
        store: folder of reviews, corrections and audit log.
        password: file with a password's hash (`unetq.app.gate`), or None where no password is asked for.
        proxy_header: HTTP header in which a reverse proxy names the user, or "".
    """

    models: tuple[Path, ...] = ()
    root: Path = Path()
    store: Path = Path()
    password: Path | None = None
    proxy_header: str = ""

    def arguments(self) -> list[str]:
        """The words that `parse` reads again, paths made absolute."""
        words = [part for folder in self.models for part in ("--models", str(folder.resolve()))]
        words += ["--root", str(self.root.resolve()), "--store", str(self.store.resolve())]
        if self.password is not None:
            words += ["--password", str(self.password.resolve())]
        return words + (["--proxy-header", self.proxy_header] if self.proxy_header else [])

    @staticmethod
    def parse(arguments: Sequence[str]) -> Settings:
        """Settings of a server's own command line; what it does not know is passed over."""
        parser = argparse.ArgumentParser(allow_abbrev=False)
        parser.add_argument("--models", action="append", default=[], type=Path)
        parser.add_argument("--root", type=Path, default=Path.cwd())
        parser.add_argument("--store", type=Path, default=default_store())
        parser.add_argument("--password", type=Path)
        parser.add_argument("--proxy-header", default="")
        known, _ = parser.parse_known_args(list(arguments))
        return Settings(tuple(known.models), known.root, known.store, known.password, known.proxy_header)

    @property
    def readable(self) -> tuple[Path, ...]:
        """Folders below which files may be opened."""
        return (self.root, *self.models)
