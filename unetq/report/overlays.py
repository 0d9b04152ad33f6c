"""Overlays of the best, median and worst test case: each image once, a transparent layer a run over it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from unetq.errors import UserError
from unetq.report.collect import RunRecord
from unetq.report.figures import CaseImage, layer_png, load_case, pick_cases
from unetq.report.paint import AGREE, ONLY_A, ONLY_B, OUTLINE, png

__all__ = ["Overlays", "overlay_section", "overlays_of"]


@dataclass(frozen=True)
class Overlays:
    """What the page shows of the test images.

    Attributes:
        runs: the settings, a line each.
        cases: "best", "median", "worst" -> image and truth; empty where the data is gone.
        layers: (run's label, case) -> PNG over the image, or None where the run kept no mask.
        missing: the sentence that takes the images' place, or "".
        key: a word that is unique in the page.
    """

    runs: Sequence[RunRecord]
    cases: Mapping[str, CaseImage]
    layers: Mapping[tuple[str, str], bytes | None]
    missing: str = ""
    key: str = "a"


def overlays_of(runs: Sequence[RunRecord], reference: RunRecord, data: Path | None, key: str = "a") -> Overlays:
    """Reads the test images and masks; what cannot be read becomes a sentence in the page, never a failed report."""
    data = data or reference.data
    if data is None:
        return Overlays(runs, {}, {}, f"{reference.folder} does not say where its data lies; name it with --data.", key)
    if not data.is_dir():
        return Overlays(runs, {}, {}, f"The prepared data is no longer at {data}; name its folder with --data.", key)
    try:
        cases = {name: load_case(data, case) for name, case in pick_cases(reference.per_case).items()}
        layers = {(run.label, shown.case): layer_png(run, shown) for run in runs for shown in cases.values()}
    except UserError as error:
        return Overlays(runs, {}, {}, str(error), key)
    return Overlays(runs, cases, layers, "", key)


def overlay_section(overlays: Overlays) -> str:
    """HTML: a line a setting, a column a case."""
    title = "<h3>Best, median and worst test case</h3>"
    if overlays.missing:
        return f'{title}<p class="missing">No overlays: {escape(overlays.missing)}</p>'
    width = f"110px repeat({len(overlays.cases)}, minmax(0, 1fr))"
    cells = ['<div class="head">Setting</div>']
    cells += [f'<div class="head">{name.capitalize()}: {escape(c.case)}</div>' for name, c in overlays.cases.items()]
    for run in overlays.runs:
        mean = run.test["dice"]["mean"]
        cells.append(f'<div class="setting">{escape(run.label)}<span>mean Dice {mean:.4f}</span></div>')
        cells += [_figure(overlays, run, name, shown) for name, shown in overlays.cases.items()]
    return f"""{title}
<p class="muted">Chosen by the Dice of the reference run, the same cases for every setting.</p>
{_legend()}
<style>{_backgrounds(overlays)}</style>
<div class="panel"><input type="checkbox" class="bare" id="bare-{overlays.key}">
<label for="bare-{overlays.key}">images without overlay (or point at one)</label>
<div class="overlays" style="grid-template-columns: {width}; margin-top: 12px">{"".join(cells)}</div></div>
"""


def _figure(overlays: Overlays, run: RunRecord, name: str, shown: CaseImage) -> str:
    layer = overlays.layers[run.label, shown.case]
    height, width = shown.gray.shape
    words = f"{run.label}, {name} case {shown.case}: Dice {run.per_case[shown.case]:.4f}"
    image = f'<img alt="{escape(words)}" src="{_uri(layer)}">' if layer else ""
    place = f"slice {shown.index + 1} of {shown.depth}" if shown.depth > 1 else ""
    kept = "" if layer else "the run kept no mask of this case"
    extra = "; ".join(text for text in (place, kept) if text)
    caption = f"Dice <b>{run.per_case[shown.case]:.4f}</b>{escape(f' ({extra})' if extra else '')}"
    box = f'<div class="image {_class(overlays, name)}" style="aspect-ratio: {width} / {height}">{image}</div>'
    return f"<figure>{box}<figcaption>{caption}</figcaption></figure>"


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
