"""Which study, and which ground truth: a list with what became of each, a path, or an upload."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from unetq.app import frame
from unetq.app.guard import below
from unetq.app.quality import changed_at
from unetq.app.study import SUFFIXES, Study, find_studies, like_mask, open_study, open_truth, with_uploads

__all__ = ["forget_truth", "go_to", "next_study", "open_panel", "truth_mask"]

# What has become of a study, the last thing that counts first.
MARKS = {"passed": "✓", "failed": "✗", "corrected": "✎", "segmented": "●"}
VERDICTS = {"pass": "passed", "fail": "failed"}


@st.cache_resource(max_entries=3, show_spinner="Reading the study ...")
def _from_path(path: str, changed: int, name: str) -> Study:
    return open_study(path, name)


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


def open_panel(what: str, key: str, of: str | None = None) -> Study | None:
    """A list of what lies below the root, where a path may be typed too, and an upload; what was done last wins.

    Args:
        what: heading, for those who hear the page.
        key: of the fields.
        of: name of the study whose mask is looked for, None for a study; the most likely ones come first.
    """
    root = frame.settings().root
    listed = sorted(_listed(str(root)), key=lambda path: (like_mask(path) != (of is not None), -_alike(of or "", path)))
    by_path, by_upload = st.tabs(["Browse", "Upload"])
    states = _states(root.resolve()) if key == "study" else {}
    path = by_path.selectbox(
        f"{what}: path",
        listed,
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
    file = below(_meant(path, listed), frame.settings().readable)
    inside = file.is_relative_to(root.resolve()) and file != root.resolve()
    changed = changed_at(file)
    study = _from_path(str(file), changed, str(file.relative_to(root.resolve())) if inside else file.name)
    if frame.reviews().places().get(file) != study.hash:
        frame.reviews().place(file, changed, study.hash)
    return study


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


def _alike(a: str, b: str) -> int:
    """Number of letters with which both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b)))


def next_study(now: str) -> str | None:
    """The path after the open study's name whose study has no verdict; None where there is no other."""
    root = frame.settings().root
    paths = [path for path in _listed(str(root)) if not like_mask(path)]
    first = paths.index(now) + 1 if now in paths else 0
    states = _states(root.resolve())
    left = [path for path in paths[first:] + paths[:first] if path != now and states.get(path) not in VERDICTS.values()]
    return left[0] if left else None


def go_to(path: str, truth: str | None = None) -> None:
    """Opens a study, and its ground truth, in the next run of the page: a callback of a button."""
    st.session_state["study_path"] = path
    _came("study", "path")
    if truth is not None:
        st.session_state["truth_path"] = truth
        _came("truth", "path")
        st.session_state.pop("truth of", None)  # it is of the study that comes


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
