"""What will be rendered: which character in which font and hand stands at each place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from synth import chance, handwriting, other
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.fonts import Coverage, FontFile, open_font
from synth.likeness import features_of, reads_as
from synth.quota import Quota
from synth.raster import plain_pictures
from synth.style import Draw, Style

CHUNK = 256  # samples handed over at once
WRITERS = 500  # hands, unless the plan says another number
# Of the other characters: their images are for validation only. None of the nearer half of the
# confusable ones is: nothing teaches a near twin of a known character but its own images.
HELD_OUT_SHARE = 0.12
# Non-characters that may read as a known one by chance, in the order in which they are replaced.
_TESTED = (("cut", "turned", "mirrored"), ("two", "crossed"), ("scribble",))
_FONT, _WRITER, _KIND, _PARTNER, _HELD_OUT = 41, 42, 43, 44, 45


@dataclass(frozen=True)
class Plan:
    """What stands at each place: one row a sample."""

    fonts: tuple[FontFile, ...]
    chars: tuple[str, ...]  # characters that occur
    style: Style
    canvas: Canvas
    seed: int
    char: np.ndarray  # [N] int64 into chars
    partner: np.ndarray  # [N] int64 into chars: the second of "two", a neighbour in a scan
    font: np.ndarray  # [N] int64 into fonts
    kind: np.ndarray  # [N] object
    label: np.ndarray  # [N] object
    split: np.ndarray  # [N] object
    writers: int = WRITERS  # hands that share the places
    usable: np.ndarray | None = None  # [F, C] bool: fonts whose glyph shows it; None: all do

    def __len__(self) -> int:
        return len(self.char)

    @property
    def whole(self) -> np.ndarray:
        """[N] bool: places that show one whole character."""
        return ~np.isin(self.kind.astype(str), other.NON_CHARACTER_KINDS)

    def glyph(self, place: int) -> tuple[FontFile, str]:
        return self.fonts[self.font[place]], self.chars[self.char[place]]

    def second_glyph(self, place: int) -> tuple[FontFile, str]:
        """Of the partner: in the place's own font, or another where that one lacks it."""
        char, font = int(self.partner[place]), int(self.font[place])
        return self.fonts[self.font_with(char, font)], self.chars[char]

    def font_with(self, char: int, font: int) -> int:
        """The font itself where its glyph shows the character, else one that the font picks."""
        if self.usable is None or self.usable[font, char]:
            return font
        able = np.flatnonzero(self.usable[:, char])
        return int(able[font % len(able)])

    def draws(self, at: np.ndarray) -> list[Draw]:
        """The records of [n] places, each in the hand of the writer that its number picks."""
        writer = chance.bits(self.seed, _WRITER, at, 1)[:, 0] % np.uint64(self.writers)
        found = handwriting.draw(self.style, self.seed, at, writer)
        for i, (place, draw) in enumerate(zip(at.tolist(), found, strict=True)):
            if self.kind[place] in other.OF_TWO or draw.clutter >= 0.5:
                font, char = self.second_glyph(place)
                found[i] = replace(draw, beside=f"{font.name}:{char}")
        return found


def make_plan(
    alphabet: Alphabet,
    coverages: Sequence[Coverage],  # of the alphabet's and the other characters
    others: dict[str, str],  # other character -> kind
    quota: Quota,
    style: Style,
    canvas: Canvas,
    seed: int,
    writers: int = WRITERS,
) -> Plan:
    """Deals fonts out evenly to each character's images, and the other images to their kinds."""
    usable = [c.usable for c in coverages]
    rows = [(c, n, "character", c, "train") for c, n in quota.lacking.items() if n]
    extra = [c for c in others if any(c in u for u in usable)]
    n_non = round(quota.other * other.NON_CHARACTER_SHARE) if extra else quota.other
    held_out = _held_out(extra, others, seed)
    counts = Counter(others[c] for c in extra)
    there = [k for k in other.CHARACTER_KINDS if k in counts]
    part = other.kind_shares(counts)
    shares = np.cumsum([part[k] for k in there])
    ends = np.rint((quota.other - n_non) * shares / shares[-1:]).astype(int)
    for kind, total in zip(there, np.diff(ends, prepend=0).tolist(), strict=True):
        of_kind = [c for c in extra if others[c] == kind]
        for j, char in enumerate(of_kind):
            count = total // len(of_kind) + (j < total % len(of_kind))
            if count:
                rows.append((char, count, kind, OTHER, "val" if char in held_out else "train"))
    chars = tuple(dict.fromkeys(row[0] for row in rows))
    number = {c: i for i, c in enumerate(chars)}
    fonts_of = [[f for f, u in enumerate(usable) if c in u] for c in chars]

    n_each = [row[1] for row in rows]
    char = np.repeat(np.array([number[row[0]] for row in rows], int), n_each)
    kind = np.repeat(np.array([row[2] for row in rows], object), n_each)
    label = np.repeat(np.array([row[3] for row in rows], object), n_each)
    split = np.repeat(np.array([row[4] for row in rows], object), n_each)
    nth = np.concatenate([np.zeros(0, int), *(np.arange(n) for n in n_each)])
    # non-characters are made from any picture, but no training image from a held-out character's
    sources = np.array([number[row[0]] for row in rows if row[4] == "train"] or range(len(chars)))
    if n_non and len(chars):
        u = chance.uniform(seed, _KIND, np.arange(n_non), 3)
        of = sources[(u[:, 0] * len(sources)).astype(int)]
        kinds = np.array(other.NON_CHARACTER_KINDS, object)[
            np.arange(n_non) % len(other.NON_CHARACTER_KINDS)
        ]
        char = np.concatenate([char, of])
        kind = np.concatenate([kind, kinds])
        label = np.concatenate([label, np.full(n_non, OTHER, object)])
        split = np.concatenate(
            [split, np.where(u[:, 1] < HELD_OUT_SHARE, "val", "train").astype(object)]
        )
        nth = np.concatenate([nth, (u[:, 2] * 1000).astype(int)])
    if not len(char) and quota.other:
        raise InputError(
            f"nothing to render: no character to make the {quota.other} images of other from; ask "
            "for known ones (--per-class) or other ones (--other-chars)"
        )
    if not len(char):
        raise InputError("nothing to render: every class already has its images (see --per-class)")
    n_fonts = np.array([len(f) for f in fonts_of])
    first = (chance.uniform(seed, _FONT, np.arange(len(chars)), 1)[:, 0] * n_fonts).astype(int)
    table = np.array([f + [0] * (len(usable) - len(f)) for f in fonts_of])
    font = table[char, (first[char] + nth) % n_fonts[char]]
    u = chance.uniform(seed, _PARTNER, np.arange(len(char)), 1)[:, 0]
    partner = sources[(u * len(sources)).astype(int)]
    fonts = tuple(c.font for c in coverages)
    shows = np.array([[c in u for c in chars] for u in usable], bool).reshape(len(usable), -1)
    rows = (char, partner, font, kind, label, split)
    plan = Plan(fonts, chars, style, canvas, seed, *rows, writers, shows)
    known: dict[int, np.ndarray] = {}  # font -> features of its known characters
    for kinds in _TESTED:
        at = np.flatnonzero(np.isin(plan.kind.astype(str), kinds))
        for f in set(plan.font[at].tolist()) - known.keys():
            chars = [c for c in alphabet.chars if c in usable[f]]
            known[f] = features_of(fonts[f], chars)
        for i in range(0, len(at), CHUNK):
            _avoid_known(plan, at[i : i + CHUNK], known)
    return plan


def _held_out(chars: Sequence[str], kinds: dict[str, str], seed: int) -> set[str]:
    """Those of the other characters that validation shows, and training never."""
    confusable = [c for c in chars if kinds[c] == "confusable"]  # nearest first
    spared = set(confusable[: len(confusable) // 2])
    may = [c for c in chars if c not in spared]
    u = chance.uniform(seed, _HELD_OUT, np.array([ord(c) for c in may], int), 1)[:, 0]
    return {c for c, x in zip(may, u, strict=True) if x < HELD_OUT_SHARE}


def _avoid_known(plan: Plan, at: np.ndarray, known: dict[int, np.ndarray]) -> None:
    """Changes the kind of the non-characters `at` [n] that would read as a known character."""

    def plain(names: Sequence[tuple[FontFile, str]]) -> np.ndarray:
        glyphs = [raw for font, char in names if (raw := open_font(font).raw(char)) is not None]
        assert len(glyphs) == len(names)  # the plan gives a character to fonts that have it
        return plain_pictures(glyphs, plan.canvas.size_px, plan.canvas.margin_px)

    images = other.non_characters(
        plain([plan.glyph(i) for i in at.tolist()]),
        plain([plan.second_glyph(i) for i in at.tolist()]),
        plan.kind[at].tolist(),
        np.array([d.field for d in plan.draws(at)]),
        plan.canvas,
    )
    for f in np.unique(plan.font[at]).tolist():
        of_font = np.flatnonzero(plan.font[at] == f)
        if len(known[f]):
            read = at[of_font[reads_as(images[of_font], known[f])]]
            plan.kind[read] = [other.INSTEAD[k] for k in plan.kind[read]]
