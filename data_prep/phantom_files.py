"""Made-up studies go to a user's folder all or none, and never over other files, which may be real."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from unetq.errors import UserError

__all__ = ["put"]


def put(out: Path, tops: Sequence[str], write: Callable[[Path], None]) -> None:
    """Writes files into a temporary folder, then moves them to `out`.

    Args:
        out: a folder.
        tops: patterns of what such studies are called at its top.
        write: writes the files into the folder that it is given.

    Raises:
        UserError: `out` holds other files behind `tops`, or cannot be written.
    """
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=".phantom-", dir=out))
        write(temporary)
        made = {path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()}
        found = [path for top in tops for path in out.glob(top)]
        there = {path.relative_to(out) for top in found for path in (top, *top.rglob("*")) if path.is_file()}
        for name in sorted(there):
            if name not in made or not filecmp.cmp(out / name, temporary / name, shallow=False):
                raise UserError(
                    f"{out / name} is there already and may be real data: name another folder for the phantom."
                )
        for name in sorted(made - there):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).rename(out / name)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the folder is read-only or the disk is full"
        raise UserError(f"Cannot write the phantom into {out}: {reason}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
