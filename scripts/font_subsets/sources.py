"""The fonts of assets/fonts: from which package each comes, and what is kept of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

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
    # Latin, Greek, Cyrillic
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
