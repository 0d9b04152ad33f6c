"""The 3-D view on the study page: NiiVue in a component of our own, linked to the planes by the cross-hair.

Nothing large goes through the websocket: NiiVue itself and the volumes lie in the server's memory as media files of the
session, the browser fetches them over HTTP, and Streamlit deletes them once a page is drawn that does not hold them any more.
An `asset_dir` of Streamlit's could serve NiiVue, too, but it must lie inside the package's folder, and the `app/` of an
editable install does not.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache, partial
from importlib.resources import files
from typing import Any

import numpy as np
import streamlit as st
from streamlit.runtime import get_instance

from unetq.app.bench import Bench
from unetq.app.judging import stamp
from unetq.app.scene import DISAGREEMENT, IMAGE, Look, Scene, views
from unetq.app.solid import Overlay, Part, around, image_file, overlay_of, whole

__all__ = ["show_solid"]

WHOLE, AROUND = "Whole study", "Around the mask"
NIFTI = "application/octet-stream"


def show_solid(bench: Bench, look: Look) -> None:
    """The last picture of a view as a body that can be turned."""
    scene = bench.scene
    names = views(scene)[look.view][-1]
    masks = [*scene.masks] if names == (DISAGREEMENT,) else [name for name in names if name in scene.masks]
    part, key = _part(bench, tuple(masks))
    overlay = _overlay((key, names, bench.truth_hash, _marks(bench, names)), scene, names, part)
    data = {
        # Streamlit's own paths begin with a slash: the component makes whole addresses of them.
        "library": _served("library", _library(), "text/javascript"),
        "image": _served("image", _image(key, scene, part), NIFTI),
        "window": [look.display.low, max(look.display.high, look.display.low + 1e-6)],
        "overlay": _told(*overlay) if overlay else None,
        "title": " and ".join(names) or IMAGE,
        "place": part.place(look.point),
        "oriented": part.grid.oriented,
        "thinned": " x ".join(map(str, part.step)) if max(part.step) > 1 else "",
    }
    name = f"solid {bench.study.hash}"  # of another study the camera starts anew
    _component()(key=name, data=data, on_go_change=partial(_go, name, bench.study.hash, part))


def _part(bench: Bench, masks: tuple[str, ...]) -> tuple[Part, Hashable]:
    """The part that the person wants, and what it depends on."""
    scene = bench.scene
    choice = WHOLE
    if masks:
        choice = st.segmented_control(
            "Part", (WHOLE, AROUND), default=WHOLE, key="solid choice", required=True, label_visibility="collapsed"
        )
    part = around(scene, masks) if choice == AROUND else whole(scene)
    if part is None:
        st.caption("The mask is empty: here is the whole study.")
        part = whole(scene)
    return part, (bench.study.hash, part.low, part.high)


def _marks(bench: Bench, names: tuple[str, ...]) -> tuple[Hashable, ...]:
    """Changes when one of the masks or maps does."""
    maps = tuple(hash(bench.maps[name].tobytes()) for name in names if name in bench.maps)
    return maps + tuple((*bench.key(name), stamp(bench, name)) for name in bench.masks)


@st.cache_resource(max_entries=2, show_spinner="Preparing the 3-D view ...")
def _image(key: Hashable, _scene: Scene, _part: Part) -> bytes:
    return image_file(_scene, _part)


@st.cache_resource(max_entries=4, show_spinner="Preparing the 3-D view ...")
def _overlay(key: Hashable, _scene: Scene, names: tuple[str, ...], _part: Part) -> tuple[Overlay, bytes] | None:
    found = overlay_of(_scene, names, _part)
    return None if found is None else (found, _part.file(found.array))


def _told(overlay: Overlay, file: bytes) -> dict[str, Any]:
    return {
        "file": _served("overlay", file, NIFTI),
        "heat": overlay.heat,
        "colours": np.array(overlay.colours).T.tolist(),
        "legend": [list(entry) for entry in overlay.legend],
    }


def _served(what: str, content: bytes, kind: str) -> str:
    """Path under which the server gives a file to the browser; the same content has the same path."""
    return get_instance().media_file_mgr.add(content, kind, f"solid {what}")


@cache
def _library() -> bytes:
    return (files("unetq.app") / "component/niivue.min.js").read_bytes()


@cache
def _component() -> Any:
    where = files("unetq.app") / "component"
    css, js = ((where / name).read_text(encoding="utf-8") for name in ("solid.css", "solid.js"))
    return st.components.v2.component("unetq_solid", html='<div class="solid"></div>', css=css, js=js)


def _go(name: str, study: str, part: Part) -> None:
    """Moves the cross-hair to where a person pointed."""
    value = st.session_state[name].get("go")
    if value is not None:
        x, y, z = (float(mm) for mm in value["place"])
        st.session_state[f"point {study}"] = part.point((x, y, z))
