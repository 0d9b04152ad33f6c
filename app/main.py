"""The viewer's one page: a study, one or two models, a ground truth. Started by `unetq view` (`unetq.app.launch`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from unetq.app import panels
from unetq.app.scene import TRUTH, Scene, pictures, views
from unetq.app.study import Study

WELCOME = """
1. **Study**: give the path of a TIFF, PNG or NIfTI file, or upload one.
2. **Models**: choose one model file, or two to compare.
3. **Segment**: the native runtime runs on this machine; nothing leaves it.
4. **Ground truth** (optional): open the reference mask to see Dice and differences.
"""


def folders(arguments: list[str]) -> list[str]:
    """The folders that `--models` names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", action="append", default=[])
    known, _ = parser.parse_known_args(arguments)
    return list(known.models)


def page() -> None:
    """Draws the page once; Streamlit calls it after every change."""
    st.set_page_config(page_title="unetq viewer", page_icon=panels.icon(), layout="wide")
    with st.sidebar:
        st.markdown("### unetq viewer")
        with panels.guarded():
            study = panels.open_panel("Study", "study", "/data/em/train-volume.tif")
            models = panels.model_panel(folders(sys.argv[1:]))
            pressed = st.button("Segment", type="primary", width="stretch", disabled=not (study and models))
            truth = panels.open_panel("Ground truth (optional)", "truth", "/data/em/train-labels.tif")
    if study is None:
        panels.banner("Open a study", "TIFF, PNG or NIfTI")
        st.markdown(WELCOME)
        return
    panels.banner(study.name, about(study))
    with panels.guarded():
        show(study, models, truth, pressed)


def show(study: Study, models: Mapping[str, Path], truth: Study | None, pressed: bool) -> None:
    """The pictures on the left, what they are and how they look on the right."""
    results = panels.run(study, models, pressed)
    masks = {name: result.mask for name, result in results.items()}
    scores = {}
    if truth is not None:
        masks[TRUTH] = panels.truth_mask(truth, study, (truth.hash, study.hash))
        scores = {n: panels.scored(r.mask, masks[TRUTH], (*r.key, truth.hash)) for n, r in results.items()}
    scene = Scene(study, masks)
    left, right = st.columns([3.2, 1], gap="medium")
    with right:
        view, index, display = panels.display_panel(scene, list(views(scene)))
        panels.result_panel(results, scores, index)
        panels.downloads(study, results)
    with left:
        if len(results) < len(models):
            st.info("Press Segment to run the chosen models on this study.")
        panels.image_panel(pictures(scene, view, index, display))


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
