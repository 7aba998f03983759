"""Damaged and hostile fonts: refused, or what they have is drawn, in bounded memory and time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import ROOT
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables._g_l_y_f import Glyph, GlyphComponent
from odd_fonts import odd_fonts
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


def good_fonts(top: Path) -> dict[str, bytes]:
    """Of each kind one font, small, without hints, made in the folder `top`."""
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


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return good_fonts(tmp_path_factory.mktemp("fonts"))


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
    """Twelve levels of four copies each: 16,777,216 outlines in one glyph."""
    for level in range(12):
        composite(font, f"g{level}", [(f"g{level + 1}", 10 * k) for k in range(4)])


def a_blank_tower(font: TTFont) -> None:
    """As many, of nothing: no bound on points or contours ends it."""
    a_tower(font)
    font["glyf"].glyphs["g12"] = Glyph()


def a_wide_tower(font: TTFont) -> None:
    """Two levels of a thousand."""
    for level in range(2):
        composite(font, f"g{level}", [(f"g{level + 1}", k) for k in range(1000)])


def a_long_chain(font: TTFont) -> None:
    """5,000 levels of one part each: FreeType would call itself as often."""
    metrics, _ = font["hmtx"].metrics, font["glyf"].glyphs  # read before there are more
    links = [f"link{k}" for k in range(5000)]
    font.setGlyphOrder([*font.getGlyphOrder(), *links])
    font["maxp"].numGlyphs = len(font.getGlyphOrder())
    for name, part in zip(["g0", *links], [*links, "g1"], strict=True):
        composite(font, name, [(part, 1)])
        metrics[name] = (1000, 0)


def a_thousand_contours(font: TTFont) -> None:
    """Boxes in boxes, each turned the other way: each hole may lie in each outside."""
    pen = TTGlyphPen(None)
    for k in range(1000):
        near, far = k, 2100 - k
        corners = [(near, near), (near, far), (far, far), (far, near)]
        pen.moveTo(corners[0])
        for corner in corners[1:] if k % 2 else corners[:0:-1]:
            pen.lineTo(corner)
        pen.closePath()
    font["glyf"].glyphs["g0"] = pen.glyph()
    font["glyf"].glyphs["g0"].recalcBounds(font["glyf"])


def a_giant(font: TTFont) -> None:
    """Strokes of 2,000 em: 250,000 points along them."""
    far_away(font)
    font["head"].unitsPerEm = 16


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
    "a tower of nothing": a_blank_tower,
    "a wide tower": a_wide_tower,
    "a chain of composites": a_long_chain,
    "a thousand contours": a_thousand_contours,
    "a giant": a_giant,
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


HARMFUL = (a_tower, a_blank_tower, a_wide_tower, a_long_chain, a_thousand_contours, a_giant)


@pytest.mark.parametrize("change", HARMFUL)
def test_a_glyph_that_costs_too_much_is_left_out_by_name(
    good: dict[str, bytes], tmp_path: Path, change: Callable[[TTFont], None]
) -> None:
    (tmp_path / "in.ttf").write_bytes(good["ttf"])
    font = TTFont(tmp_path / "in.ttf", recalcBBoxes=False)
    font["maxp"].recalc = lambda font: None
    change(font)
    font.save(tmp_path / "out.ttf")
    found = Font(FontFile(tmp_path / "out.ttf")).coverage("AP")
    assert found.rejected["A"] == "too complex"
    assert "P" in found.usable or change is a_giant  # the others are drawn


def test_what_real_fonts_are_made_of_is_not_too_complex(good: dict[str, bytes]) -> None:
    """A syllable of letters of strokes, and the richest glyphs of the project's fonts."""

    def syllable(font: TTFont) -> None:
        for level in range(3):
            composite(font, f"g{level}", [(f"g{level + 1}", 30 * k) for k in range(3)])

    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "in.ttf").write_bytes(good["ttf"])
        font = TTFont(Path(top) / "in.ttf", recalcBBoxes=False)
        syllable(font)
        font.save(Path(top) / "out.ttf")
        assert Font(FontFile(Path(top) / "out.ttf")).coverage("A").usable == {"A"}
    for name, chars in (("tw-kai", "饑龘"), ("klee-one", "鸞"), ("homemade-apple", "Œ")):
        rejected = Font(FontFile(ROOT / "assets" / "fonts" / f"{name}.woff")).coverage(chars)
        assert "too complex" not in rejected.rejected.values()


def test_hostile_fonts(good: dict[str, bytes], tmp_path: Path) -> None:
    outcomes = try_all(draws, list(hostile(good, tmp_path)), MEMORY_MIB)
    assert outcomes["refused"] >= 8, outcomes


@pytest.mark.parametrize("each", [7, pytest.param(120, marks=pytest.mark.slow)])
def test_damaged_fonts(good: dict[str, bytes], each: int) -> None:
    kinds = list(good.items())
    whole = [(ending, (ending, file)) for ending, file in kinds]
    assert try_all(draws, whole, MEMORY_MIB, good=True) == {"drawn": len(kinds)}
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


@pytest.fixture(scope="module")
def odd(good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return odd_fonts(good["ttf"], tmp_path_factory.mktemp("odd"))


def test_of_an_odd_font_the_outlines_are_drawn(
    good: dict[str, bytes], odd: dict[str, bytes], tmp_path: Path
) -> None:
    """A variable one as its default, coloured ones as their outlines; a character that is nothing
    but layers or pictures is blank."""

    def opened(name: str, data: bytes) -> Font:
        (tmp_path / f"{name}.ttf").write_bytes(data)
        return Font(FontFile(tmp_path / f"{name}.ttf"))

    plain = opened("plain", good["ttf"])
    for name in ("variable", "layers, outlines too"):
        font = opened(name, odd[name])
        assert font.coverage(CHARS).usable == set(CHARS), name
        for char in CHARS:
            assert np.array_equal(font.outline(char).points, plain.outline(char).points), name
    found = opened("layers", odd["layers alone for two"]).coverage(CHARS)
    assert found.rejected == {"A": "blank", "B": "blank"}
    assert found.usable == set(CHARS[2:])


def test_a_font_of_pictures_is_refused(odd: dict[str, bytes]) -> None:
    """One with outlines too: FreeType takes them for mere stand-ins of the pictures."""
    cases = [(name, ("ttf", file)) for name, file in odd.items() if name[:4] in ("sbix", "CBDT")]
    assert len(cases) == 5
    assert try_all(draws, cases, MEMORY_MIB) == {"refused": len(cases)}


@pytest.mark.parametrize("each", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_damaged_odd_fonts(odd: dict[str, bytes], each: int) -> None:
    cases = [
        (f"{name}, {what}", ("ttf", data))
        for name, file in odd.items()
        for what, data in mutations(file, each, seed=each)
    ]
    assert try_all(draws, cases, MEMORY_MIB).total() == len(cases)
