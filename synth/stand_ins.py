"""Which glyphs of a font are one picture: what it draws in place of the characters that it lacks.

Glyphs of equal outlines are one picture. So are some of unequal ones, whose contours start at
another point, stand in another order, or have a point more on an upright or level line. These are
told by drawing them; drawn are only glyphs of a size that the .notdef or many letters have.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from synth.glyphs import RawOutline
from synth.raster import plain_pictures

# An outline that this many letters of one script share is a stand-in, not a character. Two or three
# may share one by right (a Kangxi radical and its ideograph), and more across scripts: the upright
# stroke is a letter of Latin, Greek, Cyrillic, Coptic, Lisu and Old Italic.
SHARED_BY = 5
PICTURE_PX = 32
_BATCH = 256
_ON_CURVE = 3  # the bits of a tag that say what a point is


@dataclass(frozen=True)
class Shape:
    """What of a glyph can be compared, wherever it stands."""

    outline: bytes  # equal for equal outlines
    size: tuple[int, int]  # width and height in font units


def shape_of(raw: RawOutline) -> Shape | None:
    """None for a glyph without area: its points stand on one upright or level line."""
    low = raw.points.min(0)
    width, height = (raw.points.max(0) - low).tolist()
    if not (width and height):
        return None
    digest = hashlib.blake2b((raw.points - low).tobytes(), digest_size=16)
    digest.update((raw.tags & _ON_CURVE).tobytes() + raw.ends.tobytes())
    return Shape(digest.digest(), (width, height))


def same_size(
    shapes: Mapping[str, Shape],  # character -> shape
    scripts: Mapping[str, str],  # of each character
    box: Shape | None,  # the .notdef's; None: it is blank
) -> list[str]:
    """Characters as large as the box, or as large as SHARED_BY letters of one script."""
    sizes = Counter((s.size, scripts[c]) for c, s in shapes.items() if is_letter(c))
    return [
        c
        for c, s in shapes.items()
        if (box and s.size == box.size) or sizes[s.size, scripts[c]] >= SHARED_BY
    ]


def pictures(outlines: Iterable[RawOutline]) -> list[bytes]:
    """A digest of each one's picture; of outlines of one size the same for the same picture."""
    found: list[bytes] = []
    outlines = list(outlines)
    for i in range(0, len(outlines), _BATCH):
        drawn = plain_pictures(outlines[i : i + _BATCH], PICTURE_PX, margin_px=1)
        found += [hashlib.blake2b(p.tobytes(), digest_size=16).digest() for p in drawn]
    return found


def is_letter(char: str) -> bool:
    """Letters, digits and private characters; punctuation and marks share shapes by right."""
    return unicodedata.category(char)[0] in "LNC"
