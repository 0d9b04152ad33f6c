"""Fonts of a PDF. Its own know the letters of western Europe; names from elsewhere want a font file of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Typeface", "latin", "typeface_for"]

# What the PDF's own fonts lack, but has a stand-in.
STAND_IN = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2019": "'", "\u200b": ""})
FOLDERS: tuple[str, ...] = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
FOLDERS += ("/System/Library/Fonts", "/Library/Fonts", "C:/Windows/Fonts")
# Looked into first: they hold many alphabets each, in plain shapes.
FIRST = ("DejaVuSans.", "NotoSans-", "NotoSansCJK-Regular", "wqy-", "Arial Unicode", "msyh")


@dataclass(frozen=True)
class Typeface:
    """The fonts of a document.

    Attributes:
        files: font files, the first one for everything that it has; none = the PDF's own.
        lacking: characters that none of them has.
    """

    files: tuple[Path, ...] = ()
    lacking: frozenset[str] = frozenset()

    def text(self, words: str) -> str:
        """What can be written of some words; for each character that no font has "?"."""
        if not self.files:
            return words.translate(STAND_IN).encode("latin-1", "replace").decode("latin-1")
        return "".join("?" if letter in self.lacking else letter for letter in words.replace("\u200b", ""))


def latin(words: str) -> bool:
    """Whether the PDF's own fonts have it all."""
    return all(ord(letter) < 256 for letter in words.translate(STAND_IN))


def typeface_for(words: str) -> Typeface:
    """Font files that together have the characters of some words, as few as do."""
    if latin(words):
        return Typeface()
    wanted = {letter for letter in words if letter.isprintable()}
    files: list[Path] = []
    for path in _fonts():
        has = _letters(path)
        # The first one writes the digits and most of the words.
        if wanted & has and (files or set("0aA.") <= has):
            files.append(path)
            wanted -= has
        if not wanted:
            break
    return Typeface(tuple(files), frozenset(wanted))


def _fonts() -> Iterator[Path]:
    """TrueType and OpenType files of this machine, those of many alphabets first."""
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    matplotlib = find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin:
        folders.insert(0, Path(matplotlib.origin).parent / "mpl-data/fonts/ttf")
    found = [
        Path(folder) / name
        for start in folders
        for folder, _, names in os.walk(start)
        for name in sorted(names)
        if name.lower().endswith((".ttf", ".otf", ".ttc"))
    ]
    places = {
        path: next((n for n, name in enumerate(FIRST) if path.name.startswith(name)), len(FIRST)) for path in found
    }
    return iter(sorted(found, key=lambda path: places[path]))


def _letters(path: Path) -> set[str]:
    from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]

    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            return {chr(code) for code in font.getBestCmap() or {}}
    except (TTLibError, OSError, ValueError, KeyError, AssertionError):
        return set()  # a broken font is another program's concern
