"""A file from the net: gone on with where it broke off, verified before it gets its name (pooch), and unpacked whole or not."""

from __future__ import annotations

import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import unetq
from unetq.errors import UserError
from unetq.files import make_folder

__all__ = ["Advance", "NetError", "Remote", "download", "fetch_text", "unpacked"]

CHUNK, SECONDS = 1 << 18, 60
# Not begun again more often than this unless each try brought some bytes.
TRIES = 3
NOT_SATISFIABLE = 416

Advance = Callable[[int, int], None]


class NetError(Exception):
    """The net or the server failed; the text is the reason."""


@dataclass(frozen=True)
class Remote:
    """A file of the net.

    Attributes:
        url: where it is.
        name: what it is called here.
        sha256: of the whole file; None where nobody has published one.
    """

    url: str
    name: str
    sha256: str | None = None


def download(remote: Remote, folder: Path, advance: Advance | None = None) -> Path:
    """The file in `folder`; what an earlier try has left in `NAME.part` is gone on with.

    Args:
        remote: what is wanted.
        folder: where it goes.
        advance: called with (bytes so far, bytes or 0 where the server does not say).

    Raises:
        NetError: no network, or the server refuses.
        UserError: pooch is not installed, the folder cannot be written, or the file is not the one with that checksum.
    """
    try:
        import pooch  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise UserError("Downloads need pooch: pip install pooch (or unetq[train], which brings it).") from None
    pooch.get_logger().setLevel("WARNING")
    make_folder(folder)
    part = folder / f"{remote.name}.part"

    def into(url: str, target: str, _: Any) -> None:
        _complete(url, part, advance)
        part.replace(target)

    try:
        return Path(pooch.retrieve(remote.url, remote.sha256, remote.name, folder, downloader=into))
    except ValueError:
        raise UserError(
            f"What {remote.url} holds has not the checksum that is known for {remote.name}, so it was deleted: try again; if it "
            "stays so, the file was changed there."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot write {folder / remote.name}: {error.strerror or error}.") from error


def fetch_text(url: str) -> str:
    """A short answer of a server.

    Raises:
        NetError: no network, or the server refuses.
    """
    try:
        with _open(url, 0) as answer:
            return answer.read().decode("utf-8")
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        raise NetError(_reason(error)) from error


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """A temporary folder beside a ZIP, with all its files in one level, by their own names.

    What is damaged, or refused inside the `with`, is deleted, so that it is fetched again and not taken again.

    Raises:
        UserError: it is damaged, or the disk is full.
    """
    temporary = Path(tempfile.mkdtemp(prefix=".unpack-", dir=archive.parent))
    try:
        with zipfile.ZipFile(archive) as inner:
            for member in inner.infolist():
                name = Path(member.filename).name  # never a path that leads out of the folder
                if member.is_dir() or name.startswith("."):
                    continue
                with inner.open(member) as source, (temporary / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
        yield temporary
    except UserError:
        archive.unlink(missing_ok=True)
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        archive.unlink(missing_ok=True)
        raise UserError(f"{archive.name} arrived as a damaged ZIP file and was deleted: fetch again.") from None
    except OSError as error:
        raise UserError(f"Cannot unpack {archive}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _complete(url: str, part: Path, advance: Advance | None) -> None:
    tries = TRIES
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _go_on(url, part, advance)
        except NetError:
            grown = part.exists() and part.stat().st_size > before
            tries -= not grown
            if not tries:
                raise


def _go_on(url: str, part: Path, advance: Advance | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        answer = _open(url, have)
    except urllib.error.HTTPError as error:
        if error.code == NOT_SATISFIABLE and have:
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return  # it was whole already
            part.unlink()  # longer than the file: of another version
        raise NetError(_reason(error)) from error
    except (OSError, HTTPException) as error:
        raise NetError(_reason(error)) from error
    with answer:
        # A server may send everything though asked for the rest.
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with part.open("ab" if goes_on else "wb") as file:
            for chunk in _chunks(answer):
                file.write(chunk)
                have += len(chunk)
                if advance:
                    advance(have, max(total, have) if total else 0)
    if have < total:
        raise NetError("the connection broke off")


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(CHUNK)
        except (OSError, HTTPException) as error:
            raise NetError(_reason(error)) from error
        if not chunk:
            return
        yield chunk


def _open(url: str, have: int) -> HTTPResponse:
    headers = {"User-Agent": f"unetq/{unetq.__version__}"} | ({"Range": f"bytes={have}-"} if have else {})
    answer: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS)
    return answer


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    inner = getattr(error, "reason", None) or error
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__)
