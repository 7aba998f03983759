"""Which characters belong to a script, and which of them a font keeps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


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
