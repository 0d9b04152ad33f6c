"""The study page's side: which study, which models, run and progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app import frame
from unetq.app.audit import Audit
from unetq.app.floating import CHECKPOINT, segment_float
from unetq.app.guard import below
from unetq.app.inference import Result, Results, segment
from unetq.app.jobs import Job
from unetq.app.quality import changed_at
from unetq.app.study import SUFFIXES, Study, find_studies, model_name, open_study, open_truth, with_uploads
from unetq.runtime.memory import peak_rss_bytes

__all__ = [
    "busy",
    "forget_truth",
    "jobs_panel",
    "missing_of",
    "model_panel",
    "open_panel",
    "results_of",
    "start",
    "truth_mask",
]

# What has become of a study, the last thing that counts first.
MARKS = {"passed": "✓", "failed": "✗", "corrected": "✎", "segmented": "●"}
VERDICTS = {"pass": "passed", "fail": "failed"}
FEW = 12  # models
PATIENCE = 0.4  # seconds that a run may take before the page shows its progress


@st.cache_resource(max_entries=3, show_spinner="Reading the study ...")
def _from_path(path: str, changed: int, name: str) -> Study:
    study = open_study(path, name)
    frame.reviews().place(Path(path), changed, study.hash)
    return study


@st.cache_resource(max_entries=3, show_spinner="Reading the study ...")
def _from_uploads(ids: tuple[str, ...], _uploads: Any) -> Study:
    return with_uploads([(upload.name, upload.getvalue()) for upload in _uploads])


@st.cache_resource(max_entries=3, show_spinner=False)
def truth_mask(_truth: Study, _study: Study, key: tuple[str, str]) -> NDArray[np.uint8]:
    """The labels of a ground truth; `key` = hashes of truth and study."""
    return open_truth(_truth, _study)


@st.cache_data(ttl=20, show_spinner=False)
def _listed(root: str) -> list[str]:
    return find_studies(Path(root))


def open_panel(what: str, key: str) -> Study | None:
    """A list of what lies below the root, where a path may be typed too, and an upload; what was done last wins."""
    root = frame.settings().root
    by_path, by_upload = st.tabs(["Browse", "Upload"])
    states = _states(root.resolve()) if key == "study" else {}
    path = by_path.selectbox(
        f"{what}: path",
        _listed(str(root)),
        index=None,
        key=f"{key}_path",
        placeholder="Choose, or type a path",
        accept_new_options=True,
        format_func=lambda name: f"{MARKS[states[name]]} {name}" if name in states else name,
        label_visibility="collapsed",
        help=f"DICOM folders, zips, NIfTI, TIFF, PNG and JPEG below {root.resolve()}",
        on_change=_came,
        args=(key, "path"),
    )
    if states:
        by_path.caption(", ".join(f"{MARKS[state]} {state}" for state in MARKS if state in states.values()))
    uploads = by_upload.file_uploader(
        f"{what}: upload",
        type=list(SUFFIXES),
        accept_multiple_files=True,
        key=f"{key}_upload {st.session_state.get(f'{key} turn', 0)}",
        label_visibility="collapsed",
        help="One image, or a DICOM series as a zip or as all of its files",
        on_change=_came,
        args=(key, "upload"),
    )
    if path and st.session_state.get(f"{key} source") == "path":
        uploads = []
    elif uploads:
        st.session_state[f"{key} uploaded"] = _from_uploads(tuple(upload.file_id for upload in uploads), uploads)
    uploaded: Study | None = st.session_state.get(f"{key} uploaded")
    if uploaded is not None:
        if not uploads:  # the page was left: Streamlit forgets a file that it does not show
            st.caption(f"Open: {uploaded.name}, uploaded.")
        return uploaded
    if not path:
        return None
    file = below(_meant(path, _listed(str(root))), frame.settings().readable)
    inside = file.is_relative_to(root.resolve()) and file != root.resolve()
    return _from_path(str(file), changed_at(file), str(file.relative_to(root.resolve())) if inside else file.name)


def _states(root: Path) -> dict[str, str]:
    """Path below the root -> state of the study there, as far as one was opened."""
    places = {path: study for path, study in frame.reviews().places().items() if path.is_relative_to(root)}
    if not places:
        return {}
    verdicts, segmented = frame.reviews().verdicts(), frame.kept_results().studies()
    found = {}
    for path, study in places.items():
        state = VERDICTS.get(verdicts.get(study, "")) or (
            "corrected" if frame.versions().any_of(study) else "segmented" if study in segmented else ""
        )
        if state:
            found[str(path.relative_to(root))] = state
    return found


def _came(key: str, source: str) -> None:
    """A person chose a path, or gave or took away a file."""
    st.session_state[f"{key} source"] = source
    st.session_state.pop(f"{key} uploaded", None)


def forget_truth(study: Study) -> None:
    """Closes the ground truth of the study before: of one size, nobody would see that it is not this one's."""
    if st.session_state.get("truth of", study.hash) != study.hash:
        st.session_state["truth_path"] = None
        st.session_state["truth turn"] = st.session_state.get("truth turn", 0) + 1
        st.session_state.pop("truth uploaded", None)
    st.session_state["truth of"] = study.hash


def _meant(typed: str, listed: list[str]) -> str:
    """The one path of the list that holds the typed words, else what was typed."""
    found = [path for path in listed if typed.strip().lower() in path.lower()]
    return found[0] if len(found) == 1 and typed not in listed else typed


def model_panel() -> dict[str, Path]:
    """Name -> file of the chosen models."""
    found = frame.models()
    if not found:
        st.info("No model file found. Export one with `unetq export RUN`, then start the viewer with its folder.")
        return {}
    # A few are all on the page: a list that opens would hide the button below it.
    few = len(found) <= FEW
    if few:
        chosen = st.pills(
            "Models, one or more", list(found), selection_mode="multi", default=list(found)[:1], key="models"
        )
    else:
        chosen = st.multiselect("Models, one or more", list(found), default=list(found)[:1], key="models")
    return {name: Path(found[name]) for name in chosen}


def results_of(study: Study, models: Mapping[str, Path]) -> dict[str, Result]:
    """The kept results of the chosen models."""
    kept = {name: frame.kept_results().get(study, path) for name, path in models.items()}
    return {name: result for name, result in kept.items() if result is not None}


def missing_of(study: Study, models: Mapping[str, Path]) -> dict[str, Path]:
    """Those of the chosen models that have no kept result."""
    kept = results_of(study, models)
    return {name: path for name, path in models.items() if name not in kept}


def busy() -> bool:
    """Whether the session's job runs."""
    job: Job | None = st.session_state.get("job")
    return bool(job and job.running)


def start(study: Study, missing: Mapping[str, Path]) -> None:
    """Segments with these models in the background; short runs end before the page goes on."""
    work = partial(
        _segment_all, study=study, models=missing, log=(frame.audit(), frame.user()), kept=frame.kept_results()
    )
    watch(Job(f"Segmenting with {', '.join(missing)}", work))


def watch(job: Job) -> None:
    """Makes a job the session's own; the page shows its progress until it ends."""
    st.session_state["job"] = job
    job.wait(PATIENCE)


def jobs_panel() -> None:
    """The progress of the session's job, or what became of it."""
    job: Job | None = st.session_state.get("job")
    if job is None:
        return
    if job.running:
        _progress()
        return
    if job.error:
        st.error(job.error)
    elif job.cancelled:
        st.info(f"{job.title}: cancelled.")


@st.fragment(run_every=0.5)
def _progress() -> None:
    job: Job = st.session_state["job"]
    if not job.running:
        st.rerun()
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    left.progress(min(job.done, 1.0), job.words)
    right.button("Cancel", key="cancel", on_click=job.cancel, disabled=job.cancelled, width="stretch")


def _segment_all(
    report: Callable[[int, int], None], study: Study, models: Mapping[str, Path], log: tuple[Audit, str], kept: Results
) -> None:
    audit, user = log
    for number, path in enumerate(models.values()):

        def on_tile(done: int, total: int, before: int = number) -> None:
            report(before * total + done, len(models) * total)

        run = segment_float if path.name == CHECKPOINT else segment
        result = run(path, study, kept, on_tile)
        audit.write(
            "segment",
            user,
            study=study.hash,
            model=result.key[1],
            name=model_name(path),
            bits=result.bits,
            seconds=round(result.seconds, 3),
            peak_rss_bytes=result.memory_bytes if path.name == CHECKPOINT else peak_rss_bytes(),
            isa=result.isa,
            warnings=[result.warning] if result.warning else [],
        )
