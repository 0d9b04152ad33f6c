"""The page of a study: open, run, look, judge, save."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app import frame, opening, running
from unetq.app.bench import Bench
from unetq.app.correcting import corrections, labels_of
from unetq.app.scene import TRUTH
from unetq.app.study import Study
from unetq.app.viewing import viewing
from unetq.runtime.meta import Label

__all__ = ["about", "page"]

WELCOME = """
1. **Study**: choose one on the left, or upload it: a DICOM series (zip or all its files), NIfTI, TIFF, PNG or JPEG.
2. **Models**: choose one, or more to compare.
3. **Segment**: the native runtime runs on this machine; nothing leaves it.
4. **Ground truth** (optional): open a reference mask to see Dice and differences.
"""
# On a small screen Streamlit hides the panel that the steps speak of.
NARROW = "Tap <b>»</b> at the upper left: studies, models and the other pages are there."


def page() -> None:
    """Draws the page once."""
    with st.sidebar, frame.guarded():
        st.markdown("##### Study")
        study = opening.open_panel("Study", "study")
        if study is not None:
            opening.forget_truth(study)
        models = running.model_panel()
        missing = running.missing_of(study, models) if study else {}
        ready = bool(missing) and not running.busy()
        if st.button("Segment", type="primary", width="stretch", disabled=not ready, key="segment") and study:
            running.start(study, missing)
        with st.expander("Ground truth (optional)", expanded=bool(st.session_state.get("truth_path"))):
            truth = opening.open_panel("Ground truth", "truth", study.name if study else "")
        if not frame.settings().proxy_header:
            st.text_input("Your name, for reviews and corrections", key="reviewer", placeholder=frame.user())
    if study is None:
        frame.banner("Open a study", "DICOM, NIfTI, TIFF, PNG or JPEG")
        st.html(f"<p class='unetq-narrow'>{NARROW}</p>")
        st.markdown(WELCOME)
        return
    frame.banner(study.name, about(study))
    with frame.guarded():
        # A place of its own, so that what stands below is not made anew when a run begins or ends.
        with st.container():
            running.jobs_panel()
            missing = running.missing_of(study, models)
            # On a small screen the panel with the other button is closed.
            if missing and not running.busy() and st.button(f"Segment with {', '.join(missing)}"):
                running.start(study, missing)
                st.rerun()
        viewing(_bench(study, models, truth))


def _bench(study: Study, models: dict[str, Path], truth: Study | None) -> Bench:
    results = running.results_of(study, models)
    masks: dict[str, NDArray[np.uint8]] = {name: result.mask for name, result in results.items()}
    masks |= corrections(study)
    coded = next((result.labels for result in results.values()), None) or labels_of(study) or (Label("foreground"),)
    if truth is not None:
        masks[TRUTH] = opening.truth_mask(truth, study, (truth.hash, study.hash))
    maps = st.session_state.get("maps", {}).get(study.hash, {})
    return Bench(study, models, results, masks, coded, maps, truth.hash if truth else "")


def about(study: Study) -> str:
    """Size, spacing in a unit that reads well, and type of the pixels."""
    depth, height, width = study.volume.array.shape
    size = f"{height} x {width}" + (f", {depth} slices" if depth > 1 else "")
    if not study.volume.knows_spacing:
        return f"{size}, no pixel size in the file, {study.volume.array.dtype}"
    factor, unit = next(
        (f, u) for f, u in ((1, "mm"), (1e3, "µm"), (1e6, "nm")) if min(study.volume.spacing) * f >= 0.1 or u == "nm"
    )
    spacing = " x ".join(f"{mm * factor:.4g}" for mm in study.volume.spacing)
    return f"{size}, {spacing} {unit}, {study.volume.array.dtype}"


if __name__ == "__main__":
    page()
