"""How much two characters look alike, measured by rendering them in every font.

An atlas holds the strokes of each character in each font, as a reader of handwriting sees them: how
much edge runs in which of eight directions at which place. From it come the characters outside an
alphabet that look most like one inside, and the vote of the fonts (`synth.vote`).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import freetype
import numpy as np

from synth import glyphs, raster
from synth.canvas import Canvas, place
from synth.fonts import ASSETS, Coverage, FontFile, open_font, script_of
from synth.raster import plain_pictures

SIZE_PX = 24
DIRECTIONS, GRID = 8, 8
GRID_BLUR = 0.6  # of the grid's step
# One picture under two code points: no image can tell them apart, so neither may be "other" for
# the other. Within a script only equal glyphs are one picture: 未 and 末 reach 0.976. Across
# scripts, and for the two cases of a letter, what is left is font noise or size: 口 and katakana ロ
# 0.968, s and S 0.962, o and O 0.960, w and W 0.937; but u and U 0.90, p and P 0.89.
SAME, SAME_ACROSS = 0.99, 0.93
READS_AS = 0.55  # likeness to a known character beyond the font's style
LIKENESS_DECIMALS = 5  # beyond them equal glyphs differ: a product depends on its place
GROUP = 8  # fewer glyphs of one script in a font say nothing about its style


@dataclass(frozen=True)
class Atlas:
    """Features of characters: unit vectors, so that a product is a likeness from 0 to 1."""

    chars: tuple[str, ...]
    fonts: tuple[FontFile, ...]
    features: np.ndarray  # [F, n, D] float16, zero where a font lacks a character
    has: np.ndarray  # [F, n] bool

    @cached_property
    def mean(self) -> np.ndarray:
        """[n, D] float32: each character's mean over its fonts, a unit vector."""
        return unit(self.features.sum(0, dtype=np.float32))

    def same_picture(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """[k], [k] character numbers -> [k] bool: most fonts with both draw both alike."""
        bound = np.empty(len(a), np.float32)
        for k, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
            one, two = self.chars[i], self.chars[j]
            across = script_of(one) != script_of(two) or one.casefold() == two.casefold()
            bound[k] = SAME_ACROSS if across else SAME
        votes = np.zeros(len(a), int)
        for f in range(len(self.fonts)):
            at = np.flatnonzero(self.has[f, a] & self.has[f, b])
            one, two = (self.features[f, x[at]].astype(np.float32) for x in (a, b))
            votes[at] += np.where((one * two).sum(1) > bound[at], 1, -1)
        return votes > 0


def build_atlas(coverages: Sequence[Coverage], chars: Sequence[str]) -> Atlas:
    """Features of `chars` in each font that has them usable."""
    has = np.array([[c in f.usable for c in chars] for f in coverages])
    features = np.zeros((len(coverages), len(chars), DIRECTIONS * GRID**2), np.float16)
    for f, coverage in enumerate(coverages):
        at = np.flatnonzero(has[f])
        features[f, at] = features_of(coverage.font, [chars[i] for i in at.tolist()])
    return Atlas(tuple(chars), tuple(c.font for c in coverages), features, has)


def reads_as(images: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[n, H, W] uint8 -> [n] bool: one may take it for one of the characters of `known`.

    known: [K, D], their `features_of` the font in which the images are drawn.

    The font's style is taken out as for the vote. A mirrored b reaches 0.62 to 0.97 of d, a
    mirrored 中 0.73 to 0.94 of itself, but a mirrored 我 0.38 of the one most like it, k 0.48.
    """
    small = Canvas(SIZE_PX, margin_px=1)
    found = strokes(np.stack([place(image, small) for image in images]))
    known = known.astype(np.float32)
    if len(known) < GROUP:
        return (found @ known.T).max(1) > SAME_ACROSS
    style = known.mean(0)
    return (unit(found - style) @ unit(known - style).T).max(1) > READS_AS


def look_alikes(coverage: Coverage, chars: Sequence[str], count: int) -> set[str]:
    """For each of `chars` the `count` usable characters most like it, as this one font draws, and
    those as like it as the last of them."""
    pool = sorted(coverage.usable)
    asked = [c for c in chars if c in coverage.usable]
    if not asked:
        return set()
    features = features_of(coverage.font, pool).astype(np.float32)
    number = {c: i for i, c in enumerate(pool)}
    found: set[str] = set()
    for i in range(0, len(asked), 256):
        rows = [number[c] for c in asked[i : i + 256]]
        likeness = np.round(features[rows] @ features.T, LIKENESS_DECIMALS)
        likeness[np.arange(len(rows)), rows] = -1
        least = np.partition(likeness, -min(count, len(pool)), axis=1)[:, -min(count, len(pool))]
        found |= {pool[k] for k in np.flatnonzero((likeness >= least[:, None]).any(0))}
    return found


def features_of(file: FontFile, chars: Sequence[str]) -> np.ndarray:
    """[n, D] float16. Those of the project's own fonts are kept in the user's cache folder."""
    font = open_font(file)
    keep = _cache_file(file)
    codes, known = _cached(keep)
    wanted = np.array([ord(c) for c in chars], np.int32)
    new = np.setdiff1d(wanted, codes)
    drawn = [np.zeros((0, DIRECTIONS * GRID**2), np.float16)]
    for i in range(0, len(new), 256):
        batch = font.raws([chr(code) for code in new[i : i + 256]])
        drawn.append(strokes(plain_pictures(batch, SIZE_PX, margin_px=1)).astype(np.float16))
    codes, known = np.concatenate([codes, new]), np.concatenate([known, *drawn])
    order = np.argsort(codes)
    if keep and len(new):
        _keep(keep, codes[order], known[order])
    return known[order[np.searchsorted(codes[order], wanted)]]


def _cache_file(file: FontFile) -> Path | None:
    """Named by the font's bytes and by all that draws a glyph; None: a user's font is not kept."""
    if file.path.parent != ASSETS:
        return None
    digest = hashlib.sha256(_code_version() + file.path.read_bytes()).hexdigest()[:20]
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "inkfill" / f"{file.name}.{digest}.npz"


@cache
def _code_version() -> bytes:
    sources = b"".join(
        Path(name).read_bytes() for name in (__file__, raster.__file__, glyphs.__file__)
    )
    return hashlib.sha256(sources + repr(freetype.version()).encode()).digest()


def _cached(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """[m] int32 code points, [m, D] float16; empty where there is no cache, or a damaged one."""
    size = DIRECTIONS * GRID**2
    try:
        if path:
            # opened here: numpy leaves a damaged file open
            with path.open("rb") as f, np.load(f, allow_pickle=False) as kept:
                codes, known = kept["codes"], kept["known"]
            if known.shape == (len(codes), size) and known.dtype == np.float16:
                return codes, known
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return np.zeros(0, np.int32), np.zeros((0, size), np.float16)


def _keep(path: Path, codes: np.ndarray, known: np.ndarray) -> None:
    """Writes the cache beside its name, then renames; without a word where the folder refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, part = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        try:
            with os.fdopen(number, "wb") as f:
                np.savez(f, codes=codes, known=known)
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
        stem = path.name.split(".")[0]
        for old in path.parent.glob(f"{stem}.*.npz"):  # of another font file or version
            if old != path:
                old.unlink(missing_ok=True)
    except OSError:
        pass


def strokes(images: np.ndarray) -> np.ndarray:
    """[n, SIZE_PX, SIZE_PX] uint8 -> [n, DIRECTIONS * GRID ** 2] float32 unit vectors.

    Gradient direction features (Liu, Nakashima, Sako and Fujisawa 2003, "Handwritten digit
    recognition: benchmarking of state-of-the-art techniques"): each pixel's gradient is shared out
    to the two nearest directions, each direction is blurred and sampled on a grid, and the root
    evens out thin and bold. Central differences in place of Sobel's.
    """
    ink = images.astype(np.float32) / 255
    dx, dy = np.zeros_like(ink), np.zeros_like(ink)
    dx[:, :, 1:-1] = ink[:, :, 2:] - ink[:, :, :-2]
    dy[:, 1:-1] = ink[:, 2:] - ink[:, :-2]
    steps, centres = np.arange(SIZE_PX), (np.arange(GRID) + 0.5) * SIZE_PX / GRID - 0.5
    sigma = GRID_BLUR * SIZE_PX / GRID
    pool = np.exp(-((steps[:, None] - centres) ** 2) / (2 * sigma**2)).astype(np.float32)
    n = len(images)
    planes = np.zeros((n, DIRECTIONS, SIZE_PX**2), np.float32)
    # only pixels at an edge have a direction: one in three
    which, at = np.nonzero((np.abs(dx) + np.abs(dy)).reshape(n, -1) > 0)
    x, y = dx.reshape(n, -1)[which, at], dy.reshape(n, -1)[which, at]
    length = np.hypot(x, y)
    angle = np.arctan2(y, x) * np.float32(DIRECTIONS / (2 * np.pi))
    low = np.floor(angle)
    share = angle - low
    low = low.astype(np.int64)
    planes[which, low % DIRECTIONS, at] = length * (1 - share)
    planes[which, (low + 1) % DIRECTIONS, at] = length * share
    planes = planes.reshape(n, DIRECTIONS, SIZE_PX, SIZE_PX)
    return unit(np.sqrt(pool.T @ planes @ pool).reshape(n, -1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """[..., D] -> [..., D] of length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
