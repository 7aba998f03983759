"""The vote of the fonts: a glyph that shows another character than the others say.

Three tests. Among all characters: a glyph that looks more like another character than like its own.
Between near twins (未 and 末), whose likeness hides the one stroke that counts: which side of the
line between the two a glyph stands on, measured along that line alone. Between two forms of one
character (為 and 爲), which many fonts agree to exchange: the same, where the fonts fall into two
heaps and two thirds of them are in the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from synth.fonts import Coverage, script_of
from synth.likeness import GROUP, Atlas, build_atlas, unit

# The vote. A font's margins (how much more a glyph looks like another character than like its own)
# have their own level and spread: a running hand is hard to read throughout. A glyph goes when its
# margin stands out of its font's by this many standard deviations. LEAST_MARGIN it must be, so that
# a font much like the others is not picked to pieces; MOST_MARGIN is always enough, so that a font
# half of whose glyphs are wrong does not set its own standard.
OUTVOTED_BY, LEAST_MARGIN, MOST_MARGIN = 4.0, 0.15, 0.60
VOTERS = 3  # fewer other fonts make no consensus
AXES = 160  # of the features' 512: with all of them the vote is no better
MARGINS = 300  # glyphs that show how far a font's margins spread
# Near twins. A glyph's place on the line from its own character (-0.5) to the twin (+0.5), as the
# other fonts draw both. The line counts where nearly all other fonts stand on their own sides.
TWINS = 8  # characters most like it that each is tested against
TWIN_BY, LEAST_TWIN = 4.0, 0.25  # standard deviations of the font's own places, and at least
AGREE = 0.85  # of the other fonts' glyphs on each side
# Two forms of one character. A glyph's place on the line from its form (-0.5) to the other (0.5),
# as the fonts draw that have both. It goes where it is beyond FORM_LEAST, and further from its own
# form than usual in its font by FORM_BY standard deviations. Most of the others must draw their own
# form, hardly one leave open which it draws: else the line shows a style of writing (貝 is nearer
# to 贝 in Kai than in Song). A font that draws the other form further on by FORM_APART draws two.
FORM_BY, FORM_LEAST, FORM_APART = 3.0, 0.2, 0.25
FORM_AGREE = 2 / 3  # of the other fonts
FORM_OPEN = 0.1  # of the other fonts; one always may
DRAWN_AS = "drawn as "  # the reason that the vote gives: the other character follows


def outvoted(
    coverages: Sequence[Coverage],
    atlas: Atlas | None = None,
    chars: Iterable[str] | None = None,  # to judge; None: all
    forms: Iterable[tuple[str, str]] = (),  # known to be two forms of one character
) -> list[Coverage]:
    """Takes out glyphs that the other fonts say are another character (為 drawn as 爲).

    A glyph's margin is its likeness to the other character most like it, less that to its own, both
    as the other fonts draw them. Each font's own style is taken out first: the mean of its glyphs
    of one script.
    """
    if atlas is None:
        atlas = build_atlas(coverages, sorted({c for f in coverages for c in f.usable}))
    scripts = np.array([script_of(c) for c in atlas.chars])
    judged = np.isin(atlas.chars, list(atlas.chars if chars is None else chars))
    axes = _main_axes(atlas.mean)
    shapes = [_without_style(atlas, f, scripts, axes) for f in range(len(coverages))]
    total = np.sum(shapes, 0)
    voters = np.sum([s.any(1) for s in shapes], 0)
    twins = _twins(shapes, atlas.mean)
    number = {c: i for i, c in enumerate(atlas.chars)}
    pairs = [(number[a], number[b]) for a, b in forms if a in number and b in number]
    others = _other_forms(shapes, np.array(pairs, int).reshape(-1, 2))
    result = []
    for coverage, shape, near, form in zip(coverages, shapes, twins, others, strict=True):
        # without this font, whose own habits would make its glyphs resemble each other
        mean = unit(total - shape)
        there = shape.any(1) & (voters > VOTERS)
        at = np.flatnonzero(there & judged)
        rest = np.flatnonzero(there & ~judged)  # some more, to know what is usual in this font
        at = np.concatenate([at, rest[:: max(1, len(rest) // MARGINS)]]) if len(at) else at
        margin, nearest = np.zeros(len(at), np.float32), np.zeros(len(at), int)
        for i in range(0, len(at), 1024):
            block = at[i : i + 1024]
            likeness = shape[block] @ mean.T
            rows = np.arange(len(block))
            own = likeness[rows, block].copy()
            likeness[rows, block] = -1
            nearest[i : i + 1024] = likeness.argmax(1)
            margin[i : i + 1024] = likeness.max(1) - own
        rejected = dict(coverage.rejected)
        for script in np.unique(scripts[at]):
            of_script = np.flatnonzero(scripts[at] == script)
            usual = np.median(margin[of_script])
            spread = 1.4826 * np.median(
                np.abs(margin[of_script] - usual)
            )  # of a normal's deviation
            bound = np.clip(usual + OUTVOTED_BY * spread, LEAST_MARGIN, MOST_MARGIN)
            for i in of_script[(margin[of_script] > bound) & judged[at[of_script]]]:
                rejected[atlas.chars[at[i]]] = f"{DRAWN_AS}{atlas.chars[nearest[i]]}"
        for i, twin in (*near.items(), *form.items()):
            if judged[i]:
                rejected.setdefault(atlas.chars[i], f"{DRAWN_AS}{atlas.chars[twin]}")
        usable = coverage.usable - rejected.keys()
        result.append(replace(coverage, usable=usable, rejected=rejected))
    return result


def shown_instead(why: str) -> str:
    """The character that a glyph shows, from the vote's reason; "" for any other reason."""
    return why.removeprefix(DRAWN_AS) if why.startswith(DRAWN_AS) else ""


def _main_axes(vectors: np.ndarray) -> np.ndarray:
    """[n, D] -> [D, AXES]: the orthonormal axes along which they differ most; the rest is noise."""
    return np.linalg.eigh(vectors.T @ vectors)[1][:, -AXES:]


def _without_style(atlas: Atlas, font: int, scripts: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """[n, AXES] float32 unit vectors: one font's features less their mean by script, or zero."""
    out = atlas.features[font].astype(np.float32) @ axes
    for script in np.unique(scripts[atlas.has[font]]):
        at = np.flatnonzero(atlas.has[font] & (scripts == script))
        out[at] = unit(out[at] - out[at].mean(0)) if len(at) >= GROUP else 0
    return out


def _twins(
    shapes: Sequence[np.ndarray],  # of each font: [n, AXES], zero where it lacks a character
    mean: np.ndarray,  # [n, D] unit vectors: each character over all fonts
) -> list[dict[int, int]]:
    """For each font: glyphs that stand on the side of a near twin -> that twin."""
    near = _nearest(mean, min(TWINS, len(mean) - 1))
    own, twin = np.repeat(np.arange(len(mean)), near.shape[1]), near.ravel()
    total, has = np.sum(shapes, 0), np.array([s.any(1) for s in shapes])
    # NaN where a font lacks the glyph, or the others cannot say where the two characters stand
    place = np.full((2, len(shapes), len(own)), np.nan, np.float32)
    for f, shape in enumerate(shapes):
        voters = has.sum(0) - has[f]
        mean_f = (total - shape) / np.maximum(voters, 1)[:, None]
        for i in range(0, len(own), 8192):
            a, b = own[i : i + 8192], twin[i : i + 8192]
            line = mean_f[b] - mean_f[a]
            square = np.maximum((line**2).sum(1), 1e-6)
            middle = (mean_f[a] + mean_f[b]) / 2
            judge = (voters[a] >= VOTERS) & (voters[b] >= VOTERS)
            for side, which in enumerate((a, b)):
                at = ((shape[which] - middle) * line).sum(1) / square
                place[side, f, i : i + 8192] = np.where(judge & has[f, which], at, np.nan)
    right = np.stack([place[0] < 0, place[1] > 0])
    shown = ~np.isnan(place)
    found: list[dict[int, int]] = []
    for f in range(len(shapes)):
        votes, voters = right.sum(1) - right[:, f], shown.sum(1) - shown[:, f]
        agreed = ((votes >= AGREE * voters) & (voters >= VOTERS)).all(0) & shown[0, f]
        of_font = np.where(agreed, place[0, f], -np.inf).reshape(len(mean), -1)
        worst, which = of_font.max(1), of_font.argmax(1)
        there = np.isfinite(worst)
        if there.sum() < GROUP:
            found.append({})
            continue
        usual = np.median(worst[there])
        spread = 1.4826 * np.median(np.abs(worst[there] - usual))
        out = np.flatnonzero(there & (worst > max(usual + TWIN_BY * spread, LEAST_TWIN)))
        found.append({int(i): int(near[i, which[i]]) for i in out})
    return found


def _other_forms(
    shapes: Sequence[np.ndarray],  # of each font: [n, AXES], zero where it lacks a character
    pairs: np.ndarray,  # [P, 2] two forms of a character
) -> list[dict[int, int]]:
    """For each font: glyphs that show another form of their character -> that form."""
    n = len(shapes)
    place = np.full((2, n, len(pairs)), np.nan, np.float32)
    length = np.zeros((n, len(pairs)), np.float32)
    for i in range(0, len(pairs), 256):
        block = pairs[i : i + 256]
        place[..., i : i + 256], length[:, i : i + 256] = _along(
            *(np.stack([s[which] for s in shapes], 1) for which in block.T)
        )
    # each is the other's other form: the same line the other way
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    place, length = np.concatenate([place, -place[::-1]], 2), np.concatenate([length, length], 1)
    shown = ~np.isnan(place)
    right = np.stack([place[0] < 0, place[1] > 0])
    apart = place[1] - place[0] > FORM_APART
    # near the middle, or beyond it though the font draws the other form yet further on
    open_ = (np.abs(place[0]) < FORM_LEAST) | ((place[0] > 0) & apart)
    moved = (place[0] + 0.5) * length  # from where its own form is
    found: list[dict[int, int]] = []
    for f in range(n):
        voters = shown.sum(1) - shown[:, f]
        votes = right.sum(1) - right[:, f]
        agreed = (votes >= np.array([[FORM_AGREE], [AGREE]]) * voters).all(0)
        agreed &= (voters >= VOTERS).all(0) & shown[0, f]
        at = np.flatnonzero(agreed)
        if len(at) < GROUP:
            found.append({})
            continue
        usual = np.median(moved[f, at])
        spread = 1.4826 * np.median(np.abs(moved[f, at] - usual))
        out = at[
            (place[0, f, at] > FORM_LEAST)
            & (moved[f, at] > usual + FORM_BY * spread)
            & ~apart[f, at]
            & ((open_.sum(0) - open_[f])[at] <= np.maximum(FORM_OPEN * voters[0, at], 1))
        ]
        out = out[np.argsort(place[0, f, out], kind="stable")]  # the last one of a character stays
        found.append({int(pairs[k, 0]): int(pairs[k, 1]) for k in out})
    return found


def _along(
    one: np.ndarray,  # [P, F, AXES] glyphs of a character, zero where a font lacks it
    two: np.ndarray,  # [P, F, AXES] of another form of it
) -> tuple[np.ndarray, np.ndarray]:
    """-> [2, F, P] places of both glyphs on the line from the one form (-0.5) to the other (0.5),
    NaN where a font lacks the glyph or too few others have both; [F, P] the line's length.

    The line is the mean step from the one to the other within the other fonts, so that a style of
    which more fonts have the one than the other does not turn it. Fonts that draw both alike take
    no part in it. All is made of products between glyphs: that is cheaper than the line itself.
    """
    has = np.any([one, two], axis=3)
    step = np.where(has.all(0)[..., None], two - one, 0)
    along = step.transpose(0, 2, 1)
    steps, ones, twos = step @ along, one @ along, two @ along  # [P, F, F]
    use = has.all(0)[:, None] & ~np.eye(one.shape[1], dtype=bool)  # [P, F, F] by the first
    for final in (False, True):
        share = use / np.maximum(use.sum(2, keepdims=True), 1).astype(np.float32)
        taken = share @ steps  # [P, F, F] of each font's step along the line without the first
        square = np.maximum((share * taken).sum(2), 1e-6)
        if not final:
            use &= taken > square[..., None] / 2
    middle = (share * (share @ (ones + twos).transpose(0, 2, 1))).sum(2) / 2
    enough = use.sum(2) >= VOTERS
    place = [
        np.where(enough & there, ((share * product).sum(2) - middle) / square, np.nan).T
        for there, product in zip(has, (ones, twos), strict=True)
    ]
    return np.stack(place), np.sqrt(square).T


def _nearest(mean: np.ndarray, count: int) -> np.ndarray:
    """[n, D] unit vectors -> [n, count]: the others most like each, best first."""
    found = np.empty((len(mean), count), int)
    for i in range(0, len(mean), 1024):
        likeness = mean[i : i + 1024] @ mean.T
        rows = np.arange(len(likeness))
        likeness[rows, i + rows] = -1
        some = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(likeness, some, 1), axis=1, kind="stable")
        found[i : i + 1024] = np.take_along_axis(some, order, 1)
    return found
