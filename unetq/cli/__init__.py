"""The command line."""

from unetq.cli.verbs import app, main

__all__ = ["app", "main"]
