"""The middle of the study page: toolbar and linked planes on the left, a panel to judge, correct and save on the right."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import streamlit as st

from unetq.app import frame
from unetq.app.bench import Bench
from unetq.app.correcting import correct_panel, stroke, tool
from unetq.app.judging import result_panel, review_panel
from unetq.app.planes import AXIS, Grid, Plane, Point
from unetq.app.render import PRESETS, STYLES, Display
from unetq.app.saving import save_panel
from unetq.app.scene import IMAGE, Look, Picture, pictures, views
from unetq.app.solid_view import show_solid
from unetq.app.study import Study
from unetq.report.paint import png
from unetq.report.words import show_mm

__all__ = ["point_of", "show_planes", "viewing"]

ALL, SOLID = "All planes", "3-D"
THIN = 0.1
PANELS = ("Results", "Review", "Correct", "Save")


@dataclass(frozen=True)
class Shown:
    """What the planes on the page are, so that an event finds its place again."""

    grid: Grid
    planes: tuple[Plane, ...]
    study: Study


@st.fragment
def viewing(bench: Bench) -> None:
    """Everything that changes with the slice; only this part is drawn again when it does."""
    left, right = st.container(key="split").columns([2.6, 1.2], gap="medium")
    with right, frame.guarded():
        panel = st.segmented_control(
            "Panel", PANELS, default="Results", key="panel", label_visibility="collapsed", required=True
        )
        area = st.container()
    with left, frame.guarded():
        look = toolbar(bench)
        if look.solid:
            show_solid(bench, look)
        show_planes(bench, look)
    with area, frame.guarded():
        if panel == "Results":
            result_panel(bench, look)
        elif panel == "Review":
            review_panel(bench)
        elif panel == "Correct":
            correct_panel(bench)
        else:
            save_panel(bench, look)


def toolbar(bench: Bench) -> Look:
    """View, planes or body, window and style."""
    scene, study = bench.scene, bench.study
    grid = Grid(study.volume)
    several = len(grid.planes) > 1
    bar = st.container(key="toolbar")
    a, b, c, d = bar.columns([1.7, 1, 1, 0.8] if several else [1.7, 0.01, 1, 0.8], vertical_alignment="bottom")
    # The key follows the masks: when one comes or goes, the richest view opens again.
    titles = views(scene)
    view = a.selectbox("View", list(titles), key=f"view {' '.join([*scene.masks, *scene.maps])}")
    planes, solid = grid.planes, False
    if several:
        single = len(titles[view]) == 1
        # Of a stack that is a thin sheet, the other planes are but strips.
        thin = min(grid.size("coronal")) < THIN * max(grid.size("coronal"))
        options = list(grid.planes) if not single else [*grid.planes, ALL] if thin else [ALL, *grid.planes]
        chosen = b.selectbox(
            "Show",
            [*options, SOLID],
            key=f"planes {single}",
            format_func=lambda p: p if p in (ALL, SOLID) else grid.title(p),
        )
        solid = chosen == SOLID
        planes = tuple(plane for plane in grid.planes if chosen in (ALL, SOLID, plane))
    window = _window(study, c)
    with d.popover("Display", width="stretch"):
        low, high = _sliders(study, window)
        style = st.radio("Masks", STYLES, horizontal=True, key="style")
        opacity = st.slider("Opacity", 0.0, 1.0, 0.35, 0.05, key="opacity")
        neurological = False
        if grid.oriented:
            ways = ("Radiological (R on the left)", "Neurological (L on the left)")
            neurological = st.radio("Orientation", ways, key="way") == ways[1]
    return Look(view, planes, point_of(study), Display(low, high, style, opacity), neurological, solid)


def point_of(study: Study) -> Point:
    """The point under the cross-hair, z, y, x of the turned grid."""
    point: Point = st.session_state.setdefault(f"point {study.hash}", Grid(study.volume).middle)
    return point


def _window(study: Study, place: Any) -> tuple[float, float]:
    """(low, high) of the chosen preset; those of CT only where intensities look like HU."""
    presets = {"Auto": study.window, "Full range": study.limits}
    if study.limits[0] <= -200:
        presets |= PRESETS
    return presets[place.selectbox("Window", list(presets), key=f"window {study.hash}")]


def _sliders(study: Study, window: tuple[float, float]) -> tuple[float, float]:
    """The preset's window, or what the sliders make of it."""
    (low, high), (least, most) = window, study.limits
    if most <= least:
        return low, high
    step = (most - least) / 256
    middle, width = min(max((low + high) / 2, least), most), min(max(high - low, step), most - least)
    # A new preset sets the sliders anew: the key follows it.
    key = f"{study.hash} {low} {high}"
    level = st.slider("Level", least, most, middle, step, format="compact", key=f"level {key}")
    range_ = st.slider("Window width", step, most - least, width, step, format="compact", key=f"width {key}")
    return (low, high) if (level, range_) == (middle, width) else (level - range_ / 2, level + range_ / 2)


def show_planes(bench: Bench, look: Look) -> None:
    """The pictures, linked by the cross-hair; those of several planes are called by their planes."""
    study, scene = bench.study, bench.scene
    grid = Grid(study.volume, look.neurological)
    shown = pictures(scene, look)
    # What an event of the component refers to: pane's number -> plane.
    st.session_state["shown"] = Shown(grid, tuple(picture.plane for picture in shown), study)
    several = len(look.planes) > 1
    panes = [_pane(grid, picture, look.point, several) for picture in shown]
    layout = "row" if look.solid else "linked" if several else "grid"
    data = {"panes": panes, "layout": layout, "tool": tool()}
    _component()(
        key="planes",
        data=data,
        on_go_change=_go,
        on_step_change=_step,
        on_stroke_change=_stroke,
    )
    st.caption(_readout(study, grid, look.point))


@cache
def _component() -> Any:
    where = files("unetq.app") / "component"
    css, js = ((where / name).read_text(encoding="utf-8") for name in ("planes.css", "planes.js"))
    return st.components.v2.component("unetq_planes", html='<div class="planes"></div>', css=css, js=js)


def _pane(grid: Grid, picture: Picture, point: Point, by_plane: bool) -> dict[str, Any]:
    axis = AXIS[picture.plane]
    height, width = grid.size(picture.plane)
    title = grid.title(picture.plane) if by_plane else picture.caption
    return {
        "title": title,
        "words": picture.caption if by_plane and picture.caption != IMAGE else "",
        "src": "data:image/png;base64," + base64.b64encode(png(picture.pixels, level=1)).decode("ascii"),
        "size": [height, width],
        "slice": point[axis] + 1,
        "slices": grid.shape[axis],
        # Scrolling down goes on in a stack, and towards the feet of a patient.
        "down": -1 if grid.oriented and picture.plane == "axial" else 1,
        "cross": list(grid.place(picture.plane, point)) if len(grid.planes) > 1 else None,
        "letters": list(grid.letters(picture.plane)),
        "ruler": _ruler(width) if grid.volume.knows_spacing and 2 * height > width else None,
        "legend": [list(entry) for entry in picture.legend],
    }


def _ruler(width: float) -> tuple[float, str]:
    """A round length of about a fifth of the picture: share of its width, and words.

    >>> _ruler(360)
    (0.1388888888888889, '50 mm')
    """
    power = 10.0 ** math.floor(math.log10(width / 5))
    length = max(n for n in (1, 2, 5) if n * power <= width / 5) * power
    number, unit = show_mm(length).split(" ")
    return length / width, f"{float(number):g} {unit}"


def _readout(study: Study, grid: Grid, point: Point) -> str:
    """Intensity and place under the cross-hair."""
    value = grid.turned(study.volume.array)[point]
    where = f"Intensity {value:g} at slice {point[0] + 1}, row {point[1] + 1}, column {point[2] + 1}"
    if not grid.oriented:
        return where
    x, y, z = grid.world(point)
    sides = (("R", "L")[x < 0], ("A", "P")[y < 0], ("S", "I")[z < 0])
    return f"{where}  ·  " + ", ".join(f"{side} {abs(mm):.1f}" for side, mm in zip(sides, (x, y, z))) + " mm"


def _event(name: str) -> tuple[Shown, int, Any] | None:
    """What the planes sent, and what they showed then."""
    value = st.session_state["planes"].get(name)
    shown: Shown | None = st.session_state.get("shown")
    if value is None or shown is None or not 0 <= int(value["pane"]) < len(shown.planes):
        return None
    return shown, int(value["pane"]), value


def _go() -> None:
    if event := _event("go"):
        shown, pane, value = event
        down, across = value["place"]
        key = f"point {shown.study.hash}"
        st.session_state[key] = shown.grid.point(
            shown.planes[pane], (float(down), float(across)), st.session_state[key]
        )


def _step() -> None:
    if event := _event("step"):
        shown, pane, value = event
        key = f"point {shown.study.hash}"
        st.session_state[key] = shown.grid.step(shown.planes[pane], st.session_state[key], int(value["by"]))


def _stroke() -> None:
    if event := _event("stroke"):
        shown, pane, value = event
        line = [(float(down), float(across)) for down, across in value["line"][:10_000]]
        stroke(shown.study, shown.grid, shown.planes[pane], st.session_state[f"point {shown.study.hash}"], line)
