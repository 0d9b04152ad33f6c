"""Corrections on the study page: brush and eraser on the planes, an uploaded mask, versions with who and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app import frame
from unetq.app.audit import show_time
from unetq.app.bench import Bench
from unetq.app.planes import Grid, Plane, Point
from unetq.app.scene import DRAFT
from unetq.app.study import SUFFIXES, Mask, Study, open_truth, with_uploads
from unetq.app.versions import Brush, Version, painted, put
from unetq.runtime.meta import Label

__all__ = ["corrections", "correct_panel", "labels_of", "stroke", "tool"]

UNDO = 50  # strokes that can be taken back
TOOLS = ("Look", "Brush", "Eraser")


@dataclass
class Draft:
    """A correction that is not saved yet.

    Attributes:
        base: what it began as.
        undo: slices before each stroke, as they stood on the screen.
    """

    base: str
    mask: Mask
    undo: list[tuple[Grid, Plane, Point, NDArray[np.uint8]]] = field(default_factory=list)


def corrections(study: Study) -> dict[str, Mask]:
    """The correction in work, or else the last saved version of a study, by its title."""
    draft = _draft(study)
    if draft is not None:
        return {DRAFT: draft.mask}
    last = frame.versions().of(study)[-1:]
    return {version.title: _loaded(study, version.number, version.time) for version in last}


def labels_of(study: Study) -> tuple[Label, ...]:
    """The labels that the last saved version names."""
    return tuple(Label(*label) for version in frame.versions().of(study)[-1:] for label in version.labels)


def tool() -> dict[str, Any]:
    """What the pointer does on the planes: name of the tool, and diameter in mm."""
    chosen = st.session_state.get("tool", "Look") if st.session_state.get("panel") == "Correct" else "Look"
    return {"name": str(chosen).lower(), "mm": st.session_state.get("brush mm", 0.0)}


def stroke(study: Study, grid: Grid, plane: Plane, point: Point, line: Sequence[tuple[float, float]]) -> None:
    """Paints into the correction in work."""
    draft = _draft(study)
    chosen = tool()
    if draft is None or chosen["name"] == "look":
        return
    label = 0 if chosen["name"] == "eraser" else int(st.session_state.get("brush label", 1))
    before = grid.cut(grid.turned(draft.mask), plane, point).copy()
    put(draft.mask, grid, plane, point, painted(before, grid.size(plane), line, Brush(label, chosen["mm"])))
    draft.undo = [*draft.undo[1 - UNDO :], (grid, plane, point, before)]


def correct_panel(bench: Bench) -> None:
    """Start, paint, save."""
    study, draft = bench.study, _draft(bench.study)
    if draft is None:
        _start(bench)
    else:
        _paint(bench, draft)
    saved = frame.versions().of(study)
    if saved:
        st.dataframe(
            [{"": v.number, "Who": v.user, "When": show_time(v.time), "Why": v.note, "From": v.base} for v in saved],
            hide_index=True,
        )
        st.caption(f"Kept in {frame.versions().folder / study.hash}.")


def _start(bench: Bench) -> None:
    earlier = {version.title: version for version in frame.versions().of(bench.study)[::-1]}
    names = [*dict.fromkeys([*bench.masks, *earlier]), "An empty mask", "An uploaded mask"]
    base = st.selectbox("Correct", names, key="base")
    mask = bench.masks.get(base)
    if mask is None and base in earlier:
        mask = _loaded(bench.study, earlier[base].number, earlier[base].time)
    if base == "An empty mask":
        mask = np.zeros(bench.study.volume.array.shape, np.uint8)
    elif base == "An uploaded mask":
        upload = st.file_uploader("Mask of this study", type=list(SUFFIXES), key="mask_upload")
        mask = open_truth(with_uploads([(upload.name, upload.getvalue())]), bench.study) if upload else None
    if st.button("Start correcting", type="primary", disabled=mask is None, width="stretch") and mask is not None:
        _drafts()[bench.study.hash] = Draft(base, mask.copy())
        st.session_state["tool"] = "Brush"
        st.rerun()


def _paint(bench: Bench, draft: Draft) -> None:
    study, extent = bench.study, max(Grid(bench.study.volume).size(Grid(bench.study.volume).thin))
    st.segmented_control("Tool", TOOLS, key="tool", required=True)
    sizes = [extent * share for share in (0.005, 0.01, 0.02, 0.04, 0.08)]
    pixel = study.volume.spacing[2]
    words = {mm: f"{max(1, round(mm / pixel))} px" for mm in sizes}
    st.select_slider("Brush", sizes, value=sizes[2], format_func=lambda mm: words[mm], key="brush mm")
    if len(bench.labels) > 1:
        values = range(1, len(bench.labels) + 1)
        st.selectbox("Label", values, format_func=lambda v: bench.labels[v - 1], key="brush label")
    left, right = st.columns(2)
    if left.button("Undo", disabled=not draft.undo, width="stretch", shortcut="ctrl+z"):
        grid, plane, point, before = draft.undo.pop()
        put(draft.mask, grid, plane, point, before)
        st.rerun(scope="fragment")
    if right.button("Discard", width="stretch"):
        del _drafts()[study.hash]
        st.rerun()
    note = st.text_input("Why", key="correction note", placeholder="For the next reader")
    if st.button("Save as a new version", type="primary", width="stretch"):
        labels = tuple((label.name, label.snomed) for label in bench.coded)
        version = frame.versions().save(study, draft.mask, Version(0, "", frame.user(), draft.base, note, labels))
        frame.audit().write("correct", frame.user(), study=study.hash, version=version.number, base=version.base)
        del _drafts()[study.hash]
        st.rerun()


def _drafts() -> dict[str, Draft]:
    drafts: dict[str, Draft] = st.session_state.setdefault("drafts", {})
    return drafts


def _draft(study: Study) -> Draft | None:
    return _drafts().get(study.hash)


@st.cache_resource(max_entries=4, show_spinner=False)
def _loaded(_study: Study, number: int, time: str) -> Mask:
    return frame.versions().load(_study, number)
