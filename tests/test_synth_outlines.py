"""A flattened outline is the glyph: fontTools' pens measure the same area and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.areaPen import AreaPen
from fontTools.pens.perimeterPen import PerimeterPen
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.ttLib import TTFont
from test_synth_fonts import box, build_font, hole

from synth import fonts
from synth.fonts import ASSETS, FontFile, find_fonts, open_font, outlines_of
from synth.outlines import STEP_EM, Outline, most_points, next_point

CHARS = "永國一三口日圖風龍心あのぎ己必ABCORSaegst0368&?"
# Chords are shorter than the curve that they cut, by this much at most.
AREA_TOLERANCE, LENGTH_TOLERANCE = 0.015, 0.01


def cubic_copy(source: Path, target: Path) -> FontFile:
    """The glyphs of CHARS as cubic curves: a CFF font, whose outlines turn the other way."""
    with TTFont(source) as font:
        glyphs, cmap = font.getGlyphSet(), font.getBestCmap()
        names = {ord(c): cmap[ord(c)] for c in CHARS if ord(c) in cmap}
        drawn = {}
        for name in (".notdef", *dict.fromkeys(names.values())):
            pen = T2CharStringPen(500, glyphs)
            glyphs[name].draw(pen)
            drawn[name] = pen.getCharString()
        builder = FontBuilder(font["head"].unitsPerEm, isTTF=False)
    builder.setupGlyphOrder(list(drawn))
    builder.setupCharacterMap(names)
    builder.setupCFF("Cubic", {"FullName": "Cubic"}, drawn, {})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in drawn})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cubic", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(target)
    return FontFile(target)


@pytest.fixture(scope="module", params=["klee-one", "kouzan-brush", "cubic"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FontFile:
    if request.param == "cubic":
        folder = tmp_path_factory.mktemp("cubic")
        return cubic_copy(ASSETS / "zen-kurenaido.woff", folder / "cubic.otf")
    return FontFile(ASSETS / f"{request.param}.woff")


def area(outline: Outline) -> float:
    """em ** 2, of y down: ink on the left of the way counts negative."""
    a, b = outline.points.astype(float), outline.points[next_point(outline.starts)].astype(float)
    return float(np.sum(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2)


def length(outline: Outline) -> float:
    step = outline.points[next_point(outline.starts)] - outline.points
    return float(np.hypot(*step.T).sum())


def test_area_and_length_are_those_of_the_curves(file: FontFile) -> None:
    font = open_font(file)
    with TTFont(file.path) as reference:
        glyphs, cmap = reference.getGlyphSet(), reference.getBestCmap()
        units = reference["head"].unitsPerEm
        measured = 0
        for char in CHARS:
            if ord(char) not in cmap:
                continue
            surface, way = AreaPen(glyphs), PerimeterPen(glyphs, tolerance=0.0005 * units)
            glyphs[cmap[ord(char)]].draw(surface)
            glyphs[cmap[ord(char)]].draw(way)
            outline = font.outline(char)
            # the same sign as well: y is turned over, and with it the sense of the contours
            assert -area(outline) == pytest.approx(
                surface.value / units**2, rel=AREA_TOLERANCE, abs=1e-5
            ), char
            assert length(outline) == pytest.approx(way.value / units, rel=LENGTH_TOLERANCE), char
            assert outline.stroke_em == pytest.approx(
                2 * abs(surface.value) / way.value / units, rel=0.015
            ), char
            measured += 1
    assert measured >= 24


def test_points_are_finite_distinct_and_never_far_apart(file: FontFile) -> None:
    for char in CHARS:
        if (outline := open_font(file).outline(char)) is None:
            continue
        step = outline.points[next_point(outline.starts)] - outline.points
        assert np.isfinite(outline.points).all()
        assert np.hypot(*step.T).min() > 0 and np.hypot(*step.T).max() <= 1.2 * STEP_EM
        assert (np.diff(outline.starts) >= 3).all() and outline.starts[-1] == len(outline.points)
        assert len(outline.component) == len(outline.starts) - 1


def test_next_point_walks_round_each_contour() -> None:
    assert next_point(np.array([0, 3, 7])).tolist() == [1, 2, 0, 4, 5, 6, 3]


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_a_hole_goes_with_the_smallest_outside_around_it(tmp_path: Path, cff: bool) -> None:
    glyph = [
        box(0, 0, 600, 600),  # a ring
        box(650, 0, 900, 600),  # a bar beside it
        hole(50, 50, 550, 550),
        box(100, 100, 500, 500),  # a ring inside the ring
        hole(200, 200, 300, 300),
        box(210, 210, 290, 290),  # an island in its hole
    ]
    outline = open_font(build_font(tmp_path / "a.otf", {"回": glyph}, cff=cff)).outline("回")
    ring, bar, first, inner, second, island = outline.component.tolist()
    assert first == ring and second == inner
    assert len({ring, bar, inner, island}) == 4
    assert outline.filled_left == cff  # y down
    assert set(outline.component.tolist()) == set(range(4))


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_a_hole_stays_with_its_ring_under_a_long_stroke(tmp_path: Path, cff: bool) -> None:
    """The box of the thin stroke of 句 holds the ring, and its area is smaller than the ring's."""
    wrap = [(100, 800), (100, 840), (900, 840), (900, 0), (860, 0), (860, 800)]
    glyph = [wrap, box(200, 200, 600, 600), hole(260, 260, 540, 540)]
    outline = open_font(build_font(tmp_path / "a.otf", {"句": glyph}, cff=cff)).outline("句")
    stroke, ring, inner = outline.component.tolist()
    assert inner == ring != stroke


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_stroke_width_of_a_bar_is_its_width(tmp_path: Path, cff: bool) -> None:
    bar, ring = [box(0, 0, 80, 800)], [box(0, 0, 800, 800), hole(60, 60, 740, 740)]
    font = open_font(build_font(tmp_path / "bar.otf", {"|": bar, "口": ring}, cff=cff))
    # a stroke of length L and width w has perimeter 2 (L + w): 2 L w / 2 (L + w)
    assert font.outline("|").stroke_em == pytest.approx(0.8 * 0.08 / 0.88, rel=1e-4)
    assert font.outline("口").stroke_em == pytest.approx(0.06, rel=1e-4)
    x, y = font.outline("|").points.T
    assert (x.min(), x.max()) == pytest.approx((0, 0.08))
    assert (y.min(), y.max()) == pytest.approx((-0.8, 0))  # y down from the baseline


def test_the_corners_of_a_polygon_stay(tmp_path: Path) -> None:
    triangle = [[(0, 0), (300, 800), (700, 100)]]
    font = open_font(build_font(tmp_path / "t.ttf", {"A": triangle}))
    points = font.outline("A").points
    for x, y in triangle[0]:
        assert np.hypot(points[:, 0] - x / 1000, points[:, 1] + y / 1000).min() < 1e-6


def signed_areas(outline: Outline) -> list[float]:
    """Of each contour, so that a sign is a sense of rotation."""
    found = []
    for a, b in zip(outline.starts, outline.starts[1:], strict=False):
        x, y = outline.points[a:b].astype(float).T
        found.append(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2))
    return found


@pytest.mark.parametrize("cff", [False, True], ids=["TrueType", "CFF"])
def test_a_stroke_turned_like_a_hole_is_a_stroke(tmp_path: Path, cff: bool) -> None:
    """It lies in no other contour: it is turned about, and its own hole with it."""
    bar = hole(0, 0, 600, 100)
    ring = [box(700, 0, 1000, 600), hole(760, 60, 940, 540)]
    wrong_ring = [hole(0, 200, 300, 600), box(60, 260, 240, 540)]
    glyph = [bar, *ring, *wrong_ring]
    font = open_font(build_font(tmp_path / "a.otf", {"A": glyph}, cff=cff))
    outline = font.outline("A")
    senses = np.sign(signed_areas(outline))
    assert senses.tolist() == (senses[0] * np.array([1, 1, -1, 1, -1])).tolist()
    stroke, outer, inner, second, second_inner = outline.component.tolist()
    assert outer == inner and second == second_inner and len({stroke, outer, second}) == 3
    ink = (600 * 100 + (300 * 600 - 180 * 480) + (300 * 400 - 180 * 280)) / 1e6
    assert sum(map(abs, (area(outline),))) == pytest.approx(ink, rel=1e-4)


def test_many_at_once_are_what_each_is_alone() -> None:
    """Glyphs of several fonts, with other units, in one pass."""
    glyphs = [
        (open_font(f), chr(code))
        for f in find_fonts()[::3]
        for code in sorted(open_font(f).cmap)[::997]
    ]
    fonts._outlines.clear()
    together = outlines_of(glyphs)
    assert len(together) > 40
    for (font, char), outline in zip(glyphs, together, strict=True):
        fonts._outlines.clear()
        alone = font.outline(char)
        if outline is None:
            assert alone is None
            continue
        for name in ("points", "starts", "component", "cluster"):
            assert np.array_equal(getattr(outline, name), getattr(alone, name)), (char, name)
        assert np.array_equal(outline.ends.which, alone.ends.which)
        assert np.array_equal(outline.ends.weight, alone.ends.weight)
        assert outline.stroke_em == alone.stroke_em and outline.perimeter_em == alone.perimeter_em
        # and nobody is given more points than was said before
        assert len(outline.points) <= most_points(font.raw(char), font._face.units_per_EM)
