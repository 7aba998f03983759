"""Fonts in a page: exactly the characters it shows and Latin fonts lack, as the project draws them,
under their licences."""

from __future__ import annotations

import io
import random
import re
import tomllib
from pathlib import Path

import pytest
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.ttLib import TTFont

from synth import page_fonts as module
from synth.fonts import ASSETS
from synth.page_fonts import FAMILY, PageFont, css, page_fonts, with_fonts

ROWS = {
    row["file"]: row for row in tomllib.loads((ASSETS / "fonts.toml").read_text("utf-8"))["font"]
}
NOWHERE = "\u31ef\U0002f800"  # in no font of the project


def opened(font: PageFont) -> TTFont:
    return TTFont(io.BytesIO(font.data))


def row_of(font: PageFont) -> dict:
    return next(row for row in ROWS.values() if font.notice.startswith(f"{row['family']}. "))


def drawn(font: TTFont, char: str) -> list:
    glyphs = font.getGlyphSet()
    pen = DecomposingRecordingPen(glyphs)
    glyphs[font.getBestCmap()[ord(char)]].draw(pen)
    return pen.value


def test_characters_of_many_scripts_each_once_as_the_project_draws_them() -> None:
    text = "Plain – text → ×é\n永國东あ가กД" + NOWHERE
    fonts = page_fonts(text)
    assert sorted("".join(font.chars for font in fonts)) == sorted("永國东あ가กД")
    assert len(fonts) <= 4
    for font in fonts:
        with opened(font) as cut, TTFont(ASSETS / row_of(font)["file"]) as whole:
            assert {chr(code) for code in cut.getBestCmap()} == set(font.chars)
            for char in font.chars:
                assert drawn(cut, char) == drawn(whole, char) != []
    assert [f.data for f in page_fonts(text)] == [f.data for f in fonts]


def test_legible_styles_come_first_and_one_font_draws_what_it_can() -> None:
    (font,) = page_fonts("永國東")
    assert row_of(font)["style"] in module.LEGIBLE
    hangul, han = sorted(page_fonts("가永"), key=lambda f: -ord(f.chars[0]))
    assert (hangul.chars, han.chars) == ("가", "永")
    assert row_of(hangul)["style"] == "hand"  # no legible font has it


def test_what_latin_fonts_have_needs_none() -> None:
    assert page_fonts("abc ÄŁő – “→” ±×…\n\t" + NOWHERE) == []
    page = "<html><head></head><body>abc</body></html>"
    assert with_fonts(page) == page


def test_only_what_is_shown_as_text_is_embedded() -> None:
    page = (
        '<html><head><style>b::after { content: "銀"; }</style><title>國</title></head>'
        '<body><img alt="日" src="data:,月"><p title="三">永</p><script>"一"</script></body></html>'
    )
    found = with_fonts(page)
    chars = {c for font in page_fonts("國永") for c in font.chars}
    assert chars == set("國永")
    ranges = re.search(r"unicode-range: ([^;]+);", found)
    assert ranges and ranges[1] == "U+570B,U+6C38"
    before, style, after = re.split(r"<style>\n(.*?)</style>\n(?=</head>)", found, flags=re.DOTALL)
    assert before + after == page and style == css(page_fonts("國永"))


def test_ranges_are_the_characters() -> None:
    (font,) = page_fonts("一丁七永")  # two of them neighbours
    assert "unicode-range: U+4E00-4E01,U+4E03,U+6C38;" in css([font])
    assert f'font-family: "{FAMILY}"' in css([font])


def test_the_licence_goes_with_the_characters_and_no_reserved_name_does() -> None:
    fonts = page_fonts("永东号가กД")
    rules = css(fonts)
    assert rules.count("@font-face") == rules.count("/*") == rules.count("*/") == len(fonts)
    renamed = 0
    for font in fonts:
        row = row_of(font)
        licence = (ASSETS / row["licence_file"]).read_text("utf-8").strip()
        assert font.notice.endswith(licence) and licence.replace("</", "< /") in rules
        with opened(font) as cut, TTFont(ASSETS / row["file"]) as whole:
            for name in whole["name"].names:
                kept = cut["name"].getName(name.nameID, 3, 1).toUnicode()
                assert kept.startswith(name.toUnicode())
                assert ("for a page" in kept) == (name.nameID == 10)  # says that it was changed
                if name.nameID in (1, 3, 4, 6, 16):
                    reserved = [word for word in row["renamed"].split(", ") if word]
                    assert not any(word in kept for word in reserved)
        renamed += bool(row["renamed"])
    assert renamed
    assert not any(row_of(f)["licence"] == "Arphic-1999" for f in page_fonts("亍兀永"))


def test_a_notice_cannot_end_the_comment_or_the_style() -> None:
    rules = css([PageFont("永", b"", "a */ b </style> c")])
    assert rules.count("*/") == 1 and "</style>" not in rules


def test_eight_hundred_characters_take_less_than_a_megabyte() -> None:
    every = [
        bytes([a, b]) for a in range(0xA4, 0xC6) for b in (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    ]
    chars = random.Random(1).sample([code.decode("big5") for code in every], 800)
    page = f"<html><head></head><body>{''.join(chars)}</body></html>"
    assert 200_000 < len(with_fonts(page)) - len(page) < 500_000


def test_without_the_projects_fonts_a_page_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASSETS", tmp_path / "nothing")
    page = "<html><head></head><body>永</body></html>"
    assert with_fonts(page) == page and page_fonts("永") == []
