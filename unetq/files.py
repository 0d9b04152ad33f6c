"""Writing that leaves nothing half done: to a temporary name in the same folder, then a rename."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unetq.errors import UserError

__all__ = ["atomic", "atomic_text", "make_folder"]


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and is deleted when it does not.

    The temporary name keeps the suffixes, because many writers choose the format by them.

    Raises:
        UserError: the folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:  # a disk that fills up is noticed here, not after the rename
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_text(path: Path | str, text: str) -> None:
    """Writes a UTF-8 text file by `atomic`."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path | str) -> Path:
    """Makes a folder and its parents, if they are not there.

    Raises:
        UserError: a file is in the way, or the parent is read-only.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path}: {error.strerror}.") from error
    return path
