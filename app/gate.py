"""Who may use the viewer: a password kept as a scrypt hash, or a reverse proxy that names the user; no Streamlit in here."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import threading
import time
from pathlib import Path

from unetq.errors import UserError
from unetq.files import atomic

__all__ = ["Door", "check_address", "hash_password", "matches", "write_password"]

# 2^14 x 8 x 128 bytes = 16 MiB and about 50 ms a try.
N, R, P = 2**14, 8, 1
MIN_LENGTH = 8
WAIT = 1.0  # seconds after a wrong password


def hash_password(password: str, salt: bytes | None = None) -> str:
    """A line for the password file: scrypt$N$r$p$salt$hash, in hexadecimal.

    Raises:
        UserError: too short.
    """
    if len(password) < MIN_LENGTH:
        raise UserError(f"The password is too short: use at least {MIN_LENGTH} characters.")
    salt = secrets.token_bytes(16) if salt is None else salt
    key = hashlib.scrypt(password.encode(), salt=salt, n=N, r=R, p=P)
    return f"scrypt${N}${R}${P}${salt.hex()}${key.hex()}"


def matches(password: str, line: str) -> bool:
    """Whether a password has the hash of `hash_password`.

    Raises:
        UserError: the line is no such hash.
    """
    try:
        kind, n, r, p, salt, key = line.strip().split("$")
        if kind != "scrypt":
            raise ValueError(kind)
        found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=int(n), r=int(r), p=int(p))
    except ValueError:
        raise UserError(
            "The password file is damaged: delete it and start the viewer again to set a new one."
        ) from None
    return hmac.compare_digest(found, bytes.fromhex(key))


def write_password(path: Path, password: str) -> None:
    """Writes the hash where only its owner can read it.

    Raises:
        UserError: too short, or the file cannot be written.
    """
    line = hash_password(password)
    with atomic(path) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
        temporary.write_text(line + "\n", encoding="ascii")


def check_address(address: str, password: Path | None, proxy_header: str) -> None:
    """Refuses to serve beyond this machine without a lock on the door.

    Raises:
        UserError: no IP address; or another one than this machine's own, with neither password nor proxy header.
    """
    try:
        local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise UserError(f'"{address}" is no IP address: give one of this machine, like 127.0.0.1.') from None
    if not local and password is None and not proxy_header:
        raise UserError(
            f"Whoever reaches {address} would see the studies: add --password FILE, or --proxy-header NAME if a reverse "
            "proxy signs users in; or keep to 127.0.0.1."
        )


class Door:
    """Asks for the password; after a wrong one every further try waits, so that guessing takes long."""

    def __init__(self, wait: float = WAIT) -> None:
        self._lock, self._wait = threading.Lock(), wait

    def opens(self, password: str, path: Path) -> bool:
        """Whether the password is the one of the file.

        Raises:
            UserError: the file is gone or damaged.
        """
        try:
            line = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise UserError(f"The password file {path} cannot be read: start the viewer again.") from None
        with self._lock:
            right = matches(password, line)
            if not right:
                time.sleep(self._wait)
            return right
