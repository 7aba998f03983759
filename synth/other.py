"""What is not in the alphabet: characters like one inside, common ones, and non-characters.

Each image carries its kind, so that a user can weigh and a report can tell them apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from synth import chance
from synth.alphabet import Alphabet
from synth.canvas import INK_FULL, Canvas, place
from synth.fonts import script_of
from synth.likeness import LIKENESS_DECIMALS, Atlas
from synth.variants import variants_of

CHARACTER_KINDS = ("confusable", "variant", "common", "script", "digit", "radical", "listed")
# of every row that shows one whole character, whether drawn as another one or collected
ONE_CHARACTER_KINDS = frozenset({"character", *CHARACTER_KINDS})
NON_CHARACTER_KINDS = ("blank", "cut", "two", "crossed", "scribble", "turned", "mirrored")
# Drawn with a second character; a cut one where nothing of the first is left.
OF_TWO = ("two", "cut")
# Shares of the images, not of the characters; "listed" is a user's list in place of the others.
KIND_SHARE = {
    "confusable": 0.49,
    "variant": 0.02,
    "common": 0.31,
    "script": 0.04,
    "digit": 0.01,
    "radical": 0.01,
    "listed": 0.88,
}
NON_CHARACTER_SHARE = 0.12
# Images of one other character, at most so many times what they have on average: a kind with a
# handful of characters (an alphabet that leaves few letters of its script) gives the rest away.
MOST_EACH = 10
# Kinds that may read as a known character by chance, and what is drawn instead: a mirrored 中 is
# still 中, a mirrored b is d, half of 二 is 二, 木 beside 木 is 林, an O can be scribbled.
INSTEAD = {
    "cut": "two",
    "turned": "two",
    "mirrored": "two",
    "two": "scribble",
    "crossed": "scribble",
    "scribble": "blank",
}
DIGITS = frozenset("0123456789")
# Scripts of one way of writing: who knows the one meets the other. Names as `script_of` gives them.
_WRITTEN_TOGETHER = {"HIRAGANA": "KATAKANA", "KATAKANA": "HIRAGANA"}
# Radicals as a hand writes them alone. Unicode's radical blocks have code points of their own for
# them, which are never drawn: all that stand for an ideograph (⽊ for 木) look exactly like it. So
# these are those ideographs, and the forms that a radical takes beside another part.
_BLOCKS = (*range(0x2E80, 0x2EF4), *range(0x2F00, 0x2FD6))
_PARTS = "亻刂冫卩忄扌攵氵灬爫犭礻糹纟罒艹衤訁讠辶釒钅阝飠饣"
RADICALS = frozenset(
    {plain for c in map(chr, _BLOCKS) if (plain := unicodedata.normalize("NFKC", c)) != c}
) | frozenset(_PARTS)
_STREAM = {"common": 31, "script": 32, "variant": 34, "digit": 35, "radical": 36}
_PICTURE = 33
_FINER = 4  # strokes are drawn so many times finer than the canvas


def candidates(chars: Sequence[str]) -> list[str]:
    """Of all characters that fonts have, those that somebody might write: letters and digits, but
    none that is another one in full or half width, and so the same picture."""
    return [
        c
        for c in chars
        if unicodedata.category(c)[0] in "LN"
        and unicodedata.category(c) != "Lm"
        and not unicodedata.decomposition(c).startswith(("<wide>", "<narrow>"))
    ]


def outside(alphabet: Alphabet, chars: Iterable[str]) -> list[str]:
    """Those of `chars` that are not in the alphabet, nor a form of one in it: a Kangxi radical is
    its ideograph, a full-width digit its digit."""
    known = {unicodedata.normalize("NFKC", c) for c in alphabet.chars}
    return [c for c in chars if unicodedata.normalize("NFKC", c) not in known]


def choose(atlas: Atlas, alphabet: Alphabet, count: int, seed: int) -> dict[str, str]:
    """`count` characters outside the alphabet -> their kind.

    Confusable: in turn for each known character the one most like it that is not yet taken. Of the
    rest, at random, the most usual first: variants of known characters (see `synth.variants`),
    digits, radicals, those of other scripts, and common ones of the alphabet's own scripts and of
    those written together with them (Katakana with Hiragana, Latin letters with nothing but
    digits), which also make up for what the other kinds lack. A character whose picture is that of
    a known one (Latin O for Greek Omicron) is never taken.
    """
    known = [i for i, c in enumerate(atlas.chars) if c in alphabet]
    allowed = set(candidates(outside(alphabet, atlas.chars)))
    others = np.array([i for i, c in enumerate(atlas.chars) if c in allowed], int)
    if not known or not len(others):
        return {}
    likeness = np.round(atlas.mean[known] @ atlas.mean[others].T, LIKENESS_DECIMALS)
    order = np.argsort(-likeness, axis=1, kind="stable")
    # whatever is nearly one picture with a known character is out for every kind
    row, place = np.nonzero(np.take_along_axis(likeness, order[:, :32], 1) > 0.85)
    at = order[row, place]
    a, b = np.array(known)[row], others[at]
    script = np.array([script_of(c) for c in atlas.chars])
    folded = np.array([c.casefold() for c in atlas.chars])
    # within a script a twin is an equal glyph: most pairs need no second look
    look = (likeness[row, at] > 0.95) | (script[a] != script[b]) | (folded[a] == folded[b])
    a, b = a[look], b[look]
    twins = set(b[atlas.same_picture(a, b)].tolist())
    kinds: dict[str, str] = {}
    wanted = {k: round(count * s / (1 - NON_CHARACTER_SHARE)) for k, s in KIND_SHARE.items()}
    rank = 0
    # before the variants: a near twin is never held out from training, a variant may be
    while len(kinds) < wanted["confusable"] and rank < len(others):
        for row in range(len(known)):
            at = int(others[order[row, rank]])
            if at not in twins and len(kinds) < wanted["confusable"]:
                kinds.setdefault(atlas.chars[at], "confusable")
        rank += 1
    scripts = {script_of(c) for c in alphabet.chars}
    scripts |= {_WRITTEN_TOGETHER[name] for name in scripts & _WRITTEN_TOGETHER.keys()}
    if scripts == {"DIGIT"}:  # which leave nothing of their own
        scripts.add("LATIN")
    variants = variants_of(alphabet.chars, allowed)
    rules: dict[str, Callable[[str], bool]] = {
        "variant": variants.__contains__,
        "digit": DIGITS.__contains__,
        "radical": RADICALS.__contains__,
        "script": lambda c: script_of(c) not in scripts,
        "common": lambda c: script_of(c) in scripts,
    }
    for kind, belongs in rules.items():
        pool = [i for i in others.tolist() if i not in twins and atlas.chars[i] not in kinds]
        pool = [i for i in pool if belongs(atlas.chars[i])]
        # what most fonts have is what people write
        weight = np.array([atlas.has[:, i].sum() for i in pool], float) ** 2
        keys = chance.uniform(seed, _STREAM[kind], np.array(pool, int), 1)[:, 0] ** (
            1 / np.maximum(weight, 1)
        )
        most = wanted[kind] if kind != "common" else max(0, count - len(kinds))
        for j in np.argsort(-keys, kind="stable")[:most]:
            kinds[atlas.chars[pool[j]]] = kind
    return kinds


def kind_shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Chosen characters of each kind -> the kind's part of their images, of any sum.

    KIND_SHARE, but for a kind whose characters would have more than MOST_EACH times the average.
    """
    shares = {kind: KIND_SHARE[kind] for kind in counts}
    most = {kind: MOST_EACH * n / sum(counts.values()) for kind, n in counts.items()}
    full: set[str] = set()
    while True:
        # full kinds have what they may; the others share what is left of 1
        rest = sum(share for kind, share in shares.items() if kind not in full)
        left = 1 - sum(most[kind] for kind in full)
        over = {k for k, share in shares.items() if k not in full and share / rest * left > most[k]}
        if not over:
            break
        full |= over
    if not full:
        return shares
    return {k: most[k] if k in full else share / rest * left for k, share in shares.items()}


def non_characters(
    images: np.ndarray,  # [n, H, W] uint8: a written character for each
    partners: np.ndarray,  # [n, H, W] uint8: another, for those `OF_TWO`
    kinds: Sequence[str],  # [n] of NON_CHARACTER_KINDS
    fields: np.ndarray,  # [n] int64: the records' field numbers, which seed what is drawn
    canvas: Canvas,
) -> np.ndarray:
    """-> [n, H, W] uint8. Pure."""
    u = chance.uniform(0, _PICTURE, fields, 40)
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
    """Struck out by slanting strokes that run beyond the writing: a cross, a hatch or a zigzag.

    Never one stroke nor a level one, which could be the character's own: 一 would be 二.
    """
    page = np.pad(image, canvas.size_px // 4)
    struck = np.maximum(page, _pen(_strokes_across(u), 1.2 + 2 * u[3], canvas, len(page)))
    return place(struck, canvas)


def _strokes_across(u: np.ndarray) -> list[np.ndarray]:
    """[40] -> lines [k, 2], x right and y down, in units of the box and from its middle."""
    over = 0.56 + 0.12 * u[4:8]  # half of the box is 0.5
    wobble = 0.08 * (u[10:40] - 0.5)
    mirror = np.array([1.0 if u[2] < 0.5 else -1.0, 1.0])
    shape = int(u[0] * 3)
    if shape == 0:
        rising, falling = over[0] * (0.75 + 0.25 * u[1]), over[1] * (0.75 + 0.25 * u[9])
        lines = [
            np.array([(-over[2], rising), (over[3], -rising)]),
            np.array([(-over[3], -falling), (over[2], falling)]),
        ]
    elif shape == 1:
        count = 3 + int(u[1] * 3)
        reach = over[0] * (0.35 + 0.4 * u[9])
        lines = [
            np.array([(-over[2], y + reach), (over[3], y - reach)])
            for y in np.linspace(-0.4, 0.4, count)
        ]
    else:
        count = 6 + int(u[1] * 4)
        x = np.linspace(-over[2], over[3], count)
        lines = [np.stack([x, np.where(np.arange(count) % 2, 1, -1) * over[0] * 0.8], 1)]
    start = 0
    for line in lines:
        line += wobble[start : start + 2 * len(line)].reshape(-1, 2)
        start += 2 * len(line)
    return [line * mirror for line in lines]


def _pen(lines: list[np.ndarray], width_px: float, canvas: Canvas, page_px: int) -> np.ndarray:
    """Lines [k, 2] in units of the box and from the page's middle -> [page, page] uint8."""
    picture = Image.new("L", (page_px * _FINER, page_px * _FINER))
    pen = ImageDraw.Draw(picture)
    for line in lines:
        points = (line * canvas.box_px + page_px / 2) * _FINER
        pen.line(
            [(x, y) for x, y in points.tolist()],
            fill=INK_FULL,
            width=round(width_px * _FINER),
            joint="curve",
        )
    return np.asarray(picture.resize((page_px, page_px), Image.Resampling.BOX))


def _scribble(image: np.ndarray, partner: np.ndarray, u: np.ndarray, canvas: Canvas) -> np.ndarray:
    """A smooth random line."""
    t = np.linspace(0, 1, 80)
    xy = []
    for axis in range(2):
        value = (u[axis] - 0.5) * 2 * t if axis == 0 else 0 * t
        for k in range(1, 6):
            amplitude = u[4 + 10 * axis + k] / k**0.5
            value = value + amplitude * np.sin(
                2 * np.pi * (k * t * (0.5 + u[25 + k]) + u[30 + axis * 4 + k % 4])
            )
        xy.append((value - value.min()) / max(np.ptp(value), 1e-6) - 0.5)
    return _pen([np.stack(xy, 1)], 2 + 2 * u[3], canvas, canvas.size_px)


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
