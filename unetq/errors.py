"""The one error a user is meant to read: a sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "nearest"]


class UserError(ValueError):
    """Bad input. The command line prints the sentence and exits with code 2, without a traceback."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """A half sentence that helps a typing mistake along.

    >>> nearest("epochss", ["epochs", "seed"])
    'did you mean "epochs"?'
    >>> nearest("zzz", ["epochs", "seed"])
    'valid are: epochs, seed'
    """
    names = list(valid)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"valid are: {', '.join(names)}"
