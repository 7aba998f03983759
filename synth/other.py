"""What is not in the alphabet: characters like one inside, common ones, and non-characters.

Each image carries its kind, so that a user can weigh and a report can tell them apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from synth import chance
from synth.alphabet import Alphabet
from synth.canvas import Canvas, place
from synth.fonts import script_of
from synth.likeness import LIKENESS_DECIMALS, Atlas

CHARACTER_KINDS = ("confusable", "common", "script", "listed")
# of every row that shows one whole character, whether drawn as another one or collected
ONE_CHARACTER_KINDS = frozenset({"character", *CHARACTER_KINDS})
NON_CHARACTER_KINDS = ("blank", "cut", "two", "crossed", "scribble", "turned", "mirrored")
# Shares of the images, not of the characters; "listed" is a user's list in place of the others.
KIND_SHARE = {"confusable": 0.50, "common": 0.34, "script": 0.04, "listed": 0.88}
NON_CHARACTER_SHARE = 0.12
# Kinds that may read as a known character by chance, and what is drawn instead: a mirrored 中 is
# still 中, a mirrored b is d, half of 二 is 二, 木 beside 木 is 林. Tried in this order.
INSTEAD = {"cut": "two", "turned": "two", "mirrored": "two", "two": "scribble"}
_COMMON, _SCRIPT, _PICTURE = 31, 32, 33


def candidates(chars: Sequence[str]) -> list[str]:
    """Of all characters that fonts have, those that somebody might write: letters and digits."""
    return [
        c for c in chars if unicodedata.category(c)[0] in "LN" and unicodedata.category(c) != "Lm"
    ]


def choose(atlas: Atlas, alphabet: Alphabet, count: int, seed: int) -> dict[str, str]:
    """`count` characters outside the alphabet -> their kind.

    Confusable: in turn for each known character the one most like it that is not yet taken. Common:
    drawn at random from the alphabet's own scripts. Script: from all others. A character whose
    picture is that of a known one (Latin O for Greek Omicron) is never taken.
    """
    known = [i for i, c in enumerate(atlas.chars) if c in alphabet]
    allowed = set(candidates(atlas.chars))
    outside = np.array(
        [i for i, c in enumerate(atlas.chars) if c not in alphabet and c in allowed], int
    )
    if not known or not len(outside):
        return {}
    likeness = np.round(atlas.mean[known] @ atlas.mean[outside].T, LIKENESS_DECIMALS)
    order = np.argsort(-likeness, axis=1, kind="stable")
    # whatever is nearly one picture with a known character is out for every kind
    row, place = np.nonzero(np.take_along_axis(likeness, order[:, :32], 1) > 0.85)
    at = order[row, place]
    a, b = np.array(known)[row], outside[at]
    script = np.array([script_of(c) for c in atlas.chars])
    folded = np.array([c.casefold() for c in atlas.chars])
    # within a script a twin is an equal glyph: most pairs need no second look
    look = (likeness[row, at] > 0.95) | (script[a] != script[b]) | (folded[a] == folded[b])
    a, b = a[look], b[look]
    twins = set(b[atlas.same_picture(a, b)].tolist())
    kinds: dict[str, str] = {}
    wanted = {k: round(count * s / (1 - NON_CHARACTER_SHARE)) for k, s in KIND_SHARE.items()}
    rank = 0
    while len(kinds) < wanted["confusable"] and rank < len(outside):
        for row in range(len(known)):
            at = int(outside[order[row, rank]])
            if at not in twins and len(kinds) < wanted["confusable"]:
                kinds.setdefault(atlas.chars[at], "confusable")
        rank += 1
    scripts = {script_of(c) for c in alphabet.chars}
    for kind, stream, inside in (("common", _COMMON, True), ("script", _SCRIPT, False)):
        pool = [i for i in outside.tolist() if i not in twins and atlas.chars[i] not in kinds]
        pool = [i for i in pool if (script_of(atlas.chars[i]) in scripts) == inside]
        # what most fonts have is what people write
        weight = np.array([atlas.has[:, i].sum() for i in pool], float) ** 2
        keys = chance.uniform(seed, stream, np.array(pool, int), 1)[:, 0] ** (
            1 / np.maximum(weight, 1)
        )
        for j in np.argsort(-keys, kind="stable")[: wanted[kind]]:
            kinds[atlas.chars[pool[j]]] = kind
    return kinds


def non_characters(
    images: np.ndarray,  # [n, H, W] uint8: a written character for each
    partners: np.ndarray,  # [n, H, W] uint8: another, for "two"
    kinds: Sequence[str],  # [n] of NON_CHARACTER_KINDS
    numbers: np.ndarray,  # [n] int64: the samples' numbers, which seed what is drawn
    seed: int,
    canvas: Canvas,
) -> np.ndarray:
    """-> [n, H, W] uint8. Pure."""
    u = chance.uniform(seed, _PICTURE, numbers, 40)
    out = np.empty_like(images)
    for i, kind in enumerate(kinds):
        out[i] = _DRAWERS[kind](images[i], partners[i], u[i], canvas)
    return out


def _blank(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Nothing, or the specks that dirt leaves."""
    out = np.zeros_like(image)
    for k in range(int(u[0] * 4)):
        y, x = (int(v * (canvas.size_px - 3)) for v in u[1 + 2 * k : 3 + 2 * k])
        out[y : y + 1 + int(u[20 + k] * 3), x : x + 1 + int(u[30 + k] * 3)] = 255
    return out


def _cut(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """40 to 60 % of the character's box is outside the image."""
    keep = canvas.margin_px + int(canvas.box_px * (0.40 + 0.2 * u[1]))
    turns = int(u[0] * 4)
    part = place(np.ascontiguousarray(np.rot90(np.rot90(image, turns)[:keep], -turns)), canvas)
    return part if part.any() else _two(image, partner, u, canvas)  # half of 一 may be nothing


def _two(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Two in one box, side by side or one above the other."""
    pair = [image, partner] if u[0] < 0.5 else [image.T, partner.T]
    margin = canvas.margin_px
    joined = np.hstack([pair[0][:, : canvas.size_px - margin], pair[1][:, margin:]])
    return place(np.ascontiguousarray(joined if u[0] < 0.5 else joined.T), canvas)


def _crossed(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Struck through by 1 to 4 strokes, or hatched over."""
    size = canvas.size_px
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    lean = (u[1] - 0.5) * size
    for k in range(1 + int(u[0] * 4)):
        y = size * (0.2 + 0.6 * u[2 + k])
        pen.line(
            [(2, y + lean / 2), (size - 2, y - lean / 2)], fill=255, width=1 + int(u[8 + k] * 3)
        )
    return np.asarray(picture)


def _scribble(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """A smooth random line."""
    size = canvas.size_px
    t = np.linspace(0, 1, 80)
    xy = []
    for axis in range(2):
        value = (u[axis] - 0.5) * 2 * t if axis == 0 else 0 * t
        for k in range(1, 6):
            amplitude = u[4 + 10 * axis + k] / k**0.5
            value = value + amplitude * np.sin(
                2 * np.pi * (k * t * (0.5 + u[25 + k]) + u[30 + axis * 4 + k % 4])
            )
        value = (value - value.min()) / max(np.ptp(value), 1e-6)
        xy.append(canvas.margin_px + value * canvas.box_px)
    picture = Image.new("L", (size, size))
    ImageDraw.Draw(picture).line(
        list(zip(*xy, strict=True)), fill=255, width=2 + int(u[3] * 2), joint="curve"
    )
    return np.asarray(picture)


def _turned(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    return np.rot90(image, 1 + int(u[0] * 3))


def _mirrored(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    return image[:, ::-1]


_DRAWERS = {
    "blank": _blank,
    "cut": _cut,
    "two": _two,
    "crossed": _crossed,
    "scribble": _scribble,
    "turned": _turned,
    "mirrored": _mirrored,
}
