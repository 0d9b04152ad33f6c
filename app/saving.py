"""The panel to save by: masks in files, DICOM SEG, pictures, the report."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import streamlit as st

from unetq.app import frame
from unetq.app.bench import Bench
from unetq.app.export import Origin, SegOptions, formats, mask_file, pair_file, pictures_file, seg_file
from unetq.app.judging import agreements_of, measure_lines, sizes_of, tolerance_of
from unetq.app.measure import remarks
from unetq.app.pdf import pdf
from unetq.app.scene import Look
from unetq.app.sheet import Sheet, sheet
from unetq.errors import UserError

__all__ = ["save_panel"]


def save_panel(bench: Bench, look: Look) -> None:
    """A mask, then how to save it; the files are made when they are asked for."""
    if not bench.judged:
        st.caption("Run a model first: its mask can be saved here.")
        return
    study = bench.study
    name = st.selectbox("Mask", list(bench.judged), key="saved mask")
    mask = bench.judged[name]
    kind = st.segmented_control(
        "Format", formats(study), default=formats(study)[0], key=f"format {study.hash}", required=True
    )
    _button(f"Save mask as {kind}", lambda: mask_file(mask, study, kind or formats(study)[0]), bench, name)
    labels = bench.results[name].labels if name in bench.results else bench.coded
    if study.headers:
        options = st.pills(
            "DICOM SEG", (SegOptions.EMPTY, SegOptions.ANONYMOUS), selection_mode="multi", key="seg options"
        )
        _button(
            "Save as DICOM SEG",
            lambda: ("mask.dcm", seg_file(mask, study, _origin(bench, name), labels, options)),
            bench,
            name,
        )
    elif find_spec("highdicom") is None:
        st.caption("With `pip install 'unetq[dicom]'` the mask of a DICOM series can be saved as a DICOM SEG.")
    _button("Save pictures (zip of PNG)", lambda: pictures_file(mask, study, look.display), bench, name)
    _button("Save for training (zip of image and mask)", lambda: pair_file(mask, study, labels), bench, name)
    st.divider()
    nameless = st.checkbox("Leave the study's name out of the report", key="nameless")
    _button(
        "Save the report (HTML)", lambda: ("report.html", sheet(_sheet(bench, look, nameless)).encode()), bench, name
    )
    _button("Save the report (PDF)", lambda: ("report.pdf", pdf(_sheet(bench, look, nameless))), bench, name)


def _button(title: str, make: Callable[[], tuple[str, bytes]], bench: Bench, mask: str) -> None:
    """Two steps, because a file may take seconds: make it, then save it."""
    key = f"made {title} {mask} {bench.study.hash}"
    if st.button(title, key=title, width="stretch"):
        with st.spinner("Making the file ..."):
            try:
                made = make()
            except UserError as error:
                st.error(str(error))
                return
        frame.audit().write("export", frame.user(), study=bench.study.hash, what=title, mask=mask)
        st.download_button(
            f"Download {made[0]}", made[1], made[0], key=key, width="stretch", type="primary", on_click="ignore"
        )


def _origin(bench: Bench, name: str) -> Origin:
    """The model of a mask, or who corrected it by hand."""
    result = bench.results.get(name)
    if result is not None:
        return Origin(name, result.key[1])
    saved = next((version for version in frame.versions().of(bench.study) if version.title == name), None)
    if saved is None:  # not saved yet
        return Origin("Correction", "in work", frame.user())
    return Origin(f"Correction {saved.number}", saved.time, saved.user)


def _sheet(bench: Bench, look: Look, nameless: bool) -> Sheet:
    sizes, agreements = sizes_of(bench), agreements_of(bench, tolerance_of(bench.study))
    about: dict[str, Any] = {"lines": measure_lines(bench, sizes, agreements, -1), "remarks": remarks(sizes)}
    return Sheet(
        bench, look, **about, reviews=frame.reviews().of(bench.study.hash), user=frame.user(), nameless=nameless
    )
