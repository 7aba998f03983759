"""How much two characters look alike, measured by rendering them in every font.

An atlas holds one small blurred picture a font and character. From it come the characters outside an
alphabet that look most like one inside, and the vote that finds a font drawing another character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from synth.fonts import Coverage, FontFile, open_font

SIZE_PX = 24
BLUR_PX = 0.9
# The same glyph under two code points (Latin O, Greek Omicron), or a pair that differs in size only
# (o, O): no image can tell them apart, so neither may stand as "other" for the other.
SAME = 0.99
# A glyph is outvoted when it looks like another character as much as this font's glyphs usually look
# like their own, and less like its own by this much; docs/LOG.md, "the vote of the fonts".
OUTVOTED_BY = 0.06
VOTERS = 3  # fewer other fonts make no consensus


@dataclass(frozen=True)
class Atlas:
    """Pictures of characters: unit vectors, so that a product is a likeness from 0 to 1."""

    chars: tuple[str, ...]
    fonts: tuple[FontFile, ...]
    pictures: np.ndarray  # [F, n, SIZE_PX ** 2] float16, zero where a font lacks a character
    has: np.ndarray  # [F, n] bool

    def mean(self) -> np.ndarray:
        """[n, D] float32: each character's mean picture over its fonts, a unit vector."""
        return _unit(self.pictures.sum(0, dtype=np.float32))

    def likeness(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """[r], [c] character numbers -> [r, c] float32: likeness of the mean pictures."""
        mean = self.mean()
        return mean[rows] @ mean[columns].T

    def same_picture(self, a: int, b: int) -> bool:
        """Whether most fonts that have both draw characters a and b alike to the eye."""
        both = self.has[:, a] & self.has[:, b]
        if not both.any():
            return False
        alike = (self.pictures[both, a].astype(np.float32) * self.pictures[both, b]).sum(1)
        return float(np.median(alike)) > SAME


def build_atlas(coverages: Sequence[Coverage], chars: Sequence[str]) -> Atlas:
    """Pictures of `chars` in each font that has them usable."""
    has = np.array([[c in f.usable for c in chars] for f in coverages])
    pictures = np.zeros((len(coverages), len(chars), SIZE_PX**2), np.float16)
    for f, coverage in enumerate(coverages):
        font = open_font(coverage.font)
        at = np.flatnonzero(has[f])
        stack = np.stack([picture(font.bitmap(chars[i])) for i in at]) if len(at) else None
        if stack is not None:
            blurred = ndimage.gaussian_filter(stack, (0, BLUR_PX, BLUR_PX))
            pictures[f, at] = _unit(blurred.reshape(len(at), -1))
    return Atlas(tuple(chars), tuple(c.font for c in coverages), pictures, has)


def picture(bitmap: np.ndarray) -> np.ndarray:
    """[h, w] uint8, tight -> [SIZE_PX, SIZE_PX] float32, the longer side filling it, centred."""
    height, width = bitmap.shape
    scale = (SIZE_PX - 2) / max(height, width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    small = np.asarray(Image.fromarray(bitmap).resize((w, h), Image.Resampling.BILINEAR))
    out = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    top, left = (SIZE_PX - h) // 2, (SIZE_PX - w) // 2
    out[top : top + h, left : left + w] = small
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def outvoted(coverages: Sequence[Coverage], atlas: Atlas | None = None) -> list[Coverage]:
    """Takes out glyphs that the other fonts say are another character (為 drawn as 爲).

    A glyph goes when, with its own font left out of the count, it is nearer to another character's mean
    than to its own by OUTVOTED_BY, and the characters are told apart at all.
    """
    if atlas is None:
        chars = sorted({c for f in coverages for c in f.usable})
        atlas = build_atlas(coverages, chars)
    total = atlas.pictures.sum(0, dtype=np.float32)
    voters = atlas.has.sum(0)
    result = []
    for f, coverage in enumerate(coverages):
        # without this font, whose own style would make its glyphs resemble each other
        mean = _unit(total - atlas.pictures[f])
        at = np.flatnonzero(atlas.has[f] & (voters > VOTERS))
        own, best, nearest = np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(at), int)
        for i in range(0, len(at), 1024):
            block = at[i : i + 1024]
            likeness = atlas.pictures[f, block].astype(np.float32) @ mean.T
            rows = np.arange(len(block))
            own[i : i + 1024] = likeness[rows, block]
            nearest[i : i + 1024] = likeness.argmax(1)
            best[i : i + 1024] = likeness.max(1)
        usual = np.median(own) if len(own) else 1.0
        rejected = dict(coverage.rejected)
        for i in np.flatnonzero((best >= usual) & (best > own + OUTVOTED_BY)):
            rejected[atlas.chars[at[i]]] = f"drawn as {atlas.chars[nearest[i]]}"
        usable = coverage.usable - rejected.keys()
        result.append(replace(coverage, usable=usable, rejected=rejected))
    return result


def script_of(char: str) -> str:
    """A name for the character's script: the first word of its Unicode name (CJK, LATIN, GREEK ...)."""
    return unicodedata.name(char, "UNKNOWN").split()[0] if len(char) == 1 else "CLUSTER"
