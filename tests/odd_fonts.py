"""Fonts that are more, or less, than outlines: variable ones, and those of layers or pictures."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables.DefaultTable import DefaultTable
from fontTools.ttLib.tables.sbixGlyph import Glyph as Picture
from fontTools.ttLib.tables.sbixStrike import Strike
from fontTools.ttLib.tables.TupleVariation import TupleVariation
from PIL import Image

PPEM = 16  # of the pictures


def odd_fonts(plain: bytes, top: Path) -> dict[str, bytes]:
    """Of a TrueType font whose glyphs are g0, g1 and so on, by what was done to it."""
    (top / "plain.ttf").write_bytes(plain)
    made = {}
    for name, change in (
        ("variable", make_variable),
        ("layers, outlines too", lambda font: make_layers(font, blank=())),
        ("layers alone for two", lambda font: make_layers(font, blank=("g0", "g1"))),
        ("sbix over outlines", make_sbix),
        ("sbix over blanks", lambda font: (blank_all(font), make_sbix(font))),
        ("sbix alone", lambda font: (make_sbix(font), drop_outlines(font))),
        ("CBDT over outlines", make_cbdt),
        ("CBDT alone", lambda font: (make_cbdt(font), drop_outlines(font))),
    ):
        font = TTFont(top / "plain.ttf")
        change(font)
        font.save(top / "odd.ttf")
        made[name] = (top / "odd.ttf").read_bytes()
    return made


def make_variable(font: TTFont) -> None:
    """An axis of weight, along which every first contour grows."""
    builder = FontBuilder(font=font)
    builder.setupFvar([("wght", 100, 400, 900, "Weight")], [])
    changes = {}
    for name in font.getGlyphOrder():
        points = len(font["glyf"][name].getCoordinates(font["glyf"])[0]) + 4  # four of its metrics
        moves = [(40 * (i % 2), 0) if i < 4 else (0, 0) for i in range(points)]
        changes[name] = [TupleVariation({"wght": (0, 1, 1)}, moves)]
    builder.setupGvar(changes)


def make_layers(font: TTFont, blank: Sequence[str]) -> None:
    """COLR and CPAL: g0 is drawn of g2 and g3 in two colours, g1 of g3."""
    for name in blank:
        font["glyf"].glyphs[name] = TTGlyphPen(None).glyph()
    builder = FontBuilder(font=font)
    builder.setupCOLR({"g0": [("g2", 0), ("g3", 1)], "g1": [("g3", 1)]})
    builder.setupCPAL([[(1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.5)]])


def blank_all(font: TTFont) -> None:
    for name in font.getGlyphOrder()[1:]:
        font["glyf"].glyphs[name] = TTGlyphPen(None).glyph()


def drop_outlines(font: TTFont) -> None:
    for tag in ("glyf", "loca"):
        del font[tag]


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGBA", (PPEM, PPEM), (200, 30, 30, 255)).save(stream, "PNG")
    return stream.getvalue()


def make_sbix(font: TTFont) -> None:
    """A picture for every glyph, as Apple's fonts have them."""
    table = font["sbix"] = newTable("sbix")
    strike = Strike(ppem=PPEM)
    for name in font.getGlyphOrder():
        strike.glyphs[name] = Picture(glyphName=name, graphicType="png ", imageData=png())
    table.strikes[PPEM] = strike


def make_cbdt(font: TTFont) -> None:
    """A picture for every glyph but .notdef, as Google's fonts have them (formats 1 and 17)."""
    last, picture = len(font.getGlyphOrder()) - 1, png()
    one = struct.pack(">BBbbB", PPEM, PPEM, 0, PPEM, PPEM) + struct.pack(">L", len(picture))
    one += picture
    index = struct.pack(">HHL", 1, 17, 4)
    index += b"".join(struct.pack(">L", k * len(one)) for k in range(last + 1))
    array = struct.pack(">HHL", 1, last, 8)
    line = struct.pack(">bbBbbbbbbbbb", PPEM, 0, PPEM, *[0] * 9)
    size = struct.pack(">LLLL", 8 + 48, len(array) + len(index), 1, 0) + 2 * line
    size += struct.pack(">HHBBBb", 1, last, PPEM, PPEM, 32, 1)
    for tag, data in (
        ("CBLC", struct.pack(">HHL", 3, 0, 1) + size + array + index),
        ("CBDT", struct.pack(">HH", 3, 0) + one * last),
    ):
        font[tag] = DefaultTable(tag)  # as bytes: nothing is read into them
        font[tag].data = data
