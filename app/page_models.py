"""The page of model cards."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from unetq.app import frame
from unetq.app.card import card_of, dice_per_case
from unetq.app.floating import CHECKPOINT
from unetq.runtime.model import open_model

__all__ = ["page"]


def page() -> None:
    """Draws the page once."""
    frame.banner("Models", "what each model file says about itself")
    found = frame.models()
    if not found:
        st.info("No model file found. Export one with `unetq export RUN`, then start the viewer with its folder.")
        return
    name = st.selectbox("Model", list(found), key="card")
    path = Path(found[name])
    with frame.guarded():
        card = card_of(path)
        cases = {} if path.name == CHECKPOINT else dice_per_case(open_model(path).meta.provenance)
    left, right = st.columns([2, 1], gap="large")
    with left:
        frame.show_table({"": [name], **{heading: [words] for heading, words in card.items()}}, "words")
        st.caption(str(path))
    if cases:
        right.dataframe({"Held-out case": list(cases), "Dice": list(cases.values())}, hide_index=True)


if __name__ == "__main__":
    page()
