"""Long work beside the page: progress with the time left, and a way to stop it; no Streamlit in here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from unetq.errors import UserError

__all__ = ["CancelledError", "Job"]

# One network at a time: two would not be faster on the same cores, and would need twice the memory.
ONE = threading.Lock()


class CancelledError(Exception):
    """Raised between two tiles of a job that was asked to stop."""


class Job:
    """Work in a thread of its own.

    Attributes:
        title: what it does, for the progress bar.
        result: what the work returned, or None.
        error: the sentence of what went wrong, or "".
        done: share that is done, 0 to 1.
    """

    def __init__(self, title: str, work: Callable[[Callable[[int, int], None]], Any]) -> None:
        self.title, self.result, self.error, self.done = title, None, "", 0.0
        self._stop, self._began = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still works or waits for its turn."""
        return self._thread.is_alive()

    @property
    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Stops it before its next tile."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Waits for the end, at most so long; whether it came."""
        self._thread.join(seconds)
        return not self.running

    @property
    def words(self) -> str:
        """Title, and the time left as soon as it can be told."""
        if not self._began:
            return f"{self.title}: waiting for another run to end"
        spent = time.monotonic() - self._began
        if self.done < 0.02 or spent < 0.5:
            return f"{self.title} ..."
        return f"{self.title}: {show_seconds(spent * (1 - self.done) / self.done)} left"

    def _run(self, work: Callable[[Callable[[int, int], None]], Any]) -> None:
        def report(done: int, total: int) -> None:
            self.done = done / total
            if self._stop.is_set():
                raise CancelledError

        try:
            with ONE:
                self._began = time.monotonic()
                if not self._stop.is_set():
                    self.result = work(report)
        except CancelledError:
            pass
        except UserError as error:
            self.error = str(error)
        except MemoryError:
            self.error = "There is not enough memory for this study: open a smaller part of it."


def show_seconds(seconds: float) -> str:
    """Seconds in words.

    >>> show_seconds(4.2), show_seconds(75)
    ('5 s', '1 min 15 s')
    """
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
