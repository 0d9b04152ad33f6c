"""The viewer's panels: each draws its widgets with Streamlit and returns plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app.inference import Result, Results, segment
from unetq.app.render import STYLES, Display
from unetq.app.scene import Picture, Scene, Scores, score
from unetq.app.study import SUFFIXES, Study, find_models, mask_file, model_name, open_study, open_truth, with_upload
from unetq.errors import UserError
from unetq.report.paint import png
from unetq.report.words import show_bytes, show_ms

__all__ = [
    "banner",
    "display_panel",
    "downloads",
    "guarded",
    "icon",
    "image_panel",
    "model_panel",
    "open_panel",
    "result_panel",
    "run",
    "scored",
    "truth_mask",
]

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 2rem 2.5rem; }
[data-testid="stSidebarHeader"] { height: 2.5rem; margin-bottom: 0; }
[data-testid="stMain"] [data-testid="stVerticalBlock"] { gap: .7rem; }
.unetq-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem 1rem; margin-bottom: .6rem; }
.unetq-head b { font-size: 1.35rem; font-weight: 600; color: #1f2d3a; }
.unetq-head span { color: #5b6b7b; }
.unetq-head .research { margin-left: auto; padding: .1rem .6rem; border: 1px solid #ecd9bd; border-radius: 4px;
  background: #fdf8ef; color: #8a4b08; font-size: .85rem; }
.unetq-legend { margin-bottom: .75rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; color: #5b6b7b; font-size: .88rem; }
.unetq-legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 3px;
  vertical-align: -1px; }
.unetq-legend b { color: #1f2d3a; font-weight: 600; }
table.unetq-results { width: 100%; margin: .2rem 0 .5rem; border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
table.unetq-results th, table.unetq-results td { padding: .3rem .2rem; border: 0; border-bottom: 1px solid #dfe5eb; }
table.unetq-results th { color: #5b6b7b; font-weight: 400; text-align: left; }
table.unetq-results td { color: #1f2d3a; text-align: right; }
table.unetq-results tr:first-child td { font-weight: 600; overflow-wrap: anywhere; }
</style>"""


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


@st.cache_resource(show_spinner=False)
def kept_results() -> Results:
    """The results of this server, for all its sessions."""
    return Results()


@st.cache_resource(max_entries=4, show_spinner="Reading the study ...")
def _from_path(path: str, changed: int) -> Study:
    return open_study(path)


@st.cache_resource(max_entries=4, show_spinner="Reading the study ...")
def _from_upload(file_id: str, _upload: Any) -> Study:
    return with_upload(_upload.name, _upload.getvalue())


def icon() -> bytes:
    """The page's icon (PNG), a cell with its membrane; Streamlit's named icons come from a server far away."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(y, x)
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[radius < 15] = (15, 107, 127)
    pixels[radius < 10] = (191, 221, 226)
    return png(pixels)


@st.cache_resource(max_entries=4, show_spinner=False)
def truth_mask(_truth: Study, _study: Study, key: tuple[str, str]) -> NDArray[np.uint8]:
    """The labels of a ground truth; `key` = hashes of truth and study."""
    return open_truth(_truth, _study)


@st.cache_resource(max_entries=16, show_spinner=False)
def scored(_mask: NDArray[np.uint8], _truth: NDArray[np.uint8], key: tuple[str, ...]) -> Scores:
    """Scores, once for each `key` = hashes of study, model and truth."""
    return score(_mask, _truth)


@st.cache_resource(max_entries=8, show_spinner=False)
def _mask_file(key: tuple[str, str], _mask: NDArray[np.uint8], _study: Study) -> tuple[str, bytes]:
    return mask_file(_mask, _study)


def banner(title: str, about: str) -> None:
    """Heading of the page with the sentence on its use."""
    text = f"<b>{escape(title)}</b><span>{escape(about)}</span>"
    note = '<span class="research">Research use only, not a medical device</span>'
    st.markdown(f'{STYLE}<div class="unetq-head">{text}{note}</div>', unsafe_allow_html=True)


def open_panel(what: str, key: str, hint: str) -> Study | None:
    """A path field and, behind it, an upload, which wins. None where neither is given."""
    by_path, by_upload = st.tabs([what, "Upload"])
    path = by_path.text_input(f"{what}: path", key=f"{key}_path", placeholder=hint, label_visibility="collapsed")
    upload = by_upload.file_uploader(
        f"{what}: upload", type=list(SUFFIXES), key=f"{key}_upload", label_visibility="collapsed"
    )
    if upload is not None:
        return _from_upload(upload.file_id, upload)
    if not path.strip():
        return None
    file = Path(path.strip()).expanduser()
    return _from_path(str(file), file.stat().st_mtime_ns if file.is_file() else 0)


def model_panel(folders: Sequence[str]) -> dict[str, Path]:
    """Name -> file of one or two models, chosen from the folders' files or given by path."""
    path = st.text_input("Model file: path", key="model_path", placeholder="runs/W4A6/model.gguf")
    found = find_models(folders)
    if path.strip():
        given = Path(path.strip()).expanduser()
        if not given.is_file():
            raise UserError(f"There is no model file {given}.")
        found = [given, *(file for file in found if file.resolve() != given.resolve())]
    if not found:
        st.info("No model file found. Export one with `unetq export RUN`, or give its path.")
        return {}
    names = {model_name(file, found): file for file in found}
    # The key follows the path: a file that was just named is chosen, whatever was chosen before.
    first = st.selectbox("Model A", list(names), key=f"model_a{path}")
    second = st.selectbox("Model B, to compare", [name for name in names if name != first], index=None, key="model_b")
    return {name: names[name] for name in (first, second) if name}


def run(study: Study, models: Mapping[str, Path], pressed: bool) -> dict[str, Result]:
    """What each model made of the study: kept results at once, the others, if `pressed`, with a progress bar."""
    results, done = kept_results(), {}
    for name, path in models.items():
        kept = results.get(study, path)
        if kept is not None:
            done[name] = kept
        if kept is not None or not pressed:
            continue
        words = f"Segmenting with {name} ..."
        bar = st.progress(0.0, words)
        try:
            done[name] = segment(path, study, results, partial(bar.progress, text=words))
        finally:
            bar.empty()
    return done


def display_panel(scene: Scene, titles: Sequence[str]) -> tuple[str, int, Display]:
    """The view, the slice (from 0) and how it is painted."""
    study = scene.study
    # The key follows the masks: when one comes or goes, the richest view opens again.
    view = st.selectbox("View", list(titles), key=f"view {' '.join(scene.masks)}")
    index = 0
    if study.depth > 1:
        index = st.slider("Slice", 1, study.depth, (study.depth + 1) // 2, key=f"slice {study.hash}") - 1
    style = st.radio("Mask", STYLES, horizontal=True, key="style", label_visibility="collapsed")
    opacity = st.slider("Opacity", 0.0, 1.0, 0.35, 0.05, key="opacity")
    (low, high), (least, most) = study.window, study.limits
    if most <= least:
        return view, index, Display(low, high, style, opacity)
    step = (most - least) / 256
    left, right = st.columns(2)
    middle, range_ = min(max((low + high) / 2, least), most), min(max(high - low, step), most - least)
    level = left.slider("Level", least, most, middle, step, format="compact", key=f"level {study.hash}")
    width = right.slider("Window", step, most - least, range_, step, format="compact", key=f"width {study.hash}")
    return view, index, Display(level - width / 2, level + width / 2, style, opacity)


def image_panel(shown: Sequence[Picture]) -> None:
    """The pictures, two in a line, each under its caption and colours."""
    columns = st.columns(min(2, len(shown)))
    for index, picture in enumerate(shown):
        with columns[index % 2]:
            words = [f'<span><i style="background: {c}"></i>{escape(text)}</span>' for c, text in picture.legend]
            items = "".join([f"<b>{escape(picture.caption)}</b>", *words])
            st.markdown(f'<div class="unetq-legend">{items}</div>', unsafe_allow_html=True)
            st.image(picture.pixels, width="stretch", output_format="PNG")


def result_panel(results: Mapping[str, Result], scores: Mapping[str, Scores], index: int) -> None:
    """Time, memory and file size a model; Dice of the slice and of the whole study where there is a truth (`scores`)."""
    if not results:
        return
    lines: dict[str, list[str]] = {"": list(results)}
    if scores:
        lines["Dice, study"] = [f"{scores[name].study:.4f}" for name in results]
        lines["Dice, slice"] = [f"{scores[name].slices[index]:.4f}" for name in results]
    lines["Time"] = [show_ms(1000 * r.seconds) if r.seconds < 1 else f"{r.seconds:.1f} s" for r in results.values()]
    lines["Memory"] = [show_bytes(result.memory_bytes) for result in results.values()]
    lines["Model file"] = [show_bytes(result.bytes_file) for result in results.values()]
    for label in next(iter(results.values())).shares:
        lines[f"{label}, share"] = [f"{r.shares[label]:.1%}" if label in r.shares else "–" for r in results.values()]
    st.markdown(_table(lines), unsafe_allow_html=True)
    isas = ", ".join(sorted({result.isa for result in results.values()}))
    st.caption(f"Native runtime, {isas}. Memory: weights, activations and scratch of the runtime.")
    if scores and len(next(iter(scores.values())).slices) > 1:
        with st.expander("Dice of every slice"):
            slices = range(1, len(next(iter(scores.values())).slices) + 1)
            st.dataframe(
                {"Slice": list(slices), **{n: s.slices for n, s in scores.items()}}, hide_index=True, height=260
            )


def _table(lines: Mapping[str, Sequence[str]]) -> str:
    """HTML of a table whose first line is its heading."""
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in lines.items()
    )
    return f'<table class="unetq-results">{body}</table>'


def downloads(study: Study, results: Mapping[str, Result]) -> None:
    """A button a model: its mask in the study's own format."""
    for name, result in results.items():
        file, content = _mask_file(result.key, result.mask, study)
        st.download_button(
            f"Save mask of {name}", content, f"{Path(name).name}-{file}", key=f"save {name}", width="stretch"
        )
