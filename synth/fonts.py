"""Which fonts there are, and which characters each really has.

A cmap entry is not enough: fonts map characters to blank glyphs, to their .notdef box, and to
glyphs that show another character. What is judged is the outline, never the look of a box.
"""

from __future__ import annotations

import io
import tomllib
import unicodedata
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import freetype
import numpy as np

from synth.errors import InputError
from synth.files import file_stamp
from synth.glyphs import RawBatch, RawOutline, raw_batch, raw_outline, too_complex
from synth.outlines import Outline, flatten, most_points
from synth.stand_ins import SHARED_BY, Shape, is_letter, pictures, same_size, shape_of
from synth.woff2 import is_woff2, unpacked

ASSETS = Path(__file__).resolve().parent.parent / "assets" / "fonts"
SUFFIXES = {".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2"}
KEPT_OUTLINES = 2048  # of all fonts together: a render goes through a character's fonts in a row
# A glyph of more is left out: a batch of 64 must fit into memory, and every hole is looked for in
# every outside. The project's richest flattens to 1,300 points.
MAX_POINTS, MAX_CONTOURS = 8192, 512


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


def find_fonts(
    folders: Iterable[Path] = (),
    writers: bool = False,
    own: bool = True,  # the project's fonts, too
) -> list[FontFile]:
    """The project's fonts and those in `folders`, by name.

    `writers` asks for the fonts set aside as simulated writers in place of the renderer's. Raises
    InputError where a folder does not exist or holds no font, and where two fonts have one name. A
    file that is reached twice is taken once, as the project's own where it is one of those.
    """
    listed: dict[str, dict] = {}
    if (manifest := ASSETS / "fonts.toml").is_file():
        listed = {row["file"]: row for row in tomllib.loads(manifest.read_text("utf-8"))["font"]}
    found: list[FontFile] = []
    seen: set[Path] = set()
    for folder in (*((ASSETS,) if own else ()), *folders):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder of fonts")
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(f"{folder}: no font file in it ({', '.join(sorted(SUFFIXES))})")
        for path in paths:
            if (file := path.resolve()) in seen:
                continue
            seen.add(file)
            of_project = file.is_relative_to(ASSETS)
            row = listed.get(file.relative_to(ASSETS).as_posix(), {}) if of_project else {}
            if bool(row.get("writer", False)) == writers:
                faces = _face_count(path)
                found += [
                    FontFile(
                        file if of_project else path,
                        i,
                        row.get("style", ""),
                        row.get("writer", False),
                    )
                    for i in range(faces)
                ]
    found.sort(key=lambda f: f.name)
    for one, two in pairwise(found):
        if one.name == two.name:
            raise InputError(
                f"{one.path} and {two.path}: two fonts of the name {one.name}, by which stores and "
                "--without tell fonts apart; rename one of them"
            )
    return found


def _face_count(path: Path) -> int:
    if path.suffix.lower() not in (".ttc", ".otc"):
        return 1
    try:
        return freetype.Face(str(path)).num_faces
    except freetype.FT_Exception as error:
        raise InputError(f"{path}: not a readable font ({error})") from None


@lru_cache(maxsize=256)
def open_font(file: FontFile) -> Font:
    """One object a font and process: see `forget_changed`."""
    return Font(file)


def forget_changed(files: Iterable[FontFile]) -> None:
    """Closes all fonts where the file of one is another than when it was opened.

    For processes that outlive a run. Not asked at each glyph: a run that is going on must not turn
    to another font because its file is replaced.
    """
    if any(open_font(file).stamp != file_stamp(file.path) for file in files):
        open_font.cache_clear()


class Font:
    """A font opened for its outlines."""

    def __init__(self, file: FontFile) -> None:
        self.file = file
        try:
            self.stamp = file_stamp(file.path)
            packed = is_woff2(file.path)
            source = io.BytesIO(unpacked(file.path)) if packed else str(file.path)
            self._face = freetype.Face(source, index=file.face)
        except (OSError, freetype.FT_Exception) as error:
            raise InputError(f"{file.path}: not a readable font ({error})") from None
        if not self._face.is_scalable or self._face.units_per_EM < 16:
            raise InputError(f"{file.path}: no outlines in it (a bitmap or colour font?)")
        self._shapes: dict[int, Shape | None] = {}
        self._pictures: dict[bytes, bytes] = {}  # outline -> picture, of those that were drawn
        self._too_complex: dict[int, bool] = {}

    @cached_property
    def cmap(self) -> dict[int, int]:
        """Code point -> glyph id, from the font's best Unicode table."""
        try:
            self._face.select_charmap(freetype.FT_ENCODING_UNICODE)
        except freetype.FT_Exception:
            raise InputError(f"{self.file.path}: no Unicode table in it (a symbol font?)") from None
        return {code: gid for code, gid in self._face.get_chars() if gid}

    def outline(self, char: str) -> Outline | None:
        """The outline of a character, or None where it is unmapped or blank."""
        return outlines_of([(self, char)])[0]

    def raw(self, char: str) -> RawOutline | None:
        """The outline of a character as the font has it, or None where it is unmapped or blank."""
        gid = self.cmap.get(ord(char)) if len(char) == 1 else None
        return None if gid is None else self._raw(gid)

    def raws(self, chars: Sequence[str]) -> RawBatch:
        """Outlines of usable characters, many times faster than one by one."""
        return raw_batch(self._face, [self.cmap[ord(c)] for c in chars])

    def _raw(self, gid: int) -> RawOutline | None:
        """None where the glyph is blank, or damaged or too complex, which counts as blank."""
        if self._too_complex.get(gid):
            return None
        if gid not in self._too_complex and too_complex(self._face, gid):
            self._too_complex[gid] = True
            return None
        flags = freetype.FT_LOAD_NO_SCALE | freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP
        try:
            self._face.load_glyph(gid, flags)
        except freetype.FT_Exception:
            return None
        raw = raw_outline(self._face.glyph.outline)
        if gid not in self._too_complex:
            self._too_complex[gid] = raw is not None and (
                len(raw.ends) > MAX_CONTOURS
                or most_points(raw, self._face.units_per_EM) > MAX_POINTS
            )
        return None if self._too_complex[gid] else raw

    def _shape(self, gid: int) -> Shape | None:
        """None for a blank glyph."""
        if gid not in self._shapes:
            raw = self._raw(gid)
            self._shapes[gid] = None if raw is None else shape_of(raw)
        return self._shapes[gid]

    def _keys(self, gids: dict[str, int]) -> tuple[dict[str, bytes], bytes | None]:
        """Character -> a key equal for glyphs of one picture wherever it stands, without blank
        ones; and the .notdef's."""
        box = self._shape(0)
        shapes = {c: s for c, gid in gids.items() if (s := self._shape(gid)) is not None}
        scripts = {c: script_of(c) for c in shapes}
        alike = same_size(shapes, scripts, box)
        glyphs = {shapes[c].outline: gids[c] for c in alike} | ({box.outline: 0} if box else {})
        new = [(key, gid) for key, gid in glyphs.items() if key not in self._pictures]
        raws = [raw for _, gid in new if (raw := self._raw(gid)) is not None]
        self._pictures |= zip((key for key, _ in new), pictures(raws), strict=True)

        def drawn(shape: Shape) -> bytes:
            # a picture has no size of its own: a small ring would be the font's box
            return repr(shape.size).encode() + self._pictures[shape.outline]

        keys = {c: s.outline for c, s in shapes.items()} | {c: drawn(shapes[c]) for c in alike}
        return keys, drawn(box) if box else None

    def coverage(self, chars: Iterable[str]) -> Coverage:
        """Which of `chars` this font has, and why it lacks the others.

        Sharing of one picture is counted over `chars` and over a fixed sample of the font's own
        characters, so that a font whose every ideograph is one box is caught with a short list too.
        """
        wanted = list(dict.fromkeys(chars))
        codes = sorted(self.cmap)
        sample = [chr(c) for c in codes[:: max(1, len(codes) // 256)]]
        gids = {
            c: self.cmap[ord(c)] for c in {*wanted, *sample} if len(c) == 1 and ord(c) in self.cmap
        }
        keys, box = self._keys(gids)
        letters = Counter((key, script_of(c)) for c, key in keys.items() if is_letter(c))
        shared = {key for (key, _), n in letters.items() if n >= SHARED_BY}
        rejected: dict[str, str] = {}
        for char in wanted:
            if len(char) != 1 or ord(char) not in self.cmap:
                rejected[char] = "unmapped"
            elif char not in keys:
                complex_ = self._too_complex.get(self.cmap[ord(char)])
                rejected[char] = "too complex" if complex_ else "blank"
            elif keys[char] == box:
                rejected[char] = ".notdef"
            elif keys[char] in shared:
                rejected[char] = "shared"
        return Coverage(self.file, frozenset(c for c in wanted if c not in rejected), rejected)


_outlines: OrderedDict[tuple[Font, int], Outline | None] = OrderedDict()  # the latest used last


def outlines_of(glyphs: Sequence[tuple[Font, str]]) -> list[Outline | None]:
    """`Font.outline` of many characters, many times faster than one by one."""
    found: dict[tuple[Font, int], Outline | None] = {}
    keys: list[tuple[Font, int] | None] = []
    new, raws = [], []
    for font, char in glyphs:
        gid = font.cmap.get(ord(char)) if len(char) == 1 else None
        if gid is None:
            keys.append(None)
            continue
        key = (font, gid)
        keys.append(key)
        if key in found:
            continue
        if key in _outlines:
            _outlines.move_to_end(key)
            found[key] = _outlines[key]
        elif (raw := font._raw(gid)) is None:
            found[key] = _outlines[key] = None
        else:
            found[key] = None
            new.append(key)
            raws.append(raw)
    if new:
        units = np.array([font._face.units_per_EM for font, _ in new], float)
        drawn = dict(zip(new, flatten(RawBatch.of(raws), units), strict=True))
        found |= drawn
        _outlines.update(drawn)
    while len(_outlines) > KEPT_OUTLINES:
        _outlines.popitem(last=False)
    return [None if key is None else found[key] for key in keys]


def planned_outlines(glyphs: Sequence[tuple[Font, str]]) -> list[Outline]:
    """`outlines_of` characters that their fonts have. Raises RuntimeError for any other."""
    outlines: list[Outline] = []
    for (font, char), outline in zip(glyphs, outlines_of(glyphs), strict=True):
        if outline is None:
            raise RuntimeError(f"{font.file.name} has no {char!r}: the plan is wrong")
        outlines.append(outline)
    return outlines


@dataclass(frozen=True)
class Coverage:
    """What one font has of the characters asked for."""

    font: FontFile
    usable: frozenset[str]
    rejected: dict[str, str]  # character -> unmapped, blank, too complex, .notdef, ...


def check_fonts(
    files: Iterable[FontFile], chars: Sequence[str], strict: bool = True
) -> list[Coverage]:
    """`Font.coverage` for each font. Raises InputError naming the characters that no font has,
    unless not `strict`."""
    found = [open_font(file).coverage(chars) for file in files]
    if strict and (missing := missing_from(found, chars)):
        raise no_font_has(missing, len(chars))
    return found


def missing_from(coverages: Iterable[Coverage], chars: Sequence[str]) -> list[str]:
    """Those of `chars` that no font has usable."""
    have = frozenset().union(*(f.usable for f in coverages))
    return [c for c in chars if c not in have]


def no_font_has(missing: Sequence[str], total: int) -> InputError:
    """What to say of the characters that no font has, of `total` that were asked for."""
    marked = [c for c in missing if len(c) > 1]
    whole = [c for c in missing if len(c) == 1]
    lines = []
    if whole:
        lines.append(
            f"no font has {len(whole)} of {total} characters: {_some(whole, '')}; "
            "add a font that has them with --fonts DIR, or take them out of the list"
        )
    if marked:
        lines.append(
            f"{len(marked)} of {total} are letters with combining marks, which Unicode has no "
            f"single character for and which are not drawn: {_some(marked, ' ')}; "
            "take them out of the list"
        )
    return InputError("; ".join(lines))


def _some(chars: Sequence[str], between: str) -> str:
    return between.join(chars[:20]) + (" ..." if len(chars) > 20 else "")


def script_of(char: str) -> str:
    """A name for the character's script: the first word of its Unicode name (CJK, LATIN, GREEK)."""
    return unicodedata.name(char, "UNKNOWN").split()[0] if len(char) == 1 else "CLUSTER"


def characters_of(files: Iterable[FontFile]) -> dict[str, int]:
    """Every character -> in how many fonts it is mapped."""
    codes: Counter[int] = Counter()
    for file in files:
        codes.update(open_font(file).cmap.keys())
    return {chr(code): count for code, count in codes.items()}
