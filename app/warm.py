"""Reads the pages' modules while the browser loads Streamlit's own script: the first page need not wait for them."""

from __future__ import annotations

import gc
import threading
import time
from importlib import import_module

from streamlit.runtime import Runtime

__all__ = ["begin", "wait"]

POLL = 0.01  # seconds between two looks whether the server is there
_threads: list[threading.Thread] = []


def begin() -> None:
    """Starts reading as soon as there is a server: before, it would only keep that from answering."""
    _threads.append(threading.Thread(target=_read, daemon=True))
    _threads[-1].start()


def wait() -> None:
    """Waits until everything is read; a page that imports beside it could see modules that are half made."""
    for thread in _threads:
        thread.join()


def _read() -> None:
    while not Runtime.exists():
        time.sleep(POLL)
    import_module("unetq.app.page_study")
    # Streamlit searches the whole heap for garbage after every run of a page: 80 ms at each slice change, with these modules.
    gc.collect()
    gc.freeze()
