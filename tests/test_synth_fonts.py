"""Which characters a font really has: tiny fonts with every known way to lack one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

from synth import fonts
from synth.errors import InputError
from synth.fonts import (
    FontFile,
    characters_of,
    check_fonts,
    find_fonts,
    open_font,
    outlines_of,
)

Polygons = list[list[tuple[float, float]]]  # contours as TrueType turns them: ink on the right


def box(left: float, bottom: float, right: float, top: float) -> list[tuple[float, float]]:
    """A filled rectangle in font units, y up."""
    return [(left, bottom), (left, top), (right, top), (right, bottom)]


def hole(left: float, bottom: float, right: float, top: float) -> list[tuple[float, float]]:
    return box(left, bottom, right, top)[::-1]


NOTDEF = [box(100, 0, 500, 700), hole(150, 50, 450, 650)]


def build_font(
    path: Path,
    glyphs: dict[str, Polygons],  # character -> contours; the same list object is one glyph
    notdef: Polygons = NOTDEF,
    cff: bool = False,
    units_per_em: int = 1000,
) -> FontFile:
    """A font file with straight outlines."""
    names: dict[int, str] = {}
    shapes: dict[str, Polygons] = {".notdef": notdef}
    cmap = {}
    for char, polygons in glyphs.items():
        name = names.setdefault(id(polygons), f"g{len(names)}")
        shapes[name], cmap[ord(char)] = polygons, name
    builder = FontBuilder(units_per_em, isTTF=not cff)
    builder.setupGlyphOrder(list(shapes))
    builder.setupCharacterMap(cmap)
    drawn = {}
    for name, polygons in shapes.items():
        pen = T2CharStringPen(1000, None) if cff else TTGlyphPen(None)
        for polygon in polygons:
            points = polygon[::-1] if cff else polygon
            pen.moveTo(points[0])
            for point in points[1:]:
                pen.lineTo(point)
            pen.closePath()
        drawn[name] = pen.getCharString() if cff else pen.glyph()
    if cff:
        builder.setupCFF(path.stem, {"FullName": path.stem}, drawn, {})
    else:
        builder.setupGlyf(drawn)
    builder.setupHorizontalMetrics({name: (1000, 0) for name in shapes})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return FontFile(path)


def letter(k: int) -> Polygons:
    """Another shape for another k."""
    return [box(100, 0, 200, 700), box(200, 40 * k, 600, 40 * k + 90)]


def shifted(polygons: Polygons, dx: float, dy: float) -> Polygons:
    return [[(x + dx, y + dy) for x, y in polygon] for polygon in polygons]


@pytest.fixture(params=[False, True], ids=["TrueType", "CFF"])
def cff(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_coverage_tells_the_ways_to_lack_a_character_apart(tmp_path: Path, cff: bool) -> None:
    stand_in = letter(30)
    glyphs = {c: letter(k) for k, c in enumerate("ABCDEFG")}
    glyphs["H"] = []  # mapped, but blank
    glyphs["I"] = NOTDEF
    glyphs["J"] = shifted(NOTDEF, 0, 0)  # another glyph with the box's outline
    glyphs["K"] = shifted(NOTDEF, 70, -30)  # the box at another place
    glyphs |= dict.fromkeys("LMNOPQ", stand_in)
    font = open_font(build_font(tmp_path / "mixed.otf", glyphs, cff=cff))
    found = font.coverage("ABCDEFGHIJKLMNOPQRS")
    assert found.usable == set("ABCDEFG")
    assert found.rejected == {
        **dict.fromkeys("RS", "unmapped"),
        "H": "blank",
        **dict.fromkeys("IJK", ".notdef"),
        **dict.fromkeys("LMNOPQ", "shared"),
    }


HOOK = [
    *((200, 500), (200, 600), (300, 700), (500, 700), (600, 600), (600, 450), (450, 350)),
    *((450, 200), (350, 200), (350, 400), (500, 500), (500, 560), (460, 600), (340, 600)),
    *((300, 560), (300, 500)),
]
LOOKS: dict[str, Polygons] = {
    "box": NOTDEF,
    "crossed box": [
        *NOTDEF,
        [(160, 70), (160, 110), (440, 630), (440, 590)],
        [(160, 590), (160, 630), (440, 110), (440, 70)],
    ],
    "black square": [box(100, 0, 800, 700)],
    "question mark": [HOOK, box(350, 0, 450, 100)],
}


def started_elsewhere(polygons: Polygons) -> Polygons:
    """Other first points, the contours in another order."""
    return [polygon[2:] + polygon[:2] for polygon in polygons[::-1]]


def with_a_point_more(polygons: Polygons) -> Polygons:
    """In the middle of each contour's last side, which is level."""
    return [
        [*p, ((p[0][0] + p[-1][0]) / 2, p[0][1])] if p[0][1] == p[-1][1] else p for p in polygons
    ]


@pytest.mark.parametrize("look", LOOKS)
def test_the_notdef_is_known_in_every_look(tmp_path: Path, cff: bool, look: str) -> None:
    notdef = LOOKS[look]
    left, top = notdef[0][0][0], max(y for polygon in notdef for _, y in polygon)
    right = max(x for polygon in notdef for x, _ in polygon)
    glyphs = {
        "一": notdef,
        "二": shifted(notdef, 40, -20),
        "三": started_elsewhere(notdef),
        "四": shifted(started_elsewhere(notdef), -60, 10),
        "五": with_a_point_more(notdef),
        # as large as the .notdef, another picture
        "六": [box(left, 0, right, 100), box(left, 300, right, top)],
        "七": letter(2),
    }
    assert glyphs["五"] != notdef
    font = build_font(tmp_path / "a.otf", glyphs, notdef, cff=cff)
    found = open_font(font).coverage(glyphs)
    assert found.rejected == dict.fromkeys("一二三四五", ".notdef")
    assert found.usable == set("六七")


def test_a_stand_in_drawn_in_many_ways_is_one_picture(tmp_path: Path, cff: bool) -> None:
    frame = [box(50, 0, 750, 700), hole(90, 40, 710, 660)]
    drawn = [frame, started_elsewhere(frame), with_a_point_more(frame), frame[::-1]]
    drawn.append(shifted(with_a_point_more(frame[::-1]), 20, 0))
    glyphs = dict(zip("上下左右中", drawn, strict=True)) | {"日": letter(1)}
    # as many glyphs of one size, each another picture, are characters
    glyphs |= {
        c: [box(50, 0, 750, 60), box(50, 100 + 40 * k, 750, 700)]
        for k, c in enumerate("甲乙丙丁戊")
    }
    found = open_font(build_font(tmp_path / "a.otf", glyphs, cff=cff)).coverage(glyphs)
    assert found.rejected == dict.fromkeys("上下左右中", "shared")


def test_a_frame_of_another_size_than_the_box_is_a_character(tmp_path: Path, cff: bool) -> None:
    """Drawn, both fill the picture: 口 beside a .notdef of the same proportions."""

    def frame(size: int) -> Polygons:
        thin = size // 10
        return [box(0, 0, size, size), hole(thin, thin, size - thin, size - thin)]

    glyphs = {"口": frame(400)} | {
        c: [box(0, 0, 400, 60), box(0, 100 + 40 * k, 400, 400)] for k, c in enumerate("甲乙丙丁")
    }  # five of one size, so they are drawn
    font = build_font(tmp_path / "a.otf", glyphs, notdef=frame(800), cff=cff)
    assert open_font(font).coverage(glyphs).rejected == {}


def test_points_on_one_line_are_blank(tmp_path: Path) -> None:
    glyphs = {"A": [[(0, 0), (0, 700), (0, 300)]], "B": [[(0, 5), (70, 5), (9, 5)]], "C": letter(1)}
    found = open_font(build_font(tmp_path / "a.ttf", glyphs)).coverage("ABC")
    assert found.rejected == {"A": "blank", "B": "blank"}


def test_a_glyph_of_lines_is_blank(tmp_path: Path) -> None:
    """As an engraver's font has them: each stroke is a contour of two points, and no ink."""
    glyphs = {"十": [[(0, 350), (700, 350)], [(350, 0), (350, 700)]], "C": letter(1)}
    font = build_font(tmp_path / "a.ttf", glyphs)
    found = open_font(font).coverage("十C")
    assert found.rejected == {"十": "blank"} and set(found.usable) == {"C"}


def test_copies_of_a_stand_in_are_one_picture(tmp_path: Path) -> None:
    glyphs = {c: shifted(letter(9), 10 * k, 3 * k) for k, c in enumerate("上下左右中")}
    glyphs |= {c: letter(k) for k, c in enumerate("日月")}
    found = open_font(build_font(tmp_path / "copies.ttf", glyphs)).coverage("上下左右中日月")
    assert found.usable == set("日月")
    assert set(found.rejected.values()) == {"shared"}


def test_a_stand_in_is_seen_when_a_few_characters_are_asked_for(tmp_path: Path) -> None:
    glyphs = dict.fromkeys("一丁七三上下不世中久", letter(3)) | {"日": letter(1)}
    found = open_font(build_font(tmp_path / "few.ttf", glyphs)).coverage("日中")
    assert (found.usable, found.rejected) == ({"日"}, {"中": "shared"})


def test_one_picture_is_many_letters_by_right(tmp_path: Path) -> None:
    """An upright stroke: Latin, Greek, Cyrillic, palochka, Coptic, Lisu; and two of one script."""
    stroke = [box(200, 0, 300, 700)]
    glyphs = dict.fromkeys("IΙІӀⲒꓲ", stroke) | dict.fromkeys("日⽇", letter(1))
    found = open_font(build_font(tmp_path / "stroke.ttf", glyphs)).coverage(glyphs)
    assert found.usable == set(glyphs)


def test_what_is_no_character_is_unmapped(tmp_path: Path) -> None:
    font = open_font(build_font(tmp_path / "a.ttf", {"A": letter(1)}))
    assert font.outline("ab") is None and font.outline("B") is None and font.raw("B") is None
    assert font.coverage(["A", "Á"]).rejected == {"Á": "unmapped"}


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("no font at all " * 99)


def _cut(path: Path) -> None:
    build_font(path, {c: letter(k) for k, c in enumerate("ABCDEFGHIJKLMNOP")})
    path.write_bytes(path.read_bytes()[:300])


def _bitmap(path: Path) -> None:
    path.write_text(
        "STARTFONT 2.1\nFONT -x-x-medium-r-normal--8-80-75-75-c-80-iso10646-1\nSIZE 8 75 75\n"
        "FONTBOUNDINGBOX 8 8 0 0\nSTARTPROPERTIES 2\nFONT_ASCENT 8\nFONT_DESCENT 0\n"
        "ENDPROPERTIES\nCHARS 1\nSTARTCHAR A\nENCODING 65\nSWIDTH 500 0\nDWIDTH 8 0\nBBX 8 8 0 0\n"
        "BITMAP\n18\n24\n42\n42\n7E\n42\n42\n00\nENDCHAR\nENDFONT\n"
    )


def _changed(change: Callable[[TTFont], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        build_font(path, {"A": letter(1)})
        with TTFont(path) as font:
            change(font)
            font.save(path)

    return make


def _no_outlines(font: TTFont) -> None:
    for tag in ("glyf", "loca"):
        del font[tag]


def _no_units(font: TTFont) -> None:
    font["head"].unitsPerEm = 0


def _symbols_only(font: TTFont) -> None:
    table = font["cmap"].tables[0]
    table.platformID, table.platEncID, table.cmap = 3, 0, {0xF041: table.cmap[65]}
    font["cmap"].tables = [table]


@pytest.mark.parametrize(
    "make",
    [_empty, _text, _cut, _bitmap]
    + [_changed(change) for change in (_no_outlines, _no_units, _symbols_only)],
    ids=["empty", "text", "cut", "bitmap", "no outlines", "no units", "symbols only"],
)
def test_a_font_that_cannot_be_used_is_an_error_that_names_it(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "bad.ttf"
    make(path)
    with pytest.raises(InputError, match=r"bad\.ttf: "):
        open_font(FontFile(path)).coverage("A")


def test_a_collection_gives_each_face(tmp_path: Path) -> None:
    build_font(tmp_path / "one.ttf", {"A": letter(1)})
    build_font(tmp_path / "two.ttf", {"B": letter(2)})
    collection = TTCollection()
    collection.fonts = [TTFont(tmp_path / "one.ttf"), TTFont(tmp_path / "two.ttf")]
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    collection.save(folder / "both.ttc")
    faces = [f for f in find_fonts([tmp_path / "deep"]) if f.path.name == "both.ttc"]
    assert [f.name for f in faces] == ["both", "both#1"]
    assert [sorted(open_font(f).coverage("AB").usable) for f in faces] == [["A"], ["B"]]


@pytest.mark.parametrize("make", ["none", "file", "empty"])
def test_a_folder_without_fonts_is_an_error_that_names_it(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "missing"
    if make == "file":
        folder.write_text("")
    elif make == "empty":
        folder.mkdir()
        (folder / "readme.txt").write_text("no font")
    with pytest.raises(InputError, match="missing: no "):
        find_fonts([folder])


def test_a_damaged_collection_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.ttc").write_bytes(b"ttcf" + b"\0" * 50)
    with pytest.raises(InputError, match=r"bad\.ttc: not a readable font"):
        find_fonts([tmp_path])


def test_characters_that_no_font_has_are_named(tmp_path: Path) -> None:
    one = build_font(tmp_path / "one.ttf", {c: letter(k) for k, c in enumerate("AB")})
    two = build_font(tmp_path / "two.ttf", {"B": letter(1), "C": letter(2), "D": []})
    assert [sorted(f.usable) for f in check_fonts([one, two], list("ABC"))] == [
        ["A", "B"],
        ["B", "C"],
    ]
    with pytest.raises(InputError, match=r"no font has 2 of 5 characters: DE; .*--fonts"):
        check_fonts([one, two], list("ABCDE"))
    assert len(check_fonts([one, two], list("ABCDE"), strict=False)) == 2


def test_letters_with_combining_marks_are_named_as_such(tmp_path: Path) -> None:
    """m with a diaeresis is two code points in every normal form."""
    font = build_font(tmp_path / "one.ttf", {"m": letter(1), "\u0308": letter(2)})
    with pytest.raises(InputError) as caught:
        check_fonts([font], ["m", "m\u0308", "q"])
    assert str(caught.value) == (
        "no font has 1 of 3 characters: q; add a font that has them with --fonts DIR, or take them "
        "out of the list; 1 of 3 are letters with combining marks, which Unicode has no single "
        "character for and which are not drawn: m\u0308; take them out of the list"
    )
    with pytest.raises(InputError, match=r"^1 of 2 are letters with combining marks"):
        check_fonts([font], ["m", "m\u0308"])


def test_the_projects_fonts_without_and_with_the_writers() -> None:
    drawn, writers = find_fonts(), find_fonts(writers=True)
    assert len(drawn) > 10 and writers
    assert not {f.path for f in drawn} & {f.path for f in writers}
    assert not any(f.writer for f in drawn) and all(f.writer and f.style for f in writers)
    assert [f.name for f in drawn] == sorted(f.name for f in drawn)
    han = [f for f in drawn if len(open_font(f).coverage("永國一土未").usable) == 5]
    assert len(han) >= 6
    for file in drawn:  # none of them has a stand-in for a letter
        letters = [chr(code) for code in open_font(file).cmap if chr(code).isalpha()]
        rejected = open_font(file).coverage(letters[:: max(1, len(letters) // 300)]).rejected
        assert not set(rejected.values()) & {".notdef", "shared"}, file.name


def test_a_users_folder_is_no_part_of_the_projects_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's copy of a writer's font is the user's: fonts.toml speaks of its own folder only."""
    writer = find_fonts(writers=True)[0]
    shutil.copy(writer.path, tmp_path / writer.path.name)
    found = [f for f in find_fonts([tmp_path]) if f.path.parent == tmp_path]
    assert len(found) == 1 and not found[0].writer
    monkeypatch.setattr(fonts, "ASSETS", tmp_path)
    assert [f.path.parent for f in find_fonts()] == [tmp_path]


def test_the_projects_folder_given_again_admits_nothing_more(tmp_path: Path) -> None:
    """Not even the fonts set aside as writers; by another name, or from further up, neither."""
    (tmp_path / "link").symlink_to(fonts.ASSETS)
    for folder in (fonts.ASSETS, fonts.ASSETS.parent, tmp_path / "link"):
        for writers in (False, True):
            assert find_fonts([folder], writers) == find_fonts(writers=writers)
            assert find_fonts([folder], writers, own=False) == find_fonts(writers=writers)


def test_without_the_projects_fonts(tmp_path: Path) -> None:
    font = build_font(tmp_path / "klee-one.ttf", {"A": letter(1)})
    assert find_fonts([tmp_path], own=False) == [font]


def test_two_fonts_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        build_font(tmp_path / folder / "regular.ttf", {"A": letter(1)})
    assert len(find_fonts([tmp_path / "a", tmp_path / "a"])) == len(find_fonts()) + 1
    with pytest.raises(InputError, match=r"a/regular\.ttf and .*b/regular\.ttf: .* name regular,"):
        find_fonts([tmp_path])


def test_no_more_outlines_are_kept_than_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "KEPT_OUTLINES", 3)
    chars = "ABCDEFGH"
    font = open_font(build_font(tmp_path / "a.ttf", {c: letter(k) for k, c in enumerate(chars)}))
    wanted = [(font, c) for c in "AABZCDEFGHA"]
    together = outlines_of(wanted)
    assert len(fonts._outlines) == 3
    assert together[3] is None and together[0] is together[1] is together[-1]
    for (_, char), outline in zip(wanted, together, strict=True):
        alone = font.outline(char)
        assert (alone is None) == (outline is None)
        assert alone is None or (alone.points == outline.points).all()
        assert len(fonts._outlines) <= 3
    assert font.outline("A") is font.outline("A")  # and those are kept


def test_a_character_counts_once_for_each_font_that_maps_it(tmp_path: Path) -> None:
    """Not by its place in the font: the numbers of the glyphs are 1, 2, 3 here, and 1 there."""
    shape = [box(100, 0, 500, 700)]
    one = build_font(tmp_path / "one.ttf", {"A": shape, "B": shape, "C": shape})
    two = build_font(tmp_path / "two.ttf", {"C": shape})
    assert characters_of([one, two]) == {"A": 1, "B": 1, "C": 2}
