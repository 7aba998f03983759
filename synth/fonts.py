"""Which fonts there are, and which characters each really has.

A cmap entry is not enough: fonts map characters to blank glyphs, to their .notdef box, and to glyphs
that show another character. What is judged is the outline, never the look of a box.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import freetype
import numpy as np

from synth.errors import InputError
from synth.outlines import Outline, flatten, raw_points

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "fonts"
SUFFIXES = {".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2"}
# An outline that this many different characters share is a stand-in, not a character. Two or three
# may share one by right (Latin A, Greek Alpha, Cyrillic A; a Kangxi radical and its ideograph).
SHARED_BY = 5


@dataclass(frozen=True)
class FontFile:
    """One face of a font file."""

    path: Path
    face: int = 0  # number inside a collection
    style: str = ""
    writer: bool = False  # set aside for simulated sample data

    @property
    def name(self) -> str:
        return self.path.stem + (f"#{self.face}" if self.face else "")


def find_fonts(folders: Iterable[Path] = (), writers: bool = False) -> list[FontFile]:
    """The project's fonts and those in `folders`, by name.

    `writers` asks for the fonts set aside as simulated writers in place of the renderer's. Raises
    InputError where a folder does not exist or holds no font.
    """
    listed: dict[str, dict] = {}
    if (manifest := ASSETS / "fonts.toml").is_file():
        listed = {row["file"]: row for row in tomllib.loads(manifest.read_text("utf-8"))["font"]}
    found = []
    for folder in (ASSETS, *folders):
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(f"{folder}: no font file in it ({', '.join(sorted(SUFFIXES))})")
        for path in paths:
            row = listed.get(path.relative_to(folder).as_posix(), {}) if folder == ASSETS else {}
            if bool(row.get("writer", False)) == writers:
                faces = _face_count(path)
                found += [
                    FontFile(path, i, row.get("style", ""), row.get("writer", False))
                    for i in range(faces)
                ]
    return sorted(found, key=lambda f: f.name)


def _face_count(path: Path) -> int:
    if path.suffix.lower() not in (".ttc", ".otc"):
        return 1
    try:
        return freetype.Face(str(path)).num_faces
    except freetype.FT_Exception as error:
        raise InputError(f"{path}: not a readable font ({error})") from None


@lru_cache(maxsize=256)
def open_font(file: FontFile) -> Font:
    """One object a font and process: outlines are cached in it."""
    return Font(file)


class Font:
    """A font opened for its outlines."""

    def __init__(self, file: FontFile) -> None:
        self.file = file
        try:
            self._face = freetype.Face(str(file.path), index=file.face)
        except freetype.FT_Exception as error:
            raise InputError(f"{file.path}: not a readable font ({error})") from None
        if not self._face.is_scalable or self._face.units_per_EM < 16:
            raise InputError(f"{file.path}: no outlines in it (a bitmap or colour font?)")
        self._outlines: dict[int, Outline | None] = {}

    @cached_property
    def cmap(self) -> dict[int, int]:
        """Code point -> glyph id, from the font's best Unicode table."""
        self._face.select_charmap(freetype.FT_ENCODING_UNICODE)
        return {code: gid for code, gid in self._face.get_chars() if gid}

    def outline(self, char: str) -> Outline | None:
        """The outline of a character, or None where it is unmapped or blank."""
        if len(char) != 1 or (gid := self.cmap.get(ord(char))) is None:
            return None
        if gid not in self._outlines:
            slot = self._load(gid)
            self._outlines[gid] = flatten(slot.outline, self._face.units_per_EM) if slot else None
        return self._outlines[gid]

    def _load(self, gid: int) -> freetype.GlyphSlot | None:
        """The glyph in font units; None where it is damaged, which counts as unmapped."""
        flags = freetype.FT_LOAD_NO_SCALE | freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP
        try:
            self._face.load_glyph(gid, flags)
        except freetype.FT_Exception:
            return None
        return self._face.glyph

    def _key(self, gid: int) -> bytes | None:
        """Equal for glyphs of one picture wherever it stands; None for a blank glyph."""
        slot = self._load(gid)
        points = raw_points(slot.outline) if slot else None
        return None if points is None else (points - points.min(0)).tobytes()

    def bitmap(self, char: str, size_px: int = 48) -> np.ndarray:
        """[h, w] uint8, cropped to the ink: the plain glyph, as FreeType draws it without hinting."""
        self._face.set_pixel_sizes(0, size_px)
        flags = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER
        self._face.load_glyph(self.cmap[ord(char)], flags)
        raw = self._face.glyph.bitmap._FT_Bitmap
        if raw.rows == 0 or raw.width == 0:
            return np.zeros((1, 1), np.uint8)
        array = np.ctypeslib.as_array(raw.buffer, shape=(raw.rows, abs(raw.pitch)))
        return array[:, : raw.width].copy()

    def coverage(self, chars: Iterable[str]) -> Coverage:
        """Which of `chars` this font has, and why it lacks the others.

        Sharing of one outline is counted over `chars` and over a fixed sample of the font's own
        characters, so that a font whose every ideograph is one box is caught with a short list too.
        """
        wanted = list(dict.fromkeys(chars))
        box = self._key(0)
        codes = sorted(self.cmap)
        sample = [chr(c) for c in codes[:: max(1, len(codes) // 64)]]
        gids = {
            c: self.cmap[ord(c)] for c in {*wanted, *sample} if len(c) == 1 and ord(c) in self.cmap
        }
        keys = {c: key for c, gid in gids.items() if (key := self._key(gid)) is not None}
        shared = {key for key, n in Counter(keys.values()).items() if n >= SHARED_BY}
        rejected: dict[str, str] = {}
        for char in wanted:
            if len(char) != 1 or ord(char) not in self.cmap:
                rejected[char] = "unmapped"
            elif char not in keys:
                rejected[char] = "blank"
            elif keys[char] == box:
                rejected[char] = ".notdef"
            elif keys[char] in shared:
                rejected[char] = "shared"
        return Coverage(self.file, frozenset(c for c in wanted if c not in rejected), rejected)


@dataclass(frozen=True)
class Coverage:
    """What one font has of the characters asked for."""

    font: FontFile
    usable: frozenset[str]
    rejected: dict[str, str]  # character -> unmapped, blank, .notdef, shared, other glyph


def check_fonts(files: list[FontFile], chars: list[str]) -> list[Coverage]:
    """`Font.coverage` for each font, then the vote: see `synth.likeness.outvoted`.

    Raises InputError naming the characters that no font has.
    """
    from synth.likeness import outvoted

    found = [open_font(file).coverage(chars) for file in files]
    found = outvoted(found)
    missing = [c for c in chars if not any(c in f.usable for f in found)]
    if missing:
        shown = "".join(missing[:20]) + (" ..." if len(missing) > 20 else "")
        raise InputError(
            f"no font has {len(missing)} of {len(chars)} characters: {shown}; "
            f"add a font that has them with --fonts DIR, or take them out of the alphabet"
        )
    return found


def characters_of(files: Iterable[FontFile]) -> dict[str, int]:
    """Every character -> in how many fonts it is mapped."""
    return Counter(chr(code) for file in files for code in open_font(file).cmap)
