"""What every page of the viewer shares: settings, caches, the person, heading, errors as sentences."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from importlib.resources import files

import numpy as np
import streamlit as st

from unetq.app.audit import Audit
from unetq.app.floating import find_float_runs
from unetq.app.gate import Door
from unetq.app.inference import Results
from unetq.app.quality import Reviews
from unetq.app.settings import Settings
from unetq.app.study import find_models, model_name
from unetq.app.versions import Versions
from unetq.errors import UserError
from unetq.report.paint import png

__all__ = [
    "RESEARCH",
    "audit",
    "banner",
    "door",
    "guarded",
    "icon",
    "kept_results",
    "models",
    "reviews",
    "settings",
    "show_table",
    "table",
    "user",
    "versions",
]

RESEARCH = "Research use only, not a medical device"


def settings() -> Settings:
    """What the server was started with."""
    return Settings.parse(sys.argv[1:])


def audit() -> Audit:
    """The audit log."""
    return Audit(settings().store)


def reviews() -> Reviews:
    """The verdicts."""
    return Reviews(settings().store)


def versions() -> Versions:
    """The corrections."""
    return Versions(settings().store)


def models() -> dict[str, str]:
    """Name -> path of the model files that the server offers, then of the float runs' checkpoints where torch is there."""
    found = [*find_models(settings().models), *find_float_runs(settings().models)]
    return {model_name(file, found): str(file) for file in found}


def user() -> str:
    """Who is at the page: named by the proxy, by the person, or by the system."""
    header = settings().proxy_header
    if header:
        return str(st.context.headers.get(header, "")) or "unknown"
    return str(st.session_state.get("reviewer") or "").strip() or getpass.getuser()


@st.cache_resource(show_spinner=False)
def kept_results() -> Results:
    """The results of this server, for all its sessions."""
    return Results()


@st.cache_resource(show_spinner=False)
def door() -> Door:
    """One door for all sessions: a wrong password makes all of them wait."""
    return Door()


@contextmanager
def guarded() -> Iterator[None]:
    """Shows a user's error as a sentence and stops the page there; nobody sees a traceback."""
    try:
        yield
    except UserError as error:
        st.error(str(error))
        st.stop()
    except MemoryError:
        st.error("There is not enough memory for this study; open a smaller part of it.")
        st.stop()


def icon() -> bytes:
    """The page's icon (PNG), a cell with its membrane; Streamlit's named icons come from a server far away."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(y, x)
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[radius < 15] = (15, 107, 127)
    pixels[radius < 10] = (191, 221, 226)
    return png(pixels)


def banner(title: str, about: str) -> None:
    """Heading of a page with the sentence on its use."""
    style = (files("unetq.app") / "style.css").read_text(encoding="utf-8")
    text = f"<b>{escape(title)}</b><span>{escape(about)}</span><span class='research'>{RESEARCH}</span>"
    st.html(f"<style>{style}</style><div class='unetq-head'>{text}</div>")


def table(lines: Mapping[str, Sequence[str]], kind: str = "") -> str:
    """HTML of a table whose first line is its heading; a line without cells is the heading of a group; kind "words" wraps."""
    width = max((len(cells) for cells in lines.values()), default=0)
    body = ""
    for name, cells in lines.items():
        if not cells:
            body += f"<tr class='group'><th colspan='{width + 1}'>{escape(name)}</th></tr>"
            continue
        body += f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    return f"<div class='unetq-scroll'><table class='unetq-table {kind}'>{body}</table></div>"


def show_table(lines: Mapping[str, Sequence[str]], kind: str = "") -> None:
    """Shows a table; its style comes with the banner."""
    st.markdown(table(lines, kind), unsafe_allow_html=True)
