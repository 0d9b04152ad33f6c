"""The viewer's panels: each draws its widgets with Streamlit and returns plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from unetq.app.inference import Result, Results, segment
from unetq.app.render import Display
from unetq.app.scene import TRUTH, Picture, Scene, dice_rows, mean_dice
from unetq.app.study import SUFFIXES, Study, find_models, mask_file, model_name, open_study, with_upload
from unetq.errors import UserError
from unetq.report.paint import auto_window
from unetq.report.tables import show_bytes

__all__ = [
    "banner",
    "display_panel",
    "downloads",
    "guarded",
    "image_panel",
    "model_panel",
    "open_panel",
    "result_panel",
    "run",
]

STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 2.2rem; padding-bottom: 2rem; }
[data-testid="stSidebarUserContent"] { padding-top: 0; }
[data-testid="stMetricValue"] { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.unetq-head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem 1rem; margin-bottom: .2rem; }
.unetq-head b { font-size: 1.35rem; font-weight: 600; color: #1f2d3a; }
.unetq-head span { color: #5b6b7b; }
.unetq-head .research { margin-left: auto; padding: .1rem .6rem; border: 1px solid #ecd9bd; border-radius: 4px;
  background: #fdf8ef; color: #8a4b08; font-size: .85rem; }
.unetq-legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; color: #5b6b7b; font-size: .88rem; }
.unetq-legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 3px;
  vertical-align: -1px; }
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


def banner(title: str, about: str) -> None:
    """Heading of the page with the sentence on its use."""
    text = f"<b>{escape(title)}</b><span>{escape(about)}</span>"
    note = '<span class="research">Research use only, not a medical device</span>'
    st.markdown(f'{STYLE}<div class="unetq-head">{text}{note}</div>', unsafe_allow_html=True)


def open_panel(what: str, key: str, hint: str) -> Study | None:
    """A path field and an upload field; the upload wins. None where neither is given."""
    path = st.text_input(f"{what}: path", key=f"{key}_path", placeholder=hint)
    upload = st.file_uploader(f"{what}: upload", type=list(SUFFIXES), key=f"{key}_upload")
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
    first = st.selectbox("Model A", list(names), key="model_a")
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
        bar = st.progress(0.0, f"Segmenting with {name} ...")
        try:
            done[name] = segment(path, study, results, bar.progress)
        finally:
            bar.empty()
    return done


def display_panel(scene: Scene, titles: Sequence[str]) -> tuple[str, int, Display]:
    """The view, the slice (from 0) and how it is painted."""
    study = scene.study
    view = st.selectbox("View", list(titles), key="view")
    index = 0
    if study.depth > 1:
        index = st.slider("Slice", 1, study.depth, (study.depth + 1) // 2, key=f"slice_{study.hash}") - 1
    style = st.radio("Mask", ["Both", "Fill", "Outline"], horizontal=True, key="style")
    opacity = st.slider("Opacity", 0.0, 1.0, 0.35, 0.05, key="opacity")
    low, high = auto_window(study.volume.array)
    least, most = float(study.volume.array.min()), float(study.volume.array.max())
    if most <= least:
        return view, index, Display(low, high, style, opacity)
    step = (most - least) / 256
    level = st.slider("Level", least, most, min(max((low + high) / 2, least), most), step, key=f"level_{study.hash}")
    width = st.slider(
        "Window", step, most - least, min(max(high - low, step), most - least), step, key=f"width_{study.hash}"
    )
    return view, index, Display(level - width / 2, level + width / 2, style, opacity)


def image_panel(shown: Sequence[Picture]) -> None:
    """The pictures beside each other, each with its caption and colours."""
    for column, picture in zip(st.columns(len(shown)), shown):
        with column:
            st.markdown(f"**{escape(picture.caption)}**")
            st.image(picture.pixels, width="stretch", output_format="PNG")
            if picture.legend:
                items = "".join(
                    f'<span><i style="background: {c}"></i>{escape(words)}</span>' for c, words in picture.legend
                )
                st.markdown(f'<div class="unetq-legend">{items}</div>', unsafe_allow_html=True)


def result_panel(scene: Scene, results: Mapping[str, Result], index: int) -> None:
    """Time, memory and file size a model; Dice of the slice and of the whole study where there is a truth."""
    truth = scene.masks.get(TRUTH)
    for name, result in results.items():
        st.markdown(f"**{escape(name)}**")
        left, right = st.columns(2)
        left.metric("Time", f"{result.seconds:.2f} s" if result.seconds >= 0.1 else f"{1000 * result.seconds:.0f} ms")
        right.metric(
            "Memory", show_bytes(result.memory_bytes), help="Rise of the resident memory during the inference."
        )
        if truth is not None:
            mask = scene.masks[name]
            left.metric("Dice, slice", f"{mean_dice(mask[index], truth[index]):.4f}")
            right.metric("Dice, study", f"{mean_dice(mask, truth):.4f}")
        st.caption(f"{_labels(result, scene, name)} Model file {show_bytes(result.bytes_file)}, {result.isa}.")
    rows = dice_rows(scene)
    if len(rows) > 2:
        with st.expander("Dice of every slice"):
            st.dataframe(rows, hide_index=True, height=260)


def downloads(scene: Scene) -> None:
    """A button a model: its mask in the study's own format."""
    for name in scene.models:
        file, content = mask_file(scene.masks[name], scene.study)
        st.download_button(
            f"Save mask of {name}", content, f"{name}-{file}".replace("/", "_"), key=f"save_{name}", width="stretch"
        )


def _labels(result: Result, scene: Scene, name: str) -> str:
    """Share of the voxels that each label takes."""
    mask = scene.masks[name]
    shares = [f"{label} {float((mask == value).mean()):.1%}" for value, label in enumerate(result.labels, 1)]
    return f"{', '.join(shares)} of the voxels."
