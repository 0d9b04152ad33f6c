"""The panels to judge by: time and size, volumes, agreement with the truth, uncertainty, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app import frame
from unetq.app.audit import now, show_time
from unetq.app.bench import Bench
from unetq.app.card import card_of
from unetq.app.floating import CHECKPOINT, ENGINE, uncertainty_float
from unetq.app.inference import uncertainty
from unetq.app.jobs import Job
from unetq.app.measure import Agreement, Size, agreement, remarks, show_area, show_volume, size_of
from unetq.app.opening import go_to, next_study
from unetq.app.planes import Grid
from unetq.app.quality import Review
from unetq.app.running import watch
from unetq.app.scene import Look
from unetq.app.study import Study
from unetq.report.words import NONE, show_bytes, show_mm, show_ms

__all__ = ["agreements_of", "measure_lines", "result_panel", "review_panel", "sizes_of", "stamp"]

MARKS = {"pass": "✓ Pass", "fail": "✗ Fail", "comment": "Comment"}


@st.cache_resource(max_entries=32, show_spinner=False)
def _size(key: tuple[Any, ...], _mask: NDArray[np.uint8], _study: Study, label: int) -> Size:
    return size_of(_mask, _study, label)


@st.cache_resource(max_entries=64, show_spinner="Measuring against the ground truth ...")
def _agreement(
    key: tuple[Any, ...], _mask: NDArray[np.uint8], _truth: NDArray[np.uint8], _study: Study, label: int, mm: float
) -> Agreement:
    return agreement(_mask, _truth, _study, label, mm)


@st.cache_data(max_entries=16, show_spinner=False)
def _card(model: str, _path: Path) -> dict[str, list[str]]:
    return {heading: [words] for heading, words in card_of(_path).items()}


def sizes_of(bench: Bench) -> dict[str, dict[str, Size]]:
    """Mask -> label -> its size; a mask that is being painted is measured anew each time."""
    return {
        name: {
            label: _size((*bench.key(name), stamp(bench, name)), mask, bench.study, value)
            for value, label in enumerate(bench.labels, 1)
        }
        for name, mask in bench.masks.items()
    }


def agreements_of(bench: Bench, tolerance_mm: float) -> dict[str, dict[str, Agreement]]:
    """Mask -> label -> its agreement with the truth; {} without a truth."""
    truth = bench.truth
    if truth is None:
        return {}
    found: dict[str, dict[str, Agreement]] = {}
    for name, mask in bench.judged.items():
        key = (*bench.key(name), stamp(bench, name), bench.truth_hash)
        found[name] = {
            label: _agreement(key, mask, truth, bench.study, value, tolerance_mm)
            for value, label in enumerate(bench.labels, 1)
        }
    return found


def tolerance_of(study: Study) -> float:
    """mm within which two surfaces count as one: two pixels in the slice."""
    return 2.0 * min(study.volume.spacing[1:])


def result_panel(bench: Bench, look: Look) -> None:
    """What each mask says, a column each."""
    if not bench.masks:
        st.caption("Results appear here.")
        return
    sizes, agreements = sizes_of(bench), agreements_of(bench, tolerance_of(bench.study))
    frame.show_table(measure_lines(bench, sizes, agreements, look.point[0]))
    for sentence in remarks(sizes):
        (st.warning if "no measurement" in sentence else st.caption)(sentence)
    for warning in {result.warning for result in bench.results.values() if result.warning}:
        st.warning(warning)
    if bench.results:
        _engines(bench)
        with st.expander("Model cards"):
            for name, result in bench.results.items():
                frame.show_table({"": [name], **_card(result.key[1], bench.models[name])}, "words")
    _per_slice(bench, sizes, agreements)


def _engines(bench: Bench) -> None:
    """What ran the models, what their memory means, and how sure they are."""
    isas = sorted({result.isa for result in bench.results.values() if result.isa != ENGINE})
    words = [f"Native runtime, {', '.join(isas)}: memory of weights, activations and scratch."] if isas else []
    if any(result.isa == ENGINE for result in bench.results.values()):
        words.append("Float: torch, memory of its whole process at its peak; the model file is the run's checkpoint.")
    st.caption(" ".join(words))
    _uncertainty(bench)


def measure_lines(
    bench: Bench, sizes: Mapping[str, Mapping[str, Size]], agreements: Mapping[str, Mapping[str, Agreement]], index: int
) -> dict[str, list[str]]:
    """Lines of the table; `index` is the axial slice, -1 leaves its lines out."""
    masks, results, known = list(bench.masks), bench.results, bench.study.volume.knows_spacing
    lines: dict[str, list[str]] = {"": masks}
    for value, label in enumerate(bench.labels, 1):
        pad = "\u200b" * value  # invisible: lines of several labels have the same names
        if len(bench.labels) > 1:
            lines[label.capitalize()] = []
        if agreements:
            said = _agreement_lines([agreements.get(name, {}).get(label) for name in masks], index, known)
            lines |= {f"{name}{pad}": cells for name, cells in said.items()}
        of = [sizes[name][label] for name in masks]
        if known:
            lines[f"Volume{pad}"] = [show_volume(size.volume_mm3) if size.voxels else "empty" for size in of]
            lines[f"Longest diameter{pad}"] = [show_mm(size.longest_mm) if size.voxels else NONE for size in of]
            if index >= 0:
                lines[f"Area, this slice{pad}"] = [show_area(size.areas_mm2[index]) for size in of]
        total = bench.study.volume.array.size
        lines[f"Share of voxels{pad}"] = [f"{size.voxels / total:.2%}" if size.voxels else "empty" for size in of]
    if results:
        if len(bench.labels) > 1:
            lines["Cost"] = []
        ran = [results.get(name) for name in masks]
        lines["Time"] = [_seconds(r.seconds) if r else NONE for r in ran]
        lines["Memory"] = [show_bytes(r.memory_bytes) if r else NONE for r in ran]
        lines["Model file"] = [show_bytes(r.bytes_file) if r else NONE for r in ran]
    return lines


def _agreement_lines(of: list[Agreement | None], index: int, known: bool) -> dict[str, list[str]]:
    """Lines of one label, a cell a mask."""
    tolerance = next((one.tolerance_mm for one in of if one), 0.0)
    said = {"both": "both empty", "mask": "mask empty", "truth": "truth empty"}

    def cells(show: Any) -> list[str]:
        return [NONE if one is None else said[one.empty] if one.empty else show(one) for one in of]

    lines = {"Dice, study": cells(lambda one: f"{one.dice:.4f}")}
    if index >= 0:
        lines["Dice, slice"] = [NONE if one is None else f"{one.slices[index]:.4f}" for one in of]
    lines["HD95"] = cells(lambda one: _length(one.hd95_mm, known))
    lines[f"Surface Dice, {_length(tolerance, known)}"] = cells(lambda one: f"{one.surface:.4f}")
    lines["Volume error"] = cells(lambda one: f"{one.volume_error:+.1%}".replace("-", "−"))
    return lines


def _length(mm: float, known: bool) -> str:
    """A distance; of a file that says no pixel size, whose pixels count as 1 mm, in pixels."""
    return show_mm(mm) if known else f"{mm:.3g} px"


def _seconds(seconds: float) -> str:
    return show_ms(1000 * seconds) if seconds < 1 else f"{seconds:.1f} s"


def stamp(bench: Bench, name: str) -> int:
    """Changes with a mask that is painted, whose name and study stay."""
    draft = st.session_state.get("drafts", {}).get(bench.study.hash)
    painted = draft is not None and draft.mask is bench.masks[name]
    return hash(bench.masks[name].tobytes()) if painted else 0


def _uncertainty(bench: Bench) -> None:
    with st.expander("How sure is the model?"):
        name = st.selectbox("Model", list(bench.results), key="sure model")
        flips = st.checkbox("Average over mirror images (4 times as long)", key="sure flips")
        job = st.session_state.get("job")
        if st.button("Show probability and entropy", width="stretch", disabled=bool(job and job.running)):
            keep = st.session_state.setdefault("maps", {})
            log = partial(frame.audit().write, "uncertainty", frame.user())
            work = partial(_maps, bench=bench, name=name, flips=flips, keep=keep, log=log)
            watch(Job(f"How sure {name} is", work))
            st.rerun()


def _maps(report: Any, bench: Bench, name: str, flips: bool, keep: dict[str, Any], log: Callable[..., None]) -> None:
    path, result, start = bench.models[name], bench.results[name], time.perf_counter()
    maps_of = uncertainty_float if path.name == CHECKPOINT else uncertainty
    found = maps_of(path, bench.study, flips, report)
    seconds = round(time.perf_counter() - start, 3)
    log(study=bench.study.hash, model=result.key[1], bits=result.bits, flips=flips, seconds=seconds)
    keep.clear()  # of one study at a time: they are as large as its masks
    keep[bench.study.hash] = {f"{kind}: {name}": values for kind, values in found.items()}


def _per_slice(
    bench: Bench, sizes: Mapping[str, Mapping[str, Size]], agreements: Mapping[str, Mapping[str, Agreement]]
) -> None:
    """Area along the body, and Dice of every slice."""
    depth = Grid(bench.study.volume).shape[0]
    if depth < 2:
        return
    # A chart costs three times as much as the pictures of a slice: it is drawn only where somebody looks at it.
    opened = st.expander("Slice by slice", key="slice by slice", on_change="rerun")
    if not opened.open:
        return
    with opened:
        label = st.selectbox("Label", bench.labels, key="slice label") if len(bench.labels) > 1 else bench.labels[0]
        number = list(range(1, depth + 1))
        if bench.study.volume.knows_spacing:
            areas = {name: np.array(labels[label].areas_mm2) for name, labels in sizes.items()}
            st.caption("Cross-sectional area, mm², by slice")
            st.line_chart({"Slice": number, **areas}, x="Slice", height=180)
        if agreements:
            slices = {name: labels[label].slices for name, labels in agreements.items()}
            st.dataframe({"Slice": number, **{f"Dice, {n}": s for n, s in slices.items()}}, hide_index=True, height=220)


def review_panel(bench: Bench) -> None:
    """Pass or fail with a key, saved at once; a comment of its own or with the verdict."""
    study = bench.study
    comment = st.text_area("Comment", key=f"comment {study.hash}", height=90, placeholder="Optional")
    left, right = st.columns(2)
    verdict = None
    if left.button("Pass", shortcut="p", width="stretch", type="primary"):
        verdict = "pass"
    if right.button("Fail", shortcut="f", width="stretch"):
        verdict = "fail"
    if st.button("Save the comment alone", width="stretch", disabled=not comment.strip()):
        verdict = "comment"
    further = next_study(study.name)
    if further and st.button(
        "Next study without a verdict", shortcut="n", width="stretch", on_click=go_to, args=(further,)
    ):
        st.rerun()
    if verdict:
        shown = ", ".join(bench.judged) or NONE
        frame.reviews().add(Review(now(), frame.user(), study.hash, study.name, shown, verdict, comment.strip()))
        frame.audit().write("review", frame.user(), study=study.hash, verdict=verdict)
        st.toast(f"Saved: {MARKS[verdict]}.")
    found = frame.reviews().of(study.hash)
    if not found:
        st.caption("Not reviewed yet. The keys P and F save a verdict at once.")
    for review in found[:8]:
        about = f"{show_time(review.time)}, {review.user}, {review.models}"
        st.markdown(f"**{MARKS[review.verdict]}**")
        st.text("\n".join(filter(None, (review.comment, about))))
