"""Build assets/fonts: fetch freely licensed fonts, cut them down to common characters, record them.

Every font is drawn anew, glyph by glyph, into a small TrueType font (`rebuild`) instead of being
cut by the subsetter: one path then serves plain fonts, collections, PostScript outlines and fonts
that come in a hundred slices, and drops hinting, layout tables and unused names by construction.
What a font only pretends to have (a blank, its .notdef, one picture for many characters) is left
out, so the cmap of the result can be believed. The same packages give the same bytes.

The files are WOFF 1: the FreeType inside freetype-py has no Brotli and cannot open WOFF 2.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fontTools.ttLib import TTFont

OUT = Path(__file__).resolve().parent.parent / "assets" / "fonts"
LIMIT_BYTES = 40_000_000
# Stands in head.created, head.modified and in the notice of every file; a change of the manifest
# that changes glyphs should move it, because the Arphic licence asks for the date of a change.
MODIFIED = datetime(2026, 11, 24, tzinfo=UTC)
# Grid of the outlines. Half of the usual 1000 saves a tenth of the bytes; half a grid step is 0.06
# pixels at 64 px.
UNITS_PER_EM = 512
# Outlines shared by this many Chinese characters are a placeholder, not a character. Honest fonts
# share one between at most two or three code points (unified variants).
PLACEHOLDER_USES = 4

STYLES = ("kai", "hand", "pen", "brush", "cursive", "marker", "gothic", "serif")


@dataclass(frozen=True)
class Source:
    """One font to build: where it comes from and what to keep of it."""

    stem: str  # name of the files written: <stem>.woff, <stem>.LICENSE.txt
    package: str  # "npm @fontsource/iansui" or "Debian fonts-klee"
    version: str  # of the package; npm fetches exactly this, Debian what the release has
    style: str  # one of STYLES
    scripts: str  # ISO 15924 codes of SCRIPTS to keep; or keys of HAN_SETS
    licence: str = "OFL-1.1"  # SPDX id
    members: tuple[str, ...] = ("files/*-400-normal.woff2",)  # globs inside the package, in order
    face: int = 0  # index inside a collection
    family: str | None = None  # new family name; None keeps the original's
    reserved: str = ""  # Reserved Font Names of the original, comma separated
    writer: bool = False  # set aside as a simulated writer: the renderer never draws with it


WEST = "Latn Grek Cyrl"
EAST = f"Kana Bopo {WEST}"
HANI = "Big1 Gb1 Jis1"  # 7,174 common Chinese characters and kanji
NOTO_SCRIPTS = (
    "Hebr Arab Syrc Thaa Nkoo Deva Beng Guru Gujr Orya Taml Telu Knda Mlym Sinh Thai Laoo Tibt Mymr"
    " Geor Armn Ethi Cher Cans Ogam Runr Khmr Mong Tfng Glag Copt Goth Yiii Vaii Lisu Java Bali"
    " Olck Osge Dsrt Ital Xpeo Ugar Phnx Cprt Linb Brah"
)
NOTO_SANS = (
    "Hebrew Arabic Syriac Thaana NKo Devanagari Bengali Gurmukhi Gujarati Oriya Tamil Telugu"
    " Kannada Malayalam Sinhala Thai Lao Myanmar Georgian Armenian Ethiopic Cherokee"
    " CanadianAboriginal Ogham Runic Khmer Mongolian Tifinagh Glagolitic Coptic Gothic Yi Vai Lisu"
    " Javanese Balinese OlChiki Osage Deseret OldItalic OldPersian Ugaritic Phoenician Cypriot"
    " LinearB Brahmi"
)
NOTO_SERIF = (
    "Hebrew Devanagari Bengali Gurmukhi Gujarati Tamil Telugu Kannada Malayalam Sinhala Thai Lao"
    " Tibetan Myanmar Georgian Armenian Ethiopic Khmer Balinese"
)


def noto(style: str, names: str) -> tuple[str, ...]:
    """The files of many Noto fonts inside Debian's package."""
    return tuple(f"usr/share/fonts/truetype/noto/Noto{style}{n}-Regular.ttf" for n in names.split())


# A row stays a row here: formatted, the table would be five times as long.
# fmt: off
SOURCES = (
    # Kai and pen: the shapes that school and forms teach
    Source("inkfill-sub-a", "Debian fonts-lxgw-wenkai", "1.250+repack-1", "kai",
           f"{HANI} Uro {EAST}", members=("usr/share/fonts/**/LXGWWenKai-Regular.ttf",),
           family="Inkfill Sub A", reserved="LXGW, 霞鹜"),
    Source("inkfill-sub-b", "npm @fontsource/lxgw-wenkai-tc", "5.3.0", "kai", f"{HANI} {EAST}",
           family="Inkfill Sub B", reserved="LXGW, 霞鶩"),
    Source("tw-kai", "Debian fonts-cns11643-kai", "103.1+20181001-1", "kai", f"Big1 {EAST}",
           licence="OGDL-Taiwan-1.0", members=("usr/share/fonts/**/TW-Kai-98_1.ttf",)),
    # of this one only the characters that few others have; its common ones draw 爲 for 為
    Source("ar-pl-ukai", "Debian fonts-arphic-ukai", "0.2.20080216.2-5", "kai", "Gb2",
           licence="Arphic-1999", members=("usr/share/fonts/**/ukai.ttc",)),
    Source("klee-one", "Debian fonts-klee", "1.000-20210121-2", "pen", f"{HANI} {EAST}",
           members=("usr/share/fonts/**/KleeOne-Regular.ttf",)),
    Source("inkfill-sub-c", "npm @fontsource/iansui", "5.3.0", "pen", f"{HANI} {EAST}",
           family="Inkfill Sub C", reserved="Iansui, 芫荽"),
    # Hand and brush: Simplified
    Source("ma-shan-zheng", "npm @fontsource/ma-shan-zheng", "5.3.1", "brush", f"{HANI} {EAST}"),
    Source("zhi-mang-xing", "npm @fontsource/zhi-mang-xing", "5.3.0", "cursive",
           f"{HANI} {EAST}"),
    Source("long-cang", "npm @fontsource/long-cang", "5.3.0", "hand", f"{HANI} {EAST}"),
    # Hand and brush: Japanese fonts, so Traditional and shared characters, and kana
    Source("kouzan-brush", "Debian fonts-kouzan-mouhitsu", "20170411-3", "brush",
           f"{HANI} {EAST}", licence="LicenseRef-public-domain",
           members=("usr/share/fonts/**/kouzan-mouhitsu.ttf",)),
    Source("zen-kurenaido", "npm @fontsource/zen-kurenaido", "5.3.0", "pen", f"{HANI} {EAST}"),
    Source("yomogi", "npm @fontsource/yomogi", "5.3.0", "hand", f"{HANI} {EAST}"),
    # Simulated writers: two have both forms, one Traditional, one Simplified
    Source("inkfill-sub-d", "npm @fontsource/lxgw-marker-gothic", "5.3.0", "marker",
           f"{HANI} Gb2 Big2 {EAST}", family="Inkfill Sub D", reserved="LXGW, 霞鶩", writer=True),
    Source("setofont", "Debian fonts-seto", "6.20-8", "hand", f"{HANI} {EAST}",
           members=("usr/share/fonts/**/setofont.ttf",), writer=True),
    Source("kiloji", "Debian fonts-kiloji", "1:2.1.0-25", "hand", f"{HANI} {EAST}",
           licence="BSD-3-Clause", members=("usr/share/fonts/**/kiloji.ttf",), writer=True),
    Source("zcool-kuaile", "npm @fontsource/zcool-kuaile", "5.3.0", "hand", f"{HANI} Gb2 {EAST}",
           writer=True),
    # Hangul
    Source("gaegu", "npm @fontsource/gaegu", "5.3.0", "hand", f"Hang {WEST}"),
    Source("hi-melody", "npm @fontsource/hi-melody", "5.3.0", "hand", f"Hang Kana {WEST}"),
    Source("caveat", "npm @fontsource/caveat", "5.3.0", "hand", WEST),
    Source("shantell-sans", "npm @fontsource/shantell-sans", "5.3.0", "marker", WEST),
    Source("playpen-sans", "npm @fontsource/playpen-sans", "5.3.0", "hand", WEST),
    Source("bad-script", "npm @fontsource/bad-script", "5.3.0", "cursive", WEST),
    Source("inkfill-sub-f", "npm @fontsource/marck-script", "5.3.0", "cursive", WEST,
           family="Inkfill Sub F", reserved="Marck Script"),
    Source("neucha", "npm @fontsource/neucha", "5.3.0", "hand", WEST),
    Source("pangolin", "npm @fontsource/pangolin", "5.3.0", "hand", WEST),
    Source("mansalva", "npm @fontsource/mansalva", "5.3.0", "marker", WEST),
    Source("mynerve", "npm @fontsource/mynerve", "5.3.0", "hand", WEST),
    Source("inkfill-sub-g", "Debian fonts-gfs-gazis", "1.1-6", "cursive", WEST,
           members=("usr/share/fonts/**/GFSGazis.otf",), family="Inkfill Sub G",
           reserved="GFS Gazis"),
    Source("patrick-hand", "npm @fontsource/patrick-hand", "5.3.0", "hand", WEST),
    Source("architects-daughter", "npm @fontsource/architects-daughter", "5.3.0", "hand", WEST),
    Source("gloria-hallelujah", "npm @fontsource/gloria-hallelujah", "5.3.0", "hand", WEST),
    Source("homemade-apple", "npm @fontsource/homemade-apple", "5.3.0", "cursive", WEST),
    Source("reenie-beanie", "npm @fontsource/reenie-beanie", "5.3.0", "hand", WEST),
    Source("cedarville-cursive", "npm @fontsource/cedarville-cursive", "5.3.0", "cursive", WEST),
    Source("indie-flower", "npm @fontsource/indie-flower", "5.3.0", "hand", WEST),
    Source("covered-by-your-grace", "npm @fontsource/covered-by-your-grace", "5.3.0", "marker",
           WEST),
    # Hand-like fonts of further scripts
    Source("gveret-levin", "npm @fontsource/gveret-levin", "5.3.0", "hand", "Hebr"),
    Source("playpen-sans-hebrew", "npm @fontsource/playpen-sans-hebrew", "5.3.0", "hand", "Hebr"),
    Source("playpen-sans-arabic", "npm @fontsource/playpen-sans-arabic", "5.3.0", "hand", "Arab"),
    Source("gulzar", "npm @fontsource/gulzar", "5.3.0", "cursive", "Arab"),
    Source("kalam", "npm @fontsource/kalam", "5.3.0", "hand", f"Deva {WEST}"),
    Source("dekko", "npm @fontsource/dekko", "5.3.0", "hand", "Deva Latn"),
    Source("playpen-sans-deva", "npm @fontsource/playpen-sans-deva", "5.3.0", "hand", "Deva"),
    Source("chilanka", "npm @fontsource/chilanka", "5.3.0", "hand", "Mlym Latn"),
    Source("navilu", "Debian fonts-navilu", "1.2-4", "hand", "Knda",
           members=("usr/share/fonts/**/Navilu.ttf",)),
    Source("mali", "npm @fontsource/mali", "5.3.0", "hand", "Thai Latn"),
    Source("itim", "npm @fontsource/itim", "5.3.0", "hand", "Thai Latn"),
    Source("charmonman", "npm @fontsource/charmonman", "5.2.7", "cursive", "Thai Latn"),
    Source("inkfill-sub-h", "Debian fonts-sil-abyssinica", "2.100-3", "brush", "Ethi",
           members=("usr/share/fonts/**/AbyssinicaSIL-Regular.ttf",), family="Inkfill Sub H",
           reserved="Abyssinica, SIL"),
    # Printed forms of many scripts; each file is made of many Noto fonts
    Source("noto-sans-scripts", "Debian fonts-noto-core", "20201225-1", "gothic", NOTO_SCRIPTS,
           members=noto("Sans", NOTO_SANS), family="Inkfill Scripts Sans"),
    Source("noto-serif-scripts", "Debian fonts-noto-core", "20201225-1", "serif", NOTO_SCRIPTS,
           members=noto("Serif", NOTO_SERIF), family="Inkfill Scripts Serif"),
)
# fmt: on


@dataclass(frozen=True)
class Script:
    """The characters of a script, as ranges of code points."""

    code: str  # ISO 15924
    core: str  # ranges "41-5A 61-7A"; a font that has half of them is said to have the script
    more: str = ""  # further ranges to keep where a font has them


# Kept from every font: digits, punctuation, numerals, geometric shapes, full-width forms.
COMMON = (
    "20-7E A0-BF D7 F7 2010-2027 2030-205E 20A0-20BF 2103 2109 2116 2150-2188 2190-2199"
    " 2460-2473 25A0-25FF 2605 2606 2640 2642 3000-3020 3021-3029 3200-3243 3280-33FF FE30-FE4F"
    " FF01-FF65 FFE0-FFE6"
)
SCRIPTS = (
    Script("Latn", "41-5A 61-7A", "C0-D6 D8-F6 F8-17F 218-21B 1E80-1E85 1E9E 1EA0-1EF9"),
    Script("Grek", "391-3A1 3A3-3A9 3B1-3C9", "386-390 3AA-3B0 3CA-3CE 3D1 3D5 3D6"),
    Script(
        "Cyrl",
        "410-44F",
        "400-40F 450-45F 462 463 472-475 490-493 49A-49D 4A2 4A3 4AE-4B3 4BA 4BB 4D8 4D9 4E8 4E9",
    ),
    Script("Kana", "3041-3093 30A1-30F3", "3094-3096 3099-309F 30A0 30F4-30FF 31F0-31FF FF66-FF9F"),
    Script("Bopo", "3105-3129", "312A-312F 31A0-31BF 2C7 2CA 2CB 2D9"),
    Script("Hang", "3131-314E 314F-3163", "3165-318E"),
    Script("Hebr", "5D0-5EA", "5B0-5C7 5F0-5F4"),
    Script("Arab", "621-63A 641-64A", "60C 61B 61F 640 64B-652 660-66D 670-6D3 6F0-6F9"),
    Script("Syrc", "710-72C"),
    Script("Thaa", "780-7A5", "7A6-7B1"),
    Script("Nkoo", "7C0-7EA", "7EB-7FA"),
    Script("Deva", "905-914 915-939", "900-904 93A-97F"),
    Script("Beng", "985-98C 98F 990 993-9A8 9AA-9B0 9B2 9B6-9B9", "980-983 9BC-9FE"),
    Script("Guru", "A05-A0A A0F A10 A13-A28 A2A-A30 A32 A35 A38 A39", "A01-A03 A3C-A76"),
    Script("Gujr", "A85-A8B A8F A90 A93-AA8 AAA-AB0 AB2 AB3 AB5-AB9", "A81-A83 A8C-AFF"),
    Script("Orya", "B05-B0C B0F B10 B13-B28 B2A-B30 B32 B33 B35-B39", "B01-B03 B3C-B77"),
    Script(
        "Taml",
        "B85-B8A B8E-B90 B92-B95 B99 B9A B9C B9E B9F BA3 BA4 BA8-BAA BAE-BB9",
        "B82 B83 BBE-BFA",
    ),
    Script("Telu", "C05-C0C C0E-C10 C12-C28 C2A-C39", "C00-C04 C3D-C7F"),
    Script("Knda", "C85-C8C C8E-C90 C92-CA8 CAA-CB3 CB5-CB9", "C80-C84 CBC-CF2"),
    Script("Mlym", "D05-D0C D0E-D10 D12-D39", "D00-D04 D3A-D7F"),
    Script("Sinh", "D85-D96 D9A-DB1 DB3-DBB DBD DC0-DC6", "D81-D83 DCA-DF4"),
    Script("Thai", "E01-E2E E30 E32 E33 E40-E46", "E31 E34-E3A E3F E47-E5B"),
    Script(
        "Laoo", "E81 E82 E84 E87 E88 E8A E94-E97 E99-E9F EA1-EA3 EA5 EA7 EAA EAB EAD EAE", "EAF-EDF"
    ),
    Script("Tibt", "F40-F47 F49-F69", "F00-F14 F20-F33 F6A-F84"),
    Script("Mymr", "1000-1021", "1022-109F"),
    Script("Geor", "10D0-10F0", "10A0-10C5 10F1-10FF 1C90-1CBF"),
    Script("Armn", "531-556 561-586", "559-560 587-58F"),
    Script(
        "Ethi",
        "1200-1206 1208-1246 1260-1286 1290-12AE 12C8-12CE 12D8-12EE 1300-130E 1320-1356",
        "1207-139F",
    ),
    Script("Cher", "13A0-13F4", "13F5-13FD AB70-ABBF"),
    Script("Cans", "1401-166C", "166D-167F 18B0-18F5"),
    Script("Ogam", "1681-169A", "169B 169C"),
    Script("Runr", "16A0-16EA", "16EB-16F8"),
    Script("Khmr", "1780-17B3", "17B4-17F9"),
    Script("Mong", "1820-1842", "1810-1819 1843-1878"),
    Script("Tfng", "2D30-2D65", "2D66-2D70"),
    Script("Glag", "2C00-2C2E 2C30-2C5E"),
    Script("Copt", "2C80-2CB1", "2CB2-2CFF 3E2-3EF"),
    Script("Goth", "10330-1034A"),
    Script("Yiii", "A000-A48C", "A490-A4C6"),
    Script("Vaii", "A500-A60C", "A60D-A62B"),
    Script("Lisu", "A4D0-A4F7", "A4F8-A4FF"),
    Script("Java", "A984-A9B2", "A980-A983 A9B3-A9DF"),
    Script("Bali", "1B05-1B33", "1B00-1B04 1B34-1B60"),
    Script("Olck", "1C50-1C7F"),
    Script("Osge", "104B0-104D3 104D8-104FB"),
    Script("Dsrt", "10400-1044F"),
    Script("Ital", "10300-1031F", "10320-1032F"),
    Script("Xpeo", "103A0-103C3 103C8-103CF", "103D0-103D5"),
    Script("Ugar", "10380-1039D"),
    Script("Phnx", "10900-10915", "10916-1091F"),
    Script("Cprt", "10800-10805 10808 1080A-10835 10837 10838 1083C 1083F"),
    Script("Linb", "10000-1000B 1000D-10026 10028-1003A 1003C 1003D 1003F-1004D", "10050-1005D"),
    Script("Brah", "11005-11037", "11000-11004 11038-1106F"),
)
SCRIPT_BY_CODE = {script.code: script for script in SCRIPTS}


def code_points(ranges: str) -> set[int]:
    """ "41-5A 61" -> {0x41, ..., 0x5A, 0x61}."""
    found: set[int] = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def _double_byte(codec: str, rows: range, trail: Iterable[int]) -> set[int]:
    """Code points of the rows of a two-byte character set."""
    trail = list(trail)
    found = set()
    for lead in rows:
        for second in trail:
            try:
                found.add(ord(bytes([lead, second]).decode(codec)))
            except UnicodeDecodeError:  # the last row of a level is not full
                continue
    return found


def big5(level: int) -> set[int]:
    """Big5 level 1 (5,401 common Traditional characters) or 2 (7,650 rare ones)."""
    rows = {1: range(0xA4, 0xC7), 2: range(0xC9, 0xFA)}[level]
    found = _double_byte("big5", rows, [*range(0x40, 0x7F), *range(0xA1, 0xFF)])
    return {c for c in found if 0x4E00 <= c <= 0x9FFF}  # without the symbols at the end of C6, F9


def gb2312(level: int) -> set[int]:
    """GB2312 level 1 (3,755 common Simplified characters) or 2 (3,008 further ones)."""
    rows = {1: range(0xB0, 0xD8), 2: range(0xD8, 0xF8)}[level]
    return _double_byte("gb2312", rows, range(0xA1, 0xFF))


def jis_level_1() -> set[int]:
    """JIS X 0208 level 1: 2,965 common kanji."""
    return _double_byte("euc_jp", range(0xB0, 0xD0), range(0xA1, 0xFF))


def ks_syllables() -> set[int]:
    """KS X 1001: 2,350 common Hangul syllables."""
    return _double_byte("euc_kr", range(0xB0, 0xC9), range(0xA1, 0xFF))


HAN_SETS = {
    "Big1": lambda: big5(1),
    "Big2": lambda: big5(2),
    "Gb1": lambda: gb2312(1),
    "Gb2": lambda: gb2312(2),
    "Jis1": jis_level_1,
    "Uro": lambda: set(range(0x4E00, 0x9FA6)),  # Unicode's first block: every national standard
}


def wanted(scripts: str) -> set[int]:
    """The code points to keep for a row's scripts."""
    found = code_points(COMMON)
    for code in scripts.split():
        if code in HAN_SETS:
            found |= HAN_SETS[code]() | {0x3005, 0x3006, 0x3007}  # 々〆〇
        else:
            script = SCRIPT_BY_CODE[code]
            found |= code_points(script.core) | code_points(script.more)
            if code == "Hang":
                found |= ks_syllables()
    return found


def scripts_of(cmap: Iterable[int]) -> list[str]:
    """ISO 15924 codes of the scripts that these characters write."""
    have = set(cmap)
    sets = [("Hant", big5(1), 0.75), ("Hans", gb2312(1), 0.95), ("Jpan", jis_level_1(), 0.95)]
    sets += [(s.code, code_points(s.core), 0.5) for s in SCRIPTS if s.code != "Hang"]
    sets += [("Hang", ks_syllables(), 0.9)]
    return [code for code, members, share in sets if len(members & have) >= share * len(members)]


@dataclass(frozen=True)
class FontRow:
    """One row of fonts.toml."""

    file: str  # in assets/fonts
    licence_file: str  # in assets/fonts
    family: str  # in the name table
    original_family: str
    source: str  # package and its version
    version: str  # of the font itself, from its name table
    licence: str  # SPDX id
    reserved: bool  # the original declares Reserved Font Names
    renamed: str  # which ones were replaced in the name table and the file name; "" none
    style: str  # one of STYLES
    writer: bool  # set aside as a simulated writer: not for rendering training images
    scripts: list[str]  # ISO 15924; Hant from 75 % of Big5 level 1, Hans 95 % of GB2312 level 1
    characters: int  # in the cmap
    big5_level1: int  # of 5,401
    gb2312_level1: int  # of 3,755
    sha256: str

    def to_toml(self) -> str:
        # A JSON string, boolean, integer or list of strings is also a TOML one.
        rows = (f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in asdict(self).items())
        return "\n".join(["[[font]]", *rows, ""])

    @classmethod
    def from_toml(cls, row: dict) -> FontRow:
        names = {field.name for field in fields(cls)}
        if set(row) != names:
            raise ValueError(
                f"fonts.toml, font {row.get('file', '?')}: missing {sorted(names - set(row))}, "
                f"unknown {sorted(set(row) - names)}"
            )
        return cls(**row)


def read_rows(folder: Path) -> list[FontRow]:
    """The rows of folder/fonts.toml."""
    table = tomllib.loads((folder / "fonts.toml").read_text(encoding="utf-8"))
    return [FontRow.from_toml(row) for row in table["font"]]


# Packages


def package_folder(package: str) -> str:
    """ "npm @fontsource/iansui" -> "fontsource-iansui"."""
    return package.split(" ", 1)[1].lstrip("@").replace("/", "-")


def fetch(source: Source, work: Path) -> None:
    """Fetch and unpack a package into work/<package folder>; once."""
    target = work / package_folder(source.package)
    if target.exists():
        return
    kind, name = source.package.split(" ", 1)
    part = work / f"{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if kind == "npm":
        _call(["npm", "pack", "--silent", f"{name}@{source.version}"], part)
        archive = next(part.glob("*.tgz"))
        with tarfile.open(archive) as tar:
            tar.extractall(part, filter="data")
        (part / "package").rename(target)
    else:
        _call(["apt-get", "download", name], part)
        archive = next(part.glob("*.deb"))
        # -R keeps DEBIAN/control, where the version stands
        _call(["dpkg-deb", "-R", archive.name, "unpacked"], part)
        (part / "unpacked").rename(target)
    shutil.rmtree(part)


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(
            f"{command[0]} is not installed; install it, or give the unpacked packages with --from"
        ) from None
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` failed: {done.stderr.strip()[-400:]}")


def package_version(package: str, root: Path) -> str:
    if package.startswith("npm"):
        return json.loads((root / "package.json").read_text(encoding="utf-8"))["version"]
    control = (root / "DEBIAN" / "control").read_text(encoding="utf-8")
    found = re.search(r"^Version: (\S+)$", control, re.M)
    assert found is not None  # every package states it
    return found.group(1)


def licence_text(package: str, root: Path) -> str:
    """The licence of the fonts of a package, without that of the packaging."""
    if package.startswith("npm"):
        return (root / "LICENSE").read_text(encoding="utf-8").strip()
    name = package.split(" ", 1)[1]
    text = (root / f"usr/share/doc/{name}/copyright").read_text(encoding="utf-8")
    # Debian's machine-readable form: drop the paragraphs about Debian's own files, which are not
    # here, and their GPL
    kept = [
        paragraph
        for paragraph in re.split(r"\n\s*\n", text.strip())
        if not re.match(r"(Files:\s*debian/|License:\s*(GPL|CC0))", paragraph)
    ]
    return "\n\n".join(kept)


# Fonts


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


def _outline(font: TTFont, glyph_set, name: str) -> tuple:
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
        empty = _outline(font, glyph_set, font.getGlyphOrder()[0])
        notdef = notdef or (empty, glyph_set[font.getGlyphOrder()[0]].width)
        for char, name in sorted(font.getBestCmap().items()):
            if char not in keep or char in seen:
                continue
            key = (i, name)
            if key not in glyphs:
                glyphs[key] = (_outline(font, glyph_set, name), glyph_set[name].width)
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


def build(source: Source, packages: Path, out: Path) -> tuple[FontRow, str]:
    """Build one font into out; its row for fonts.toml and one line on what was left out."""
    root = packages / package_folder(source.package)
    if not root.is_dir():
        raise SystemExit(f"{source.package}: no folder {root}; unpack the package there")
    version = package_version(source.package, root)
    notes = [] if version == source.version else [f"package {version}, not {source.version}"]
    fonts = open_fonts(source, root)
    origin = f"{source.package} {version}"
    notice = (
        f"Modified on {MODIFIED:%Y-%m-%d} by scripts/build_fonts.py of Inkfill from a font of "
        f"{origin}: reduced to common characters; hinting, layout and vertical tables removed; "
        "coordinates rounded; written as WOFF" + ("; renamed" if source.reserved else "") + "."
    )
    path = out / f"{source.stem}.woff"
    cmap, left_out = rebuild(source, fonts, notice, path)
    notes += [f"{count} {reason}" for reason, count in left_out.items()]
    licence = out / f"{source.stem}.LICENSE.txt"
    families = {original_name(font, 1) for font in fonts}
    original = original_name(fonts[0], 1)
    assert original is not None, f"{source.stem}: the original has no name"
    if len(families) > 1:
        original += f" and {len(families) - 1} others"
    head = f"{path.name} is a modified version of the font {original}.\n{notice}\n"
    text = f"{head}The licence of the original, which also governs the modified font, follows.\n\n"
    body = licence_text(source.package, root)
    licence.write_text(f"{text}{'-' * 80}\n\n{body}\n", encoding="utf-8")
    row = FontRow(
        file=path.name,
        licence_file=licence.name,
        family=source.family or original,
        original_family=original,
        source=origin,
        version=(original_name(fonts[0], 5) or "").removeprefix("Version "),
        licence=source.licence,
        reserved=bool(source.reserved),
        renamed=source.reserved,
        style=source.style,
        writer=source.writer,
        scripts=scripts_of(cmap),
        characters=len(cmap),
        big5_level1=len(big5(1) & set(cmap)),
        gb2312_level1=len(gb2312(1) & set(cmap)),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return row, ", ".join(notes)


# what the folder of a build may hold but fonts.toml
NAMES = tuple(f"{s.stem}.{end}" for s in SOURCES for end in ("woff", "LICENSE.txt"))
HEADER = """\
# The fonts of this folder: written by scripts/build_fonts.py, not by hand.
# renamed: Reserved Font Names of the original, replaced in the name table and the file name.
# writer:  set aside as a simulated writer; the renderer does not draw training images with it.
# scripts: ISO 15924; Hant from 75 % of Big5 level 1, Hans and Jpan from 95 % of GB2312 level 1
#          and of JIS X 0208 level 1.
"""


def check_manifest(sources: Iterable[Source]) -> None:
    """Mistakes in the table above that would only show in a wrong file."""
    stems = Counter(source.stem for source in sources)
    for source in sources:
        if stems[source.stem] > 1:
            raise ValueError(f"{source.stem}: stands twice in SOURCES")
        if source.style not in STYLES:
            raise ValueError(f"{source.stem}: style {source.style!r} is not one of {STYLES}")
        if source.reserved and not source.family:
            raise ValueError(f"{source.stem}: a font with a reserved name needs a new family")


def refuse_strange(folder: Path, more: Iterable[str] = ()) -> None:
    """Raises SystemExit where a folder that will be deleted holds anything but fonts.toml, the
    files that it lists, and `more`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no folder; remove it or give another --out")
    ours = {"fonts.toml", *more}
    try:
        rows = read_rows(folder) if (folder / "fonts.toml").exists() else []
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SystemExit(
            f"{folder}/fonts.toml: not written by this program ({error}); give another --out"
        ) from None
    ours |= {name for row in rows for name in (row.file, row.licence_file)}
    strange = sorted(p.name for p in folder.iterdir() if p.name not in ours or not p.is_file())
    if strange:
        raise SystemExit(
            f"{folder}: holds {', '.join(strange[:5])}{', ...' if len(strange) > 5 else ''}, which "
            "its fonts.toml does not list and this would delete; move that elsewhere "
            "(render_fonts.py --fonts takes a folder of yours) or give another --out"
        )


def exchange(out: Path) -> None:
    """Puts the whole set beside `out` in its place. Killed at any point, a whole set is there, and
    `finish_exchange` finds it."""
    part, old = (out.with_name(out.name + end) for end in (".part", ".old"))
    if out.exists():
        out.rename(old)
    part.rename(out)
    if old.exists():
        shutil.rmtree(old)


def finish_exchange(out: Path) -> None:
    """What a killed `exchange` left undone. Raises SystemExit where the folder that it puts aside
    holds what no build made."""
    part, old = (out.with_name(out.name + end) for end in (".part", ".old"))
    if not old.exists():
        return
    refuse_strange(old, NAMES)  # half deleted it has no fonts.toml
    if not out.exists():  # the new set goes in only when it is whole
        (part if (part / "fonts.toml").exists() else old).rename(out)
    shutil.rmtree(old, ignore_errors=True)


def build_all(sources: tuple[Source, ...], packages: Path, out: Path) -> Iterator[str]:
    """Build into a folder beside out and exchange them when all is whole; a line a font."""
    part = out.with_name(out.name + ".part")
    finish_exchange(out)
    refuse_strange(out)
    refuse_strange(part, NAMES)  # an unfinished build has no fonts.toml
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    stems = {source.stem for source in sources}
    old = read_rows(out) if (out / "fonts.toml").exists() else []
    known = {source.stem for source in SOURCES}
    rows = {}
    for row in old:  # fonts not asked for now stay as they are
        stem = Path(row.file).stem
        if stem in known - stems:
            rows[stem] = row
            shutil.copy2(out / row.file, part)
            shutil.copy2(out / row.licence_file, part)
    for source in sources:
        rows[source.stem], note = build(source, packages, part)
        row = rows[source.stem]
        size_kb = (part / row.file).stat().st_size / 1000
        yield f"{row.file:28} {row.characters:6} characters {size_kb:6.0f} kB  {note}"
    ordered = [rows[source.stem] for source in SOURCES if source.stem in rows]
    text = "\n".join([HEADER, *(row.to_toml() for row in ordered)])
    (part / "fonts.toml").write_text(text, encoding="utf-8")
    total_bytes = sum(path.stat().st_size for path in part.iterdir())
    if total_bytes >= LIMIT_BYTES:
        raise SystemExit(f"{part} is {total_bytes:,} bytes, more than {LIMIT_BYTES:,}; kept there")
    refuse_strange(out)  # again: the build took long
    exchange(out)
    yield f"{len(ordered)} fonts, {total_bytes / 1e6:.1f} MB -> {out}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Fetch freely licensed fonts, cut them down to common characters, and write "
        "them with their licences and fonts.toml.",
        epilog="About 20 seconds a Chinese font on one core; 1 GB for the packages.",
    )
    parser.add_argument(
        "work",
        type=Path,
        nargs="?",
        help="folder for the packages, fetched with `apt-get download` and `npm pack` where they "
        "are not there yet",
    )
    parser.add_argument(
        "--from",
        dest="packages",
        type=Path,
        metavar="DIR",
        help="fetch nothing: DIR holds the packages unpacked, as a work folder does "
        "(fontsource-iansui/package.json, fonts-klee/DEBIAN/control, ...)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="default: assets/fonts")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STEM",
        help="build these only and leave the other fonts of --out as they are",
    )
    args = parser.parse_args()
    if (args.work is None) == (args.packages is None):
        parser.error("give a work folder or --from DIR, one of them")
    unknown = set(args.only or ()) - {source.stem for source in SOURCES}
    if unknown:
        parser.error(f"--only: not in SOURCES: {', '.join(sorted(unknown))}")
    check_manifest(SOURCES)
    sources = tuple(s for s in SOURCES if not args.only or s.stem in args.only)
    out = args.out.resolve()
    refuse_strange(out)  # before the packages are fetched

    from tqdm import tqdm

    # Some of the fonts carry dates before 1970; they are replaced anyway.
    logging.getLogger("fontTools.ttLib.tables._h_e_a_d").setLevel(logging.ERROR)

    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
        for source in tqdm(sources, desc="fetch", unit="package"):
            fetch(source, args.work)
    bar = tqdm(total=len(sources), desc="build", unit="font")
    for line in build_all(sources, args.packages or args.work, out):
        tqdm.write(line, file=sys.stdout)
        bar.update(bar.n < len(sources))
    bar.close()


if __name__ == "__main__":
    main()
