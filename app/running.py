"""Which models, their results, and the work beside the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import streamlit as st

from unetq.app import frame
from unetq.app.audit import Audit
from unetq.app.floating import CHECKPOINT, segment_float
from unetq.app.inference import Result, Results, segment
from unetq.app.jobs import Job
from unetq.app.study import Study, model_name
from unetq.runtime.memory import peak_rss_bytes

__all__ = ["busy", "jobs_panel", "missing_of", "model_panel", "results_of", "start", "watch"]

FEW = 12  # models
PATIENCE = 0.4  # seconds that a run may take before the page shows its progress


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
