"""A study's report: one self-contained HTML page without script, for the screen and for paper; no Streamlit in here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

from unetq.app.audit import now
from unetq.app.bench import Bench
from unetq.app.card import card_of
from unetq.app.planes import AXIS, Grid
from unetq.app.quality import Review
from unetq.app.scene import Look, Picture, pictures, views
from unetq.report.html import data_uri, head
from unetq.report.paint import png

__all__ = ["Sheet", "caption_of", "facts", "pictures_of", "sheet"]

STYLE = """.planes { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
.planes img { position: static; width: 100%; height: auto; background: #000; border-radius: 4px; }
.planes i { display: inline-block; width: 11px; height: 11px; margin: 0 5px 0 12px; border-radius: 3px; }
@media print { header { color: #000; background: none; } section { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Sheet:
    """What goes into a report.

    Attributes:
        look: view, point and window of the pictures.
        lines: table of measures, its first line the heading; a line without cells heads a group.
        remarks: sentences that must not be overlooked.
        nameless: say the study's hash only.
    """

    bench: Bench
    look: Look
    lines: Mapping[str, Sequence[str]]
    remarks: Sequence[str]
    reviews: Sequence[Review]
    user: str
    nameless: bool = False


def sheet(about: Sheet) -> str:
    """The whole HTML document."""
    study = about.bench.study
    name = f"Study {study.hash[:12]}" if about.nameless else study.name
    remarks = "".join(f"<li>{escape(sentence)}</li>" for sentence in about.remarks)
    return f"""{head(name, STYLE)}
<body>
<header><div>
<p class="eyebrow">unetq study report</p>
<h1>{escape(name)}</h1>
<p class="muted">{escape(facts(about))}</p>
<p class="research">Research use only, not a medical device</p>
</div></header>
<main>
<section><h2>Measures</h2><div class="panel wide">{_table(about.lines)}</div><ul>{remarks}</ul></section>
<section><h2>Pictures</h2><p class="muted">{escape(about.look.view)}, through the point that was looked at.</p>
<div class="planes">{_pictures(about)}</div></section>
<section><h2>Review</h2>{_reviews(about.reviews, about.nameless)}</section>
<section><h2>Models</h2>{_cards(about.bench)}</section>
<footer>Study {study.hash}. Made by unetq on {now()}{"" if about.nameless else " for " + escape(about.user)}.</footer>
</main>
</body>
</html>
"""


def facts(about: Sheet) -> str:
    """Size of the study in voxels and mm."""
    array, spacing = about.bench.study.volume.array, about.bench.study.volume.spacing
    size = " x ".join(map(str, array.shape))
    known = about.bench.study.volume.knows_spacing
    return f"{size} voxels" + (
        f" of {' x '.join(f'{mm:.4g}' for mm in spacing)} mm" if known else ", no pixel size in the file"
    )


def _table(lines: Mapping[str, Sequence[str]], kind: str = "") -> str:
    width = max(len(cells) for cells in lines.values()) + 1
    body = ""
    for number, (name, cells) in enumerate(lines.items()):
        if not cells:
            body += f'<tr><th colspan="{width}">{escape(name)}</th></tr>'
            continue
        tag = "td" if number or name else "th"
        body += f"<tr><th>{escape(name)}</th>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
    return f'<table class="{kind}">{body}</table>'


def pictures_of(about: Sheet) -> tuple[Grid, list[Picture]]:
    """The pictures of a report, and the grid that they are cut from."""
    look = about.look
    grid = Grid(about.bench.study.volume, look.neurological)
    # Side by side on the page only the slices' own plane; in a linked view all of them.
    planes = grid.planes if len(views(about.bench.scene)[look.view]) == 1 else look.planes
    return grid, pictures(about.bench.scene, replace(look, planes=planes))


def caption_of(grid: Grid, look: Look, picture: Picture) -> str:
    """What a picture shows, which slice, and where its sides lie."""
    left, right, top, bottom = grid.letters(picture.plane)
    sides = f" ({left} left, {right} right, {top} up, {bottom} down)" if left else ""
    return f"{picture.caption}, {grid.title(picture.plane).lower()}, slice {look.point[AXIS[picture.plane]] + 1}{sides}"


def _pictures(about: Sheet) -> str:
    grid, shown = pictures_of(about)
    return "".join(_figure(grid, about.look, picture) for picture in shown)


def _figure(grid: Grid, look: Look, picture: Picture) -> str:
    height, width = grid.size(picture.plane)
    words = caption_of(grid, look, picture)
    colours = "".join(f'<i style="background: {colour}"></i>{escape(text)}' for colour, text in picture.legend)
    image = data_uri("image/png", png(picture.pixels))
    style = f"aspect-ratio: {width:.6g} / {height:.6g}"
    below = f"<figcaption>{escape(words)}{colours}</figcaption>"
    return f'<figure><img alt="{escape(words)}" src="{image}" style="{style}">{below}</figure>'


def _reviews(reviews: Sequence[Review], nameless: bool) -> str:
    if not reviews:
        return "<p>Not reviewed.</p>"
    lines = "".join(
        f"<li><b>{escape(review.verdict)}</b>, {escape(review.time)}{'' if nameless else ', ' + escape(review.user)}"
        f" ({escape(review.models)}){': ' + escape(review.comment) if review.comment else ''}</li>"
        for review in reviews
    )
    return f"<ul>{lines}</ul>"


def _cards(bench: Bench) -> str:
    found = ""
    for name, path in bench.models.items():
        if name in bench.results:
            found += f'<h3>{escape(name)}</h3><div class="panel wide">{_table(_words(card_of(path)), "left")}</div>'
    return found or "<p>No model was run.</p>"


def _words(card: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [text] for name, text in card.items()}
