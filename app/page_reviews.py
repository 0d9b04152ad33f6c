"""The page of all verdicts: filter, export."""

from __future__ import annotations

import streamlit as st

from unetq.app import frame
from unetq.app.quality import VERDICTS, csv_of

__all__ = ["page"]


def page() -> None:
    """Draws the page once."""
    frame.banner("Reviews", "verdicts on studies, the latest first")
    with frame.guarded():
        found = frame.reviews().all()
    if not found:
        st.info("No study has been reviewed yet: open one on the page Study, and press Pass or Fail under Review.")
        return
    counts = {verdict: sum(review.verdict == verdict for review in found) for verdict in VERDICTS}
    left, middle, right = st.columns([1.4, 1.6, 0.8], vertical_alignment="bottom")
    chosen = left.pills(
        "Verdict", VERDICTS, selection_mode="multi", key="verdicts", format_func=lambda v: f"{v} ({counts[v]})"
    )
    words = middle.text_input("Search", key="search", placeholder="Study, person, model or comment").strip().lower()
    shown = [
        review
        for review in found
        if (not chosen or review.verdict in chosen)
        and (
            not words
            or any(words in text.lower() for text in (review.name, review.user, review.models, review.comment))
        )
    ]
    right.download_button("Save as CSV", csv_of(shown), "reviews.csv", "text/csv", width="stretch", on_click="ignore")
    st.dataframe(
        {
            "Time (UTC)": [review.time[:19].replace("T", " ") for review in shown],
            "Study": [review.name for review in shown],
            "Verdict": [review.verdict for review in shown],
            "Comment": [review.comment for review in shown],
            "Models": [review.models for review in shown],
            "Who": [review.user for review in shown],
            "Hash": [review.study[:12] for review in shown],
        },
        hide_index=True,
        width="stretch",
    )
    st.caption(f"{len(shown)} of {len(found)}. Kept in {frame.reviews().path}.")


if __name__ == "__main__":
    page()
