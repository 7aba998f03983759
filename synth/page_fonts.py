"""Fonts that stand in a page itself, for the characters that a reader's machine may lack.

A browser draws an empty box for a character that no font of its machine has. What a page shows of
such characters is cut from the project's own fonts: exactly those characters, a few hundred bytes
each. Pages name `FAMILY` first: it holds nothing else, and Chromium draws the first character of
an embedded family as a box where `system-ui` stands before it.
"""

from __future__ import annotations

import base64
import io
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from synth.fonts import ASSETS

FAMILY = "Inkfill labels"
LEGIBLE = ("kai", "pen", "gothic", "serif")  # styles to read small; of the others what these lack
# The Arphic licence wants the date of every change in the file: the same page would be other bytes
# each day.
_LEFT_OUT = ("Arphic-1999",)
_FIRST = 0x250  # Latin ends there
_PLAIN = (range(0x2000, 0x2070), range(0x2190, 0x2194))  # punctuation and arrows of Latin fonts
_MARKUP = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL)


@dataclass(frozen=True)
class PageFont:
    """Some characters of one font."""

    chars: str  # in code-point order
    data: bytes  # a WOFF file; WOFF 2 is a fifth smaller and takes ten times as long to write
    notice: str  # what it is cut from, and the whole licence

    def data_url(self) -> str:
        return f"data:font/woff;base64,{base64.b64encode(self.data).decode('ascii')}"


def page_fonts(text: Iterable[str]) -> list[PageFont]:
    """Fonts for those characters of `text` that plain Latin fonts lack and a font of the project
    has, as few fonts as will do; none where the project's fonts are not there."""
    missing = {c for c in text if _lacked(c)}
    if not missing or not (ASSETS / "fonts.toml").is_file():
        return []
    rows = tomllib.loads((ASSETS / "fonts.toml").read_text(encoding="utf-8"))["font"]
    found = []
    for legible in (True, False):
        have = [
            (row, missing & _characters(ASSETS / row["file"]))
            for row in rows
            if missing and row["licence"] not in _LEFT_OUT and (row["style"] in LEGIBLE) == legible
        ]
        while missing and have:
            # of those that have as many characters the one that makes the smallest page
            row, chars = max(have, key=lambda one: (len(one[1] & missing), -_size(one[0])))
            if not (chars := chars & missing):
                break
            found.append(_cut(row, "".join(sorted(chars))))
            missing -= chars
    return found


def css(fonts: Sequence[PageFont]) -> str:
    """Rules that make them one family, `FAMILY`, with the fonts and their licences in them."""
    rules = []
    for font in fonts:
        notice = font.notice.replace("*/", "* /").replace("</", "< /")
        rules.append(
            f'/*\n{notice}\n*/\n@font-face {{ font-family: "{FAMILY}"; '
            f'src: url("{font.data_url()}") format("woff"); '
            f"unicode-range: {_ranges(font.chars)}; }}\n"
        )
    return "".join(rules)


def with_fonts(page: str) -> str:
    """A page whose attributes hold no bare ">", with fonts for what it shows as text."""
    fonts = page_fonts(set(_MARKUP.sub(" ", page)))
    style = f"<style>\n{css(fonts)}</style>\n</head>"
    return page.replace("</head>", style, 1) if fonts else page


def _lacked(char: str) -> bool:
    """Whether plain Latin fonts lack a character that is drawn at all."""
    code = ord(char)
    if code < _FIRST or any(code in plain for plain in _PLAIN):
        return False
    return unicodedata.category(char)[0] not in "CZ"


def _size(row: dict[str, Any]) -> float:
    """Bytes of a character."""
    return (ASSETS / row["file"]).stat().st_size / row["characters"]


def _characters(path: Path) -> set[str]:
    from fontTools.ttLib import TTFont

    with TTFont(path, lazy=True) as font:
        return {chr(code) for code in font.getBestCmap()}


def _cut(row: dict[str, Any], chars: str) -> PageFont:
    """The project's fonts have no reserved name, or were renamed: see scripts/build_fonts.py."""
    from fontTools import subset

    options = subset.Options(flavor="woff", name_IDs=["*"], name_languages=["*"])
    how = f"Cut to {len(chars)} characters for a page, by synth/page_fonts.py of Inkfill."
    buffer = io.BytesIO()
    with subset.load_font(ASSETS / row["file"], options) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(text=chars)
        cutter.subset(font)
        for name in font["name"].names:
            if name.nameID == 10:  # the notice of earlier changes
                name.string = f"{name.toUnicode()} {how}"
        subset.save_font(font, buffer, options)
    licence = (ASSETS / row["licence_file"]).read_text(encoding="utf-8").strip()
    return PageFont(chars, buffer.getvalue(), f"{row['family']}. {how}\n{licence}")


def _ranges(chars: str) -> str:
    """ "abcx" -> "U+61-63,U+78"."""
    parts = []
    for _, run in groupby(enumerate(map(ord, chars)), key=lambda pair: pair[1] - pair[0]):
        codes = [code for _, code in run]
        more = f"-{codes[-1]:X}" if len(codes) > 1 else ""
        parts.append(f"U+{codes[0]:X}{more}")
    return ",".join(parts)
