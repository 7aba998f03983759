"""A font drawn anew, glyph by glyph, into a small TrueType font in a WOFF 1 file.

One path serves plain fonts, collections, PostScript outlines and fonts that come in a hundred
slices, and drops hinting, layout tables and unused names by construction.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from font_subsets.characters import wanted
from font_subsets.sources import Source

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

# Stands in head.created, head.modified and in the notice of every file; a change of the manifest
# that changes glyphs should move it, because the Arphic licence asks for the date of a change.
MODIFIED = datetime(2026, 11, 24, tzinfo=UTC)
# Grid of the outlines. Half of the usual 1000 saves a tenth of the bytes; half a grid step is 0.06
# pixels at 64 px.
UNITS_PER_EM = 512
# Outlines shared by this many Chinese characters are a placeholder, not a character. Honest fonts
# share one between at most two or three code points (unified variants).
PLACEHOLDER_USES = 4


def open_fonts(source: Source, root: Path) -> list[TTFont]:
    """The font files of a row, opened in the order of its globs, larger files first."""
    from fontTools.ttLib import TTFont

    found: list[TTFont] = []
    for pattern in source.members:
        paths = sorted(root.glob(pattern), key=lambda p: (-p.stat().st_size, p.name))
        if not paths:
            raise SystemExit(f"{source.stem}: no file {pattern} in {root}")
        for path in paths:
            font = TTFont(path, lazy=True, fontNumber=source.face)
            if font.getBestCmap():  # a slice may hold nothing but variants
                found.append(font)
    return found


@dataclass(frozen=True)
class Drawn:
    """One glyph to write, with the characters it draws."""

    outline: tuple  # pen commands, components resolved, source units
    advance: float  # source units
    scale: float  # source units -> UNITS_PER_EM
    postscript: bool  # cubic outline, clockwise inside
    chars: tuple[int, ...]


def _outline(glyph_set, name: str) -> tuple:
    from fontTools.pens.recordingPen import DecomposingRecordingPen

    pen = DecomposingRecordingPen(glyph_set)
    glyph_set[name].draw(pen)
    return tuple(pen.value)


def draw_glyphs(fonts: list[TTFont], keep: set[int]) -> tuple[list[Drawn], Counter]:
    """The wanted glyphs, .notdef first, and how many characters were left out, by reason."""
    left_out: Counter = Counter()
    glyphs: dict[tuple[int, str], tuple] = {}
    chars: dict[tuple[int, str], list[int]] = {}
    seen: set[int] = set()
    notdef: tuple[tuple, float] | None = None
    for i, font in enumerate(fonts):
        glyph_set = font.getGlyphSet()
        empty = _outline(glyph_set, font.getGlyphOrder()[0])
        notdef = notdef or (empty, glyph_set[font.getGlyphOrder()[0]].width)
        for char, name in sorted(font.getBestCmap().items()):
            if char not in keep or char in seen:
                continue
            key = (i, name)
            if key not in glyphs:
                glyphs[key] = (_outline(glyph_set, name), glyph_set[name].width)
            outline = glyphs[key][0]
            if not outline and unicodedata.category(chr(char)) != "Zs":
                left_out["blank"] += 1
            elif font.getGlyphID(name) == 0 or (outline and outline == empty):
                left_out[".notdef"] += 1
            else:
                chars.setdefault(key, []).append(char)
                seen.add(char)
    uses: Counter = Counter()
    for key, members in chars.items():
        uses[glyphs[key][0]] += sum(0x3400 <= c <= 0x9FFF for c in members)
    assert notdef is not None  # there is at least one font
    drawn = [Drawn(*notdef, *_units(fonts[0]), ())]
    for key, members in sorted(chars.items(), key=lambda item: item[1]):
        outline, advance = glyphs[key]
        if uses[outline] >= PLACEHOLDER_USES:
            left_out["placeholder"] += len(members)
        else:
            drawn.append(Drawn(outline, advance, *_units(fonts[key[0]]), tuple(members)))
    return drawn, left_out


def _units(font: TTFont) -> tuple[float, bool]:
    return UNITS_PER_EM / font["head"].unitsPerEm, "glyf" not in font


def rebuild(source: Source, fonts: list[TTFont], notice: str, path: Path) -> tuple[dict, Counter]:
    """Write the subset to path; its cmap, and how many characters were left out, by reason."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.cu2quPen import Cu2QuPen
    from fontTools.pens.transformPen import TransformPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    first = fonts[0]
    drawn, left_out = draw_glyphs(fonts, wanted(source.scripts))
    if len(drawn) < 2:
        raise SystemExit(f"{source.stem}: not one of the wanted characters is in it")

    builder = FontBuilder(UNITS_PER_EM, isTTF=True)
    names = [".notdef", *(f"g{i}" for i in range(1, len(drawn)))]
    cmap = {c: name for name, glyph in zip(names, drawn, strict=True) for c in glyph.chars}
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(cmap)
    table, metrics = {}, {}
    for name, glyph in zip(names, drawn, strict=True):
        pen = TTGlyphPen(None)
        target = Cu2QuPen(pen, max_err=0.5, reverse_direction=True) if glyph.postscript else pen
        target = TransformPen(target, (glyph.scale, 0, 0, glyph.scale, 0, 0))
        for operator, operands in glyph.outline:
            getattr(target, operator)(*operands)
        table[name] = pen.glyph()
        table[name].recalcBounds(None)
        metrics[name] = (round(glyph.advance * glyph.scale), getattr(table[name], "xMin", 0))
    builder.setupGlyf(table)
    builder.setupHorizontalMetrics(metrics)
    scale, _ = _units(first)
    ascent, descent = round(first["hhea"].ascent * scale), round(first["hhea"].descent * scale)
    builder.setupHorizontalHeader(ascent=ascent, descent=descent)
    builder.setupOS2(
        sTypoAscender=ascent,
        sTypoDescender=descent,
        usWinAscent=max(ascent, 0),
        usWinDescent=max(-descent, 0),
        achVendID="    ",
    )
    builder.setupPost(keepGlyphNames=False)
    builder.setupNameTable(name_strings(source, first, notice), mac=False)
    font = builder.font
    font["OS/2"].recalcUnicodeRanges(font)
    mac_epoch = datetime(1904, 1, 1, tzinfo=UTC)
    font["head"].created = font["head"].modified = int((MODIFIED - mac_epoch).total_seconds())
    font.recalcTimestamp = False
    font.flavor = "woff"
    font.save(path)
    return cmap, left_out


def original_name(font: TTFont, name_id: int) -> str | None:
    name = font["name"].getDebugName(name_id)
    return " ".join(name.split()) if name else None


def name_strings(source: Source, font: TTFont, notice: str) -> dict[str, str]:
    """The names of the subset: family, copyright, the notice of change, licence."""
    family = source.family or original_name(font, 1)
    assert family is not None, f"{source.stem}: the original has no name"
    postscript = re.sub(r"[^A-Za-z0-9]", "", family)
    names = {
        "copyright": original_name(font, 0),
        "familyName": family,
        "styleName": "Regular",
        "uniqueFontIdentifier": f"{postscript}-Regular;Inkfill subset",
        "fullName": f"{family} Regular",
        "version": original_name(font, 5) or "Version 1.000",
        "psName": f"{postscript}-Regular",
        "trademark": original_name(font, 7),
        "description": notice,
        # The original's own field may state its reserved names; they stand in the file named here.
        "licenseDescription": f"{source.licence}; full text in {source.stem}.LICENSE.txt",
    }
    if source.reserved:  # a trademark notice would carry the reserved name back in
        del names["trademark"]
    return {key: value for key, value in names.items() if value}
