"""The rendered glyphs most like an image: what a font would say was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synth.alphabet import Alphabet
from synth.canvas import Canvas, place
from synth.fonts import Coverage, find_fonts, open_font
from synth.likeness import SIZE_PX, Atlas, build_atlas, strokes
from synth.raster import plain_pictures
from synth.vote import outvoted

MAX_FONTS = 8  # those that have most of the alphabet
CHARS = 24  # the characters nearest by their mean over the fonts, whose every font is looked at
PICTURE_PX = 64


@dataclass(frozen=True)
class Glyph:
    """A character as a font draws it."""

    char: str
    font: str
    likeness: float  # 0 to 1, 1: the same picture
    picture: np.ndarray  # [PICTURE_PX, PICTURE_PX] uint8, ink high on 0


def drawn(alphabet: Alphabet) -> Atlas:
    """The alphabet in some fonts, without the glyphs that show another character."""
    chars = alphabet.chars
    mapped = {
        f: {c for c in chars if len(c) == 1 and ord(c) in open_font(f).cmap} for f in find_fonts()
    }
    picked: list[Coverage] = []
    seen: set[str] = set()
    for file in sorted(mapped, key=lambda f: -len(mapped[f])):
        # beyond the first few only for what they lack: another script, say
        if len(picked) < MAX_FONTS or not mapped[file] <= seen:
            coverage = open_font(file).coverage(chars)
            seen |= coverage.usable
            picked.append(coverage)
    voted = outvoted(picked, build_atlas(picked, chars))
    return build_atlas(voted, chars)


def nearest_glyphs(atlas: Atlas, image: np.ndarray, count: int) -> list[Glyph]:
    if not image.any():
        return []
    asked = strokes(place(image, Canvas(SIZE_PX, margin_px=1))[None])[0]
    chars = np.argsort(-(atlas.mean @ asked), kind="stable")[:CHARS]
    likeness = atlas.features[:, chars].astype(np.float32) @ asked  # [F, CHARS]; 0: has it not
    font = likeness.argmax(0)
    best = likeness.max(0)
    result = []
    for i in np.argsort(-best, kind="stable")[:count].tolist():
        if best[i] <= 0:
            break
        file, char = atlas.fonts[font[i]], atlas.chars[chars[i]]
        raw = open_font(file).raw(char)
        assert raw is not None  # only what a font has is like anything
        picture = plain_pictures([raw], PICTURE_PX, margin_px=5)[0]
        result.append(Glyph(char, file.name, float(best[i]), picture))
    return result
