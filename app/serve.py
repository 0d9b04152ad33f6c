"""Streamlit's `run` with the pages' modules read beside it: `python -m unetq.app.serve SCRIPT OPTIONS -- ARGUMENTS`."""

from __future__ import annotations

import sys

from streamlit.web import cli

from unetq.app import warm

if __name__ == "__main__":
    warm.begin()
    cli.main(["run", *sys.argv[1:]], prog_name="streamlit")
