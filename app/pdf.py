"""A study's report as a PDF, by fpdf2: pictures, measures, verdicts, model cards; one page unless many models were run."""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import Any

from unetq.app.audit import now
from unetq.app.card import card_of
from unetq.app.letters import Typeface, typeface_for
from unetq.app.sheet import Sheet, caption_of, facts, pictures_of
from unetq.errors import UserError
from unetq.report.paint import png

__all__ = ["pdf"]

RESEARCH = "Research use only, not a medical device"
WIDTH, MARGIN, GAP, TALLEST = 210.0, 14.0, 4.0, 70.0  # mm of A4
CARD = ("Intended use", "Trained on", "Dice", "Bits", "Size", "Hash")
LOST = "A question mark stands for each letter that no font of this machine has."


def pdf(about: Sheet) -> bytes:
    """The report's file.

    Raises:
        UserError: fpdf2 is not installed.
    """
    if find_spec("fpdf") is None:
        raise UserError("A PDF needs fpdf2: install it with `pip install 'unetq[app]'`.")
    # Which fonts it wants is known when it is written; then it is written again.
    page, content = _written(about, Typeface())
    typeface = typeface_for("".join(sorted(page.seen)))
    return content if typeface == Typeface() else _written(about, typeface)[1]


def _written(about: Sheet, typeface: Typeface) -> tuple[Any, bytes]:
    """The page with what it `seen`, and the file."""
    from fpdf import FPDF

    class Page(FPDF):
        seen: set[str]

        def say(self, words: str) -> str:
            """The words as the fonts can write them."""
            self.seen |= set(words)
            return typeface.text(words)

        def font(self, size: float, style: str = "") -> None:
            """Chooses size and weight."""
            self.set_font("own" if typeface.files else "helvetica", style, size)

        def footer(self) -> None:
            """On every page."""
            self.set_y(-12)
            self.font(6.5)
            words = f"{RESEARCH}. Study {about.bench.study.hash}, unetq, {now()}, page {self.page_no()}."
            self.cell(0, 4, self.say(words))

    page = Page(format="A4")
    page.seen = set()
    names = ["own", *(f"own{number}" for number in range(1, len(typeface.files)))]
    for name, path in zip(names, typeface.files):
        bold = path.with_name(f"{path.stem}-Bold{path.suffix}")
        page.add_font(name, "", path)
        page.add_font(name, "B", bold if bold.is_file() else path)
    page.set_fallback_fonts(names[1:], exact_match=False)
    page.set_margins(MARGIN, MARGIN)
    page.set_auto_page_break(True, 16)
    page.add_page()
    _fill(page, about)
    if typeface.lacking:
        _line(page, LOST, 8)
    return page, bytes(page.output())


def _fill(page: Any, about: Sheet) -> None:
    study = about.bench.study
    name = f"Study {study.hash[:12]}" if about.nameless else study.name
    page.set_title(name)
    _line(page, name, 15, "B")
    _line(page, RESEARCH, 10, "B")
    _line(page, facts(about) + ("" if about.nameless else f". Made for {about.user}"), 9)
    _pictures(page, about)
    _heading(page, "Measures")
    _rows(page, {name: list(cells) for name, cells in about.lines.items()})
    for sentence in about.remarks:
        _line(page, sentence, 8)
    _heading(page, "Review")
    for review in about.reviews:
        who = "" if about.nameless else f", {review.user}"
        _line(page, f"{review.verdict}, {review.time}{who} ({review.models}) {review.comment}", 8)
    if not about.reviews:
        _line(page, "Not reviewed.", 8)
    _heading(page, "Models")
    ran = {model: card_of(path) for model, path in about.bench.models.items() if model in about.bench.results}
    for model, card in ran.items():
        _line(page, f"{model}: " + ". ".join(f"{key}: {card[key].rstrip('.')}" for key in CARD if key in card) + ".", 8)
    if not ran:
        _line(page, "No model was run.", 8)


def _line(page: Any, text: str, size: float, style: str = "") -> None:
    page.font(size, style)
    page.multi_cell(0, 0.45 * size, page.say(text), new_x="LMARGIN", new_y="NEXT")
    page.ln(0.8)


def _heading(page: Any, text: str) -> None:
    page.ln(1.5)
    _line(page, text, 11, "B")


def _pictures(page: Any, about: Sheet) -> None:
    """In rows of up to three, each in its shape in mm, with its caption and its colours below."""
    grid, shown = pictures_of(about)
    for first in range(0, len(shown), 3):
        row = shown[first : first + 3]
        wide = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        sizes = []
        for picture in row:
            height, width = grid.size(picture.plane)
            share = min(wide / width, TALLEST / height)
            sizes.append((width * share, height * share))
        tall = max(height for _, height in sizes)
        if page.will_page_break(tall + 14):
            page.add_page()
        top = page.get_y() + 1
        bottom = top
        for number, (picture, (width, height)) in enumerate(zip(row, sizes)):
            left = MARGIN + number * (wide + GAP)
            page.image(io.BytesIO(png(picture.pixels)), left, top, width, height)
            page.set_xy(left, top + tall + 1)
            page.font(7)
            page.multi_cell(
                wide, 3, page.say(caption_of(grid, about.look, picture)), align="L", new_x="LEFT", new_y="NEXT"
            )
            for colour, words in picture.legend:
                page.set_fill_color(*(int(colour[at : at + 2], 16) for at in (1, 3, 5)))
                page.rect(left, page.get_y() + 0.6, 2, 2, "F")
                page.set_x(left + 3)
                page.cell(wide - 3, 3.2, page.say(words), new_x="LEFT", new_y="NEXT")
            bottom = max(bottom, page.get_y())
        page.set_xy(MARGIN, bottom + 1)


def _rows(page: Any, lines: dict[str, list[str]]) -> None:
    """A table; a line without cells heads a group."""
    columns = max(len(cells) for cells in lines.values())
    wide = min(34.0, (WIDTH - 2 * MARGIN - 45) / columns)
    for number, (name, cells) in enumerate(lines.items()):
        page.font(8, "B" if not number or not cells else "")
        page.cell(45, 4.2, page.say(name), border="B")
        for cell in cells:
            while page.get_string_width(page.say(cell)) > wide - 2 and len(cell) > 4:
                cell = cell[:-4] + "..."
            page.cell(wide, 4.2, page.say(cell), border="B", align="R")
        page.ln(4.2)
