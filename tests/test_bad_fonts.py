"""Damaged and hostile fonts: refused, or what they have is drawn, in bounded memory and time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import ROOT
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph, GlyphComponent
from test_synth_fonts import build_font, letter

from synth import handwriting
from synth.canvas import Canvas
from synth.fonts import Font, FontFile
from synth.handwriting import Style
from synth.raster import rasterise

MEMORY_MIB = 600
CHARS = "ABCDEFGHIJKLMNOP"


def draws(case: tuple[str, bytes]) -> str:
    """Opens a font, checks it, and draws what it says it has."""
    ending, data = case
    with tempfile.TemporaryDirectory() as top:
        path = Path(top) / f"bad.{ending}"
        path.write_bytes(data)
        font = Font(FontFile(path))
        coverage = font.coverage([*CHARS, "永"])
        chars = sorted(coverage.usable)
        if not chars:
            return "nothing usable"
        outlines = [font.outline(c) for c in chars]
        assert all(o is not None and np.isfinite(o.points).all() for o in outlines)
        font.raws(chars)
        at = np.arange(len(chars))
        records = handwriting.draw(Style(), 1, at, at)
        images = rasterise(handwriting.apply(outlines, records, Canvas()), Canvas())
        assert images.shape == (len(chars), 64, 64)
    return "drawn"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Of each kind one font, small, without hints."""
    top = tmp_path_factory.mktemp("fonts")
    glyphs = {c: letter(k) for k, c in enumerate(CHARS)}
    files = {}
    for ending, cff in (("ttf", False), ("otf", True)):
        path = top / f"good.{ending}"
        build_font(path, glyphs, cff=cff)
        files[ending] = path.read_bytes()
    font = TTFont(top / "good.ttf")
    font.flavor = "woff"
    font.save(top / "good.woff")
    files["woff"] = (top / "good.woff").read_bytes()
    collection = TTCollection()
    collection.fonts = [TTFont(top / "good.ttf"), TTFont(top / "good.ttf")]
    collection.save(top / "good.ttc")
    files["ttc"] = (top / "good.ttc").read_bytes()
    return files


def composite(font: TTFont, name: str, parts: list[tuple[str, int]]) -> None:
    """Makes a glyph of others, each moved to the right."""
    glyph = Glyph()
    glyph.numberOfContours, glyph.components = -1, []
    for part, right in parts:
        component = GlyphComponent()
        component.glyphName, component.x, component.y, component.flags = part, right, 0, 0x4
        glyph.components.append(component)
    glyph.xMin, glyph.yMin, glyph.xMax, glyph.yMax = 0, 0, 700, 700
    font["glyf"].glyphs[name] = glyph


def itself(font: TTFont) -> None:
    composite(font, "g0", [("g0", 10)])


def in_a_circle(font: TTFont) -> None:
    composite(font, "g0", [("g1", 10)])
    composite(font, "g1", [("g2", 10)])
    composite(font, "g2", [("g0", 10)])


def a_tower(font: TTFont) -> None:
    """Three levels of four copies each: 64 outlines in one glyph."""
    for level in range(3):
        composite(font, f"g{level}", [(f"g{level + 1}", 10 * k) for k in range(4)])


def units(value: int) -> Callable[[TTFont], None]:
    def change(font: TTFont) -> None:
        font["head"].unitsPerEm = value

    return change


def without(*tags: str) -> Callable[[TTFont], None]:
    def change(font: TTFont) -> None:
        for tag in tags:
            del font[tag]

    return change


def far_away(font: TTFont) -> None:
    for glyph in font["glyf"].glyphs.values():
        glyph.expand(font["glyf"])
        glyph.coordinates.scale((40, 40))
        glyph.coordinates.translate((4000, 4000))


CHANGES = {
    "a glyph made of itself": itself,
    "glyphs made of each other": in_a_circle,
    "a tower of composites": a_tower,
    "no units": units(0),
    "one unit": units(1),
    "16 units": units(16),
    "65,535 units": units(65535),
    "no cmap": without("cmap"),
    "no outlines": without("glyf", "loca"),
    "no metrics": without("hmtx", "hhea"),
    "no name": without("name", "post", "OS/2"),
    "points far away": far_away,
}


def hostile(good: dict[str, bytes], top: Path) -> Iterator[Case]:
    for name, change in CHANGES.items():
        (top / "in.ttf").write_bytes(good["ttf"])
        font = TTFont(top / "in.ttf", recalcBBoxes=False)
        font["maxp"].recalc = lambda font: None  # it would walk the circle
        change(font)
        font.save(top / "out.ttf")
        yield name, ("ttf", (top / "out.ttf").read_bytes())
    for other in (
        "<svg/>",
        "%!PS-AdobeFont-1.0: A\n",
        "STARTFONT 2.1\n",
        "\0\1\0\0",
        "wOFF",
        "ttcf",
    ):
        yield repr(other), ("ttf", other.encode("latin1"))


def test_hostile_fonts(good: dict[str, bytes], tmp_path: Path) -> None:
    outcomes = try_all(draws, list(hostile(good, tmp_path)), MEMORY_MIB)
    assert outcomes["refused"] >= 8, outcomes


@pytest.mark.parametrize("each", [7, pytest.param(120, marks=pytest.mark.slow)])
def test_damaged_fonts(good: dict[str, bytes], each: int) -> None:
    kinds = list(good.items())
    assert try_all(draws, [(e, (e, d)) for e, d in kinds], MEMORY_MIB) == {"drawn": len(kinds)}
    cases = [
        (f"{ending}, {what}", (ending, data))
        for ending, file in kinds
        for what, data in mutations(file, each, seed=each)
    ]
    outcomes = try_all(draws, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 10, outcomes


@pytest.mark.slow
def test_a_damaged_real_font() -> None:
    """Large, compressed, with curves."""
    file = (ROOT / "assets" / "fonts" / "caveat.woff").read_bytes()
    cases = [(what, ("woff", data)) for what, data in mutations(file, 60, seed=3)]
    assert try_all(draws, cases, MEMORY_MIB).total() == 60
