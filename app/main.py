"""The viewer's script: the door, then one of the pages. Started by `unetq view` (`unetq.app.launch`)."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from unetq.app import warm

warm.wait()

from unetq.app import frame  # noqa: E402 - it is among what was waited for

PAGES: tuple[tuple[str, str, str], ...] = (("page_study.py", "Study", ""), ("page_reviews.py", "Reviews", "reviews"))
PAGES += (("page_tradeoff.py", "Tradeoff", "tradeoff"), ("page_models.py", "Models", "models"))

KEPT = ("study_path", "truth_path", "models", "reviewer", "panel")


def main() -> None:
    """Draws a page once; Streamlit calls it after every change."""
    st.set_page_config(page_title="unetq viewer", page_icon=frame.icon(), layout="wide")
    here = Path(__file__).parent
    pages = [st.Page(here / file, title=title, url_path=path or None, default=not path) for file, title, path in PAGES]
    # Streamlit drops the value of a field that a page does not show; who comes back finds the study still open.
    for key in KEPT:
        if key in st.session_state:
            st.session_state[key] = st.session_state[key]
    chosen = st.navigation(pages if is_open() else pages[:1], position="top")
    if is_open():
        chosen.run()
    else:
        knock()


def is_open() -> bool:
    """Whether this session may see the pages."""
    settings = frame.settings()
    if settings.proxy_header and not st.context.headers.get(settings.proxy_header):
        return False
    return settings.password is None or bool(st.session_state.get("entered"))


def knock() -> None:
    """Asks for the password, or says that the proxy must be used."""
    settings = frame.settings()
    frame.banner("unetq viewer", "")
    if settings.proxy_header and not st.context.headers.get(settings.proxy_header):
        st.error("Nobody is signed in: open this viewer through the address of its reverse proxy.")
        return
    with st.form("door", width=420):
        given = st.text_input("Password", type="password")
        pressed = st.form_submit_button("Enter", type="primary")
    if not pressed or settings.password is None:
        return
    with frame.guarded():
        right = frame.door().opens(given, settings.password)
        frame.audit().write("enter" if right else "wrong password", frame.user())
    if right:
        st.session_state["entered"] = True
        st.rerun()
    st.error("That is not the password.")


if __name__ == "__main__":
    main()
