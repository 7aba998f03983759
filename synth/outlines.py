"""A glyph's outline -> points along it, once. All bending works on these points.

Curves and long lines are cut into short pieces: a displacement of the points then bends a straight
stroke, and the rasteriser gets polygons only. Many glyphs are cut at once, in one pass of numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synth import parts
from synth.glyphs import RawBatch, RawOutline
from synth.parts import Contours, Ends, next_point

__all__ = ["Ends", "Outline", "flatten", "most_points", "next_point"]

STEP_EM = 0.045  # longest piece; 2.4 px on a box of 54
_BENT_EM = 0.6 * STEP_EM  # of a curve
ROUGH_POINTS = 4096  # below it nobody needs to know a glyph's number of points better


@dataclass(frozen=True)
class Outline:
    """One glyph as closed polygons, in em, y down, on the font's own baseline."""

    points: np.ndarray  # [P, 2] float32
    starts: np.ndarray  # [C + 1] int32: where each contour starts, and the end
    component: np.ndarray  # [C] int32: contours that must move together (a hole with its outside)
    cluster: np.ndarray  # [C] int32: components that a gap keeps together, as a radical's
    ends: Ends  # where strokes end
    stroke_em: float  # mean stroke width
    perimeter_em: float  # length of all contours
    filled_left: (
        bool  # whether ink lies left of the direction of travel, which offsetting must know
    )


def most_points(raw: RawOutline, units_per_em: int) -> int:
    """No more points than this has `flatten` for a glyph."""
    # a curve is no longer than the way round its control points, and each begins a piece; a contour
    # closes by a line no longer than the rest of it. So far at most, and mostly far below any bound
    way = 2 * int(np.abs(raw.points[1:] - raw.points[:-1]).sum())
    if (rough := len(raw.points) + int(way / units_per_em / _BENT_EM) + 1) < ROUGH_POINTS:
        return rough
    first = np.take(raw.points, np.append(0, raw.ends[:-1].astype(int) + 1), 0, mode="clip")
    legs = np.concatenate([np.diff(raw.points, axis=0), raw.points[raw.ends] - first])
    length_em = float(np.hypot(*legs.T.astype(float)).sum()) / units_per_em
    return len(raw.points) + int(length_em / _BENT_EM) + 1


def flatten(batch: RawBatch, units_per_em: np.ndarray) -> list[Outline | None]:
    """N outlines in font units, [N] units -> N Outlines, or None for one that encloses nothing."""
    points, tags, starts, glyph = _closed(batch, units_per_em)
    curves, starts, glyph = _segments(points, tags, starts, glyph)
    points, starts, glyph = _cut(curves, starts, glyph)
    result: list[Outline | None] = [None] * len(batch.n_points)
    there, first = np.unique(glyph, return_index=True)
    if not len(there):
        return result
    contours = Contours(points.astype(np.float32), starts, np.append(first, len(glyph)))
    contours, component = parts.components(contours)
    cluster = parts.clusters(contours, component)
    nxt = contours.points[next_point(starts)]
    cross, step = parts.cross(contours.points, nxt), nxt - contours.points
    length = np.linalg.norm(step, axis=1)
    twice = np.array([np.sum(cross[at]) for _, at in contours.glyphs()])
    perimeter = np.array([max(float(length[at].sum()), 1e-6) for _, at in contours.glyphs()])
    # a stroke of length L and width w has area L w and perimeter 2 L
    stroke, left = 2 * np.abs(0.5 * twice) / perimeter, twice < 0
    ends = parts.ends(contours, stroke, left)
    for k, (number, (of, at)) in enumerate(zip(there.tolist(), contours.glyphs(), strict=True)):
        result[number] = Outline(
            contours.points[at].copy(),  # copies: a view would keep the whole batch
            (starts[of.start : of.stop + 1] - starts[of.start]).astype(np.int32),
            component[of].copy(),
            cluster[of].copy(),
            Ends(ends.which[at].copy(), ends.weight[at].copy()),
            float(stroke[k]),
            float(perimeter[k]),
            bool(left[k]),
        )
    return result


# What goes through the steps: values [n, ...] end to end, starts [C + 1] of contours in them, and
# the glyph [C] of each contour.


def _closed(
    batch: RawBatch, units_per_em: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points [P, 2] em, y down, tags [P], starts, glyph: of contours that may enclose something."""
    glyph = np.repeat(np.arange(len(batch.n_points)), batch.n_contours)
    stops = batch.ends + 1
    starts = np.append(0, stops[:-1])[: len(stops)]
    starts[np.append(True, glyph[1:] != glyph[:-1])[: len(glyph)]] = 0
    before = (np.cumsum(batch.n_points) - batch.n_points)[glyph]
    kept = stops - starts >= 3
    starts, stops, glyph = starts[kept] + before[kept], stops[kept] + before[kept], glyph[kept]
    sizes = stops - starts
    own = np.append(0, np.cumsum(sizes))
    at = np.arange(own[-1]) + np.repeat(starts - own[:-1], sizes)
    points = batch.points[at] / np.repeat(units_per_em[glyph], sizes)[:, None]
    points[:, 1] *= -1
    return points, batch.tags[at] & 3, own, glyph


def _segments(
    points: np.ndarray, tags: np.ndarray, starts: np.ndarray, glyph: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and FreeType tags (1 on, 0 conic, 2 cubic) -> cubic curves [S, 4, 2], starts, glyph.

    Between two conic controls lies an implied point on the curve (TrueType); a conic is raised to a
    cubic. A cubic's two controls stand between two points on the curve (CFF).
    """
    after = next_point(starts)
    implied = (tags == 0) & (tags[after] == 0)
    if implied.any():
        new = np.arange(len(tags)) + np.cumsum(implied) - implied  # where each point goes
        total = len(tags) + int(implied.sum())
        wider, wider_tags = np.empty((total, 2)), np.ones(total, tags.dtype)
        wider[new], wider_tags[new] = points, tags
        wider[new[implied] + 1] = (points[implied] + points[after[implied]]) / 2
        starts = np.append(0, np.cumsum(np.add.reduceat(1 + implied, starts[:-1])))
        points, tags, after = wider, wider_tags, next_point(starts)
    on = np.flatnonzero(tags == 1)
    count = np.diff(np.searchsorted(on, starts))
    kept = count > 0
    starts_on, sizes = np.append(0, np.cumsum(count[kept])), np.repeat(np.diff(starts), count)
    if not len(on):
        return np.zeros((0, 4, 2)), starts_on, glyph[kept]
    following = on[next_point(starts_on)]
    start, end = points[on], points[following]
    gap = ((following - on - 1) % sizes)[:, None]  # controls between: 0 line, 1 conic, 2 cubic
    first, second = points[after[on]], points[after[after[on]]]
    b = np.where(
        gap == 0, (2 * start + end) / 3, np.where(gap == 1, (start + 2 * first) / 3, first)
    )
    c = np.where(gap == 0, (start + 2 * end) / 3, np.where(gap == 1, (end + 2 * first) / 3, second))
    return np.stack([start, b, c, end], 1), starts_on, glyph[kept]


def _cut(
    curves: np.ndarray, starts: np.ndarray, glyph: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cubic curves that join -> points [P, 2] at most STEP_EM apart along them, starts, glyph."""
    legs = np.linalg.norm(np.diff(curves, axis=1), axis=2).sum(1)
    chord = np.linalg.norm(curves[:, 3] - curves[:, 0], axis=1)
    bent = legs > 1.005 * chord
    pieces = np.where(legs < 1e-6, 0, np.ceil(legs / np.where(bent, _BENT_EM, STEP_EM))).astype(int)
    count = np.diff(np.append(0, np.cumsum(pieces))[starts])
    kept = count >= 3
    pieces[~np.repeat(kept, np.diff(starts))] = 0
    which = np.repeat(np.arange(len(curves)), pieces)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    t = (nth / pieces[which])[:, None]
    a, b, c, d = (curves[which, k] for k in range(4))
    points = a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3
    return points, np.append(0, np.cumsum(count[kept])), glyph[kept]
