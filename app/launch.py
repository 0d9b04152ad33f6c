"""Starts the viewer's server: on this machine only unless a password or a proxy guards it, and without telemetry."""

from __future__ import annotations

import getpass
import importlib.util
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from unetq.app.gate import check_address, write_password
from unetq.app.settings import Settings
from unetq.errors import UserError

__all__ = ["ADDRESS", "Server", "command", "launch"]

ADDRESS = "127.0.0.1"
UPLOAD_LIMIT_MB = 1024
SETTINGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "theme.base": "light",
    "theme.primaryColor": "#0f6b7f",
    "theme.backgroundColor": "#ffffff",
    "theme.secondaryBackgroundColor": "#f1f5f7",
    "theme.textColor": "#1f2d3a",
}


@dataclass(frozen=True)
class Server:
    """Where the viewer listens, and what it takes.

    Attributes:
        address: IP address; another one than this machine's own wants a password or a proxy.
        port: TCP port.
        upload_mb: largest upload.
        settings: what the page is told.
    """

    address: str = ADDRESS
    port: int = 8501
    upload_mb: int = UPLOAD_LIMIT_MB
    settings: Settings = field(default_factory=Settings)


def command(server: Server) -> list[str]:
    """The command that serves the viewer."""
    words = {
        "server.address": server.address,
        "server.port": str(server.port),
        "server.maxUploadSize": str(server.upload_mb),
        **SETTINGS,
    }
    options = [part for name, value in words.items() for part in (f"--{name}", value)]
    script = Path(__file__).with_name("main.py")
    return [sys.executable, "-P", "-m", "unetq.app.serve", str(script), *options, "--", *server.settings.arguments()]


def launch(server: Server) -> NoReturn:
    """Serves the viewer until ctrl-C, in place of this process.

    Raises:
        UserError: streamlit is not installed, a folder does not exist, the address is not guarded, or the port is taken.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("The viewer needs streamlit: install it with `pip install 'unetq[app]'`.")
    settings = server.settings
    for folder in settings.models:
        if not folder.exists():
            raise UserError(f"There is no folder {folder}: name one that holds model files or runs, or leave it out.")
    if not settings.root.is_dir():
        raise UserError(f"There is no folder {settings.root}: name the one that holds the studies with --data.")
    check_address(server.address, settings.password, settings.proxy_header)
    if settings.password is not None and not settings.password.exists():
        _ask_password(settings.password)
    _check_port(server.address, server.port)
    words = command(server)
    # In this process's place: whoever stops it stops the server, and a second interpreter's memory is saved.
    os.execv(words[0], words)


def _ask_password(path: Path) -> None:
    """A new password file; only a person at a terminal can be asked."""
    if not sys.stdin.isatty():
        raise UserError(f"There is no password file {path}: start the viewer in a terminal once to set the password.")
    first = getpass.getpass(f"New password of the viewer, kept as a hash in {path}: ")
    if first != getpass.getpass("Again: "):
        raise UserError("The two passwords differ: start again.")
    write_password(path, first)


def _check_port(address: str, port: int) -> None:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(kind, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError):
            raise UserError(
                f"Port {port} of {address} cannot be used (is a viewer running?): choose another with --port."
            ) from None
