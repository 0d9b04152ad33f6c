"""Overlays of the best, median and worst test case: each image once, a transparent layer a setting over it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from unetq.errors import UserError
from unetq.report.cases import CaseImage, Layer, layer_of, load_case, pick_cases
from unetq.report.collect import RunRecord
from unetq.report.paint import AGREE, ONLY_A, ONLY_B, OUTLINE, png
from unetq.report.pool import Setting, mean_by_case

__all__ = ["Overlays", "overlay_section", "overlays_of"]


@dataclass(frozen=True)
class Shown:
    """A setting's prediction of one case: by which run, and its layer, None where that run kept no mask."""

    run: RunRecord
    layer: Layer | None


@dataclass(frozen=True)
class Overlays:
    """What the page shows of the test images.

    Attributes:
        settings: a line each.
        cases: "best", "median", "worst" -> image and truth; empty where the data is gone.
        shown: (setting's label, case) -> prediction.
        missing: the sentence that takes the images' place, or "".
        key: a word that is unique in the page.
    """

    settings: Sequence[Setting]
    cases: Mapping[str, CaseImage]
    shown: Mapping[tuple[str, str], Shown]
    missing: str = ""
    key: str = "a"


def overlays_of(settings: Sequence[Setting], reference: Setting, data: Path | None, key: str = "a") -> Overlays:
    """Reads the test images and masks; what cannot be read becomes a sentence in the page, never a failed report."""
    first = reference.runs[0]
    data = data or first.data
    if data is None:
        return Overlays(settings, {}, {}, f"{first.folder} does not say where its data lies; name it with --data.", key)
    if not data.is_dir():
        return Overlays(
            settings, {}, {}, f"The prepared data is no longer at {data}; name its folder with --data.", key
        )
    limits = (first.config.get("prep") or {}).get("window")
    picks = pick_cases(mean_by_case([run.per_case for run in reference.runs]))
    try:
        cases = {name: load_case(data, case, tuple(limits) if limits else None) for name, case in picks.items()}
        shown = {(s.label, case.case): _shown(s, case) for s in settings for case in cases.values()}
    except UserError as error:
        return Overlays(settings, {}, {}, str(error), key)
    return Overlays(settings, cases, shown, "", key)


def overlay_section(overlays: Overlays) -> str:
    """HTML: a line a setting, a column a case."""
    title = "<h3>Best, median and worst test case</h3>"
    if overlays.missing:
        return f'{title}<p class="missing">No overlays: {escape(overlays.missing)}</p>'
    width = f"110px repeat({len(overlays.cases)}, minmax(0, 1fr))"
    cells = ['<div class="head">Setting</div>']
    cells += [f'<div class="head">{name.capitalize()}: {escape(c.case)}</div>' for name, c in overlays.cases.items()]
    for setting in overlays.settings:
        cells.append(f'<div class="setting">{escape(setting.label)}</div>')
        cells += [_figure(overlays, setting, name, case) for name, case in overlays.cases.items()]
    return f"""{title}
<p class="muted">Chosen by the Dice of the reference, the same cases for every setting. A small label is shown as a detail of its
slice; the Dice is of the whole case.</p>
{_legend()}
<style>{_backgrounds(overlays)}</style>
<div class="panel"><input type="checkbox" class="bare" id="bare-{overlays.key}">
<label for="bare-{overlays.key}">images without overlay (or point at one)</label>
<div class="overlays" style="grid-template-columns: {width}; margin-top: 12px">{"".join(cells)}</div></div>
"""


def _shown(setting: Setting, case: CaseImage) -> Shown:
    """By the first run that kept a mask of the case, in the order of fold and seed; else by the first that was tested on it."""
    tested = [run for run in setting.runs if case.case in run.per_case]
    for run in tested:
        layer = layer_of(run, case)
        if layer:
            return Shown(run, layer)
    return Shown(tested[0], None)


def _figure(overlays: Overlays, setting: Setting, name: str, case: CaseImage) -> str:
    shown = overlays.shown[setting.label, case.case]
    dice = shown.run.per_case[case.case]
    words = f"{setting.label}, {name} case {case.case}: Dice {dice:.4f}"
    image = f'<img alt="{escape(words)}" src="{_uri(shown.layer.png)}">' if shown.layer else ""
    caption = f"Dice <b>{dice:.4f}</b>{escape(_extra(setting, shown, case))}"
    box = f'<div class="image {_class(overlays, name)}" style="aspect-ratio: {case.aspect:.4f}">{image}</div>'
    return f"<figure>{box}<figcaption>{caption}</figcaption></figure>"


def _extra(setting: Setting, shown: Shown, case: CaseImage) -> str:
    """What a caption has to add, in brackets."""
    parts = [f"{word} {n}" for word, n in (("fold", shown.run.fold), ("seed", shown.run.seed)) if len(setting.runs) > 1]
    if case.depth > 1:
        parts.append(f"slice {case.index + 1} of {case.depth}")
    if case.is_detail:
        parts.append("detail")
    if shown.layer is None:
        parts.append("the run kept no mask of this case")
    elif shown.layer.hidden:
        parts.append(f"{shown.layer.hidden} px predicted beyond it")
    return f" ({', '.join(parts)})" if parts else ""


def _backgrounds(overlays: Overlays) -> str:
    """The gray images as style rules: each is in the page once, however many settings lie over it."""
    rules = [
        f".{_class(overlays, name)} {{ background-image: url({_uri(png(c.gray))}) }}"
        for name, c in overlays.cases.items()
    ]
    return "\n".join(rules)


def _class(overlays: Overlays, name: str) -> str:
    return f"case-{overlays.key}-{name}"


def _legend() -> str:
    entries = (
        (AGREE, "predicted and true"),
        (ONLY_A, "predicted only"),
        (ONLY_B, "true only (missed)"),
        (OUTLINE, "outline of the truth"),
    )
    items = "".join(f'<span><i style="background: rgb{colour}"></i>{text}</span>' for colour, text in entries)
    return f'<div class="legend">{items}</div>'


def _uri(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"
