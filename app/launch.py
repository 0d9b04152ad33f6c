"""Starts the viewer's server: on this machine only, without telemetry."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from unetq.errors import UserError

__all__ = ["ADDRESS", "command", "launch"]

ADDRESS = "127.0.0.1"
UPLOAD_LIMIT_MB = 1024
SETTINGS = {
    "server.address": ADDRESS,
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.maxUploadSize": str(UPLOAD_LIMIT_MB),
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "theme.base": "light",
    "theme.primaryColor": "#0f6b7f",
    "theme.backgroundColor": "#ffffff",
    "theme.secondaryBackgroundColor": "#f1f5f7",
    "theme.textColor": "#1f2d3a",
}


def command(folders: Sequence[Path], port: int) -> list[str]:
    """The command that serves the viewer; `folders` hold model files or runs."""
    options = [part for name, value in {**SETTINGS, "server.port": str(port)}.items() for part in (f"--{name}", value)]
    script = Path(__file__).with_name("main.py")
    models = [part for folder in folders for part in ("--models", str(Path(folder).resolve()))]
    return [sys.executable, "-P", "-m", "streamlit", "run", str(script), *options, "--", *models]


def launch(folders: Sequence[Path], port: int = 8501) -> int:
    """Serves the viewer on 127.0.0.1 until ctrl-C; returns the server's exit code.

    Raises:
        UserError: streamlit is not installed, a folder does not exist, or the port is taken.
    """
    if importlib.util.find_spec("streamlit") is None:
        raise UserError("The viewer needs streamlit: install it with `pip install 'unetq[app]'`.")
    for folder in folders:
        if not Path(folder).exists():
            raise UserError(f"There is no folder {folder}: name one that holds model files or runs, or leave it out.")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except (OSError, OverflowError):
            raise UserError(
                f"Port {port} of {ADDRESS} cannot be used (is a viewer running?): choose another with --port."
            ) from None
    server = subprocess.Popen(command(folders, port))
    try:
        return server.wait()
    except KeyboardInterrupt:  # the server gets the ctrl-C too and closes by itself
        server.wait()
        return 0
