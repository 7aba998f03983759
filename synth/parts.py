"""What belongs together in a glyph: a hole and its outside, a radical, the end of a stroke.

For a batch of glyphs at once: contours stand end to end, and a glyph's contours side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contours:
    """The contours of a batch of glyphs, closed polygons."""

    points: np.ndarray  # [P, 2] float32 em, y down
    starts: np.ndarray  # [C + 1] int: where each contour starts, and the end
    glyph_starts: np.ndarray  # [N + 1] int into contours

    def glyphs(self) -> Iterator[tuple[slice, slice]]:
        """Each glyph's contours and points."""
        at, points = self.glyph_starts.tolist(), self.starts[self.glyph_starts].tolist()
        for k in range(len(at) - 1):
            yield slice(at[k], at[k + 1]), slice(points[k], points[k + 1])


@dataclass(frozen=True)
class Ends:
    """The ends of a glyph's strokes."""

    which: np.ndarray  # [P] int32: number of the end that a point belongs to, or 0
    weight: np.ndarray  # [P] float32: 1 at an end's tip, 0 away from all ends


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, 2], [n, 2] -> [n] float64"""
    return a[:, 0].astype(np.float64) * b[:, 1] - a[:, 1].astype(np.float64) * b[:, 0]


def next_point(starts: np.ndarray) -> np.ndarray:
    """[C + 1] contour starts -> [P] int: the index of the point that follows on its contour."""
    following = np.arange(1, starts[-1] + 1)
    following[starts[1:] - 1] = starts[:-1]
    return following


def areas(contours: Contours) -> np.ndarray:
    """[C] float64: twice the signed area of each contour."""
    following = contours.points[next_point(contours.starts)]
    return np.add.reduceat(cross(contours.points, following), contours.starts[:-1])


def components(contours: Contours) -> tuple[Contours, np.ndarray]:
    """The contours, all turned right, and [C] int32, by glyph: a hole goes with the smallest
    outside that encloses it; all else is alone.

    What is turned as a hole and lies in no other contour is an outside. FreeType inks it all the
    same, but a pen would thin such a stroke where it thickens the rest: it is turned about, and
    with it what lies in it, so that its holes stay holes.
    """
    component, wrong = _components(contours)
    if not wrong:
        return contours, component
    points = contours.points.copy()
    for k in wrong:
        here = slice(*contours.starts[k : k + 2])
        points[here] = points[here][::-1]
    contours = Contours(points, contours.starts, contours.glyph_starts)
    return contours, _components(contours)[0]


def _components(contours: Contours) -> tuple[np.ndarray, set[int]]:
    """[C] int32 as above, and the contours that are turned the wrong way."""
    area = areas(contours)
    low, high = _boxes(contours)
    result, wrong = np.empty(len(area), np.int32), set()
    for of, _ in contours.glyphs():
        way, number = np.sign(area[of]), np.arange(of.stop - of.start)
        outside = way == np.sign(area[of].sum())
        for i in np.flatnonzero(~outside):
            hole = of.start + i
            holds = outside & (low[of] <= low[hole]).all(1) & (high[of] >= high[hole]).all(1)
            # a box is not enough: that of a long thin stroke (勹, 廴) holds whatever lies beside it
            held = np.flatnonzero(holds)
            share = np.array([_share_within(contours, hole, of.start + k) for k in held])
            if share.any():
                inside = held[share > 0.5] if share.max() > 0.5 else held[[share.argmax()]]
                number[i] = inside[np.argmin(np.abs(area[of][inside]))]
                continue
            touch = (low[of] < high[hole]).all(1) & (high[of] > low[hole]).all(1)
            others = [of.start + k for k in np.flatnonzero(touch).tolist() if k != i]
            if not any(_share_within(contours, hole, k) for k in others):
                wrong |= {hole, *(k for k in others if _share_within(contours, k, hole) > 0.5)}
            elif len(held):
                number[i] = held[0]
        result[of] = np.unique(number, return_inverse=True)[1]
    return result, wrong


def _boxes(contours: Contours) -> tuple[np.ndarray, np.ndarray]:
    """[C, 2], [C, 2]: the lowest and the highest x and y."""
    starts = contours.starts[:-1]
    low, high = (f.reduceat(contours.points, starts) for f in (np.minimum, np.maximum))
    return low, high


SEEN = 64  # points of a contour that show where it lies


def _share_within(contours: Contours, one: int, other: int) -> float:
    """Share of a contour's points that another one encloses, by the even-odd rule."""
    points, polygon = (contours.points[slice(*contours.starts[k : k + 2])] for k in (one, other))
    points = points[:: -(-len(points) // SEEN)]
    start, end = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    rise = end[:, 1] - start[:, 1]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    at = start[:, 0] + (y - start[:, 1]) * (
        (end[:, 0] - start[:, 0]) / np.where(rise == 0, 1, rise)
    )
    return float(((spans & (x < at)).sum(1) % 2).mean())


GAP_EM = -0.02  # radicals may overlap by this much and are still two


def clusters(contours: Contours, component: np.ndarray) -> np.ndarray:
    """[C] int32, by glyph: halves it at its widest gap, across or down, and each half once more."""
    low, high = _boxes(contours)
    result = np.zeros(len(component), np.int32)
    for of, _ in contours.glyphs():
        if (count := int(component[of].max()) + 1) > 1:
            result[of] = _halved(low[of], high[of], component[of], count)
    return result


def _halved(low: np.ndarray, high: np.ndarray, component: np.ndarray, count: int) -> np.ndarray:
    """Boxes [c, 2], [c, 2] and component [c] of one glyph's contours -> [c] int32."""
    lowest, highest = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(lowest, component, low)
    np.maximum.at(highest, component, high)
    result = np.zeros(count, np.int32)
    for _ in range(2):
        for cluster in range(int(result.max()) + 1):
            members = np.flatnonzero(result == cluster)
            best, half = GAP_EM, None
            for axis in (0, 1) if len(members) > 1 else ():
                order = members[np.argsort(lowest[members, axis], kind="stable")]
                gaps = lowest[order[1:], axis] - np.maximum.accumulate(highest[order[:-1], axis])
                if gaps.max() > best:
                    best, half = gaps.max(), order[gaps.argmax() + 1 :]
            if half is not None:
                result[half] = result.max() + 1
    return result[component]


TIP = 0.6  # chord by arc across a stroke's end; a square corner has 0.71
LOOK_STROKES, REACH_STROKES = 1.5, 2.5  # arc each side that shows an end, and that follows it
_WALK = 10  # points at most; rounded ends have many


def ends(
    contours: Contours,
    stroke_em: np.ndarray,  # [N] float64
    filled_left: np.ndarray,  # [N] bool: ink lies left of the direction of travel
) -> Ends:
    """A stroke ends where its contour turns back within about three stroke widths.

    Of the whole batch, [P]; ends are numbered from 1 in each glyph.
    """
    points, starts = contours.points, contours.starts
    sizes = np.diff(starts[contours.glyph_starts])
    look = np.repeat((LOOK_STROKES * stroke_em).astype(np.float32), sizes)
    reach = np.repeat(REACH_STROKES * stroke_em, sizes)
    after = next_point(starts)
    before = np.empty_like(after)
    before[after] = np.arange(len(after))
    length = np.linalg.norm(points[after] - points, axis=1)
    far, arc = [], np.zeros(len(points), np.float32)
    for to, step in ((after, length), (before, length[before])):
        at, gone = np.arange(len(points)), np.zeros(len(points), np.float32)
        for _ in range(_WALK):
            short = gone < look
            gone += np.where(short, step[at], 0)
            at = np.where(short, to[at], at)
        far.append(points[at])
        arc += gone
    outwards = (cross(points - far[1], far[0] - points) < 0) == np.repeat(filled_left, sizes)
    tip = outwards & (np.linalg.norm(far[0] - far[1], axis=1) < TIP * arc)
    count = np.append(0, np.cumsum(tip & ~tip[before]))
    which = (count[1:] - np.repeat(count[starts[contours.glyph_starts[:-1]]], sizes)).astype(
        np.int32
    )
    # where an end began at the close of its contour
    for k in np.flatnonzero(tip[starts[:-1]] & tip[starts[1:] - 1]):
        start, stop = starts[k], starts[k + 1]
        which[start : start + int(np.argmin(tip[start:stop]))] = which[stop - 1]
    which[~tip] = 0
    away = np.where(tip, 0, np.inf)
    for _ in range(_WALK):
        for beside, step in ((after, length), (before, length[before])):
            nearer = away[beside] + step < np.minimum(away, reach)
            away = np.where(nearer, away[beside] + step, away)
            which = np.where(nearer, which[beside], which)
    return Ends(which, np.maximum(1 - away / reach, 0).astype(np.float32))
