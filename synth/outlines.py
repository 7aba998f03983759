"""A glyph's outline -> points along it, once. All bending works on these points.

Curves and long lines are cut into short pieces: a displacement of the points then bends a straight
stroke, and the rasteriser gets polygons only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import freetype
import freetype.raw as ft
import numpy as np

STEP_EM = 0.045  # longest piece; 2.4 px on a box of 54


@dataclass(frozen=True)
class Outline:
    """One glyph as closed polygons, in em, y down, on the font's own baseline."""

    points: np.ndarray  # [P, 2] float32
    starts: np.ndarray  # [C + 1] int32: where each contour starts, and the end
    component: np.ndarray  # [C] int32: contours that must move together (a hole with its outside)

    @cached_property
    def stroke_em(self) -> float:
        """Mean stroke width: a stroke of length L and width w has area L w and perimeter 2 L."""
        nxt = self.points[next_point(self.starts)]
        area = abs(0.5 * float(np.sum(_cross(self.points, nxt))))
        return 2 * area / self.perimeter_em

    @cached_property
    def perimeter_em(self) -> float:
        """Length of all contours."""
        nxt = self.points[next_point(self.starts)]
        return max(float(np.linalg.norm(nxt - self.points, axis=1).sum()), 1e-6)

    @cached_property
    def filled_left(self) -> bool:
        """Whether ink lies left of the direction of travel (y down), which offsetting must know."""
        return float(np.sum(_cross(self.points, self.points[next_point(self.starts)]))) < 0

    @cached_property
    def cluster(self) -> np.ndarray:
        """[C] int32: components that a gap across the glyph keeps together, as a radical's."""
        return _clusters(self.points, self.starts, self.component)

    @cached_property
    def ends(self) -> Ends:
        """Where strokes end."""
        return _ends(self.points, self.starts, self.stroke_em, self.filled_left)


@dataclass(frozen=True)
class Ends:
    """The ends of a glyph's strokes."""

    which: np.ndarray  # [P] int32: number of the end that a point belongs to, or 0
    weight: np.ndarray  # [P] float32: 1 at an end's tip, 0 away from all ends


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0].astype(np.float64) * b[:, 1] - a[:, 1].astype(np.float64) * b[:, 0]


def next_point(starts: np.ndarray) -> np.ndarray:
    """[C + 1] contour starts -> [P] int: the index of the point that follows on its contour."""
    following = np.arange(1, starts[-1] + 1)
    following[starts[1:] - 1] = starts[:-1]
    return following


@dataclass(frozen=True)
class RawOutline:
    """One glyph as the font has it: curves, in font units, y up."""

    points: np.ndarray  # [P, 2] int64
    tags: np.ndarray  # [P] uint8 as FreeType's: bits 0 and 1: 1 on the curve, 0 conic, 2 cubic
    ends: np.ndarray  # [C] int16: each contour's last point


@dataclass(frozen=True)
class RawBatch:
    """Many glyphs as fonts have them, end to end."""

    points: np.ndarray  # [P, 2] int64
    tags: np.ndarray  # [P] uint8
    ends: np.ndarray  # [C] int64: each contour's last point, counted from its glyph's first
    n_points: np.ndarray  # [N] int64, of each glyph
    n_contours: np.ndarray  # [N] int64

    @classmethod
    def of(cls, glyphs: Sequence[RawOutline]) -> RawBatch:
        return cls(
            np.concatenate([np.zeros((0, 2), np.int64), *(g.points for g in glyphs)]),
            np.concatenate([np.zeros(0, np.uint8), *(g.tags for g in glyphs)]),
            np.concatenate([np.zeros(0, np.int64), *(g.ends for g in glyphs)]),
            np.array([len(g.points) for g in glyphs], np.int64),
            np.array([len(g.ends) for g in glyphs], np.int64),
        )


class _Slot(ctypes.Structure):
    """FreeType's FT_Outline with plain addresses, which are quicker to read than pointers."""

    _fields_ = (
        ("n_contours", ctypes.c_short),
        ("n_points", ctypes.c_short),
        ("points", ctypes.c_void_p),
        ("tags", ctypes.c_void_p),
        ("contours", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


_LOAD = freetype.FT_LOAD_NO_SCALE | freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP
_load = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int32)(
    ctypes.cast(ft.FT_Load_Glyph, ctypes.c_void_p).value
)


def raw_batch(face: freetype.Face, gids: Sequence[int]) -> RawBatch:
    """Glyphs of one face. Raises ValueError where one cannot be loaded or is blank."""
    handle = ctypes.cast(face._FT_Face, ctypes.c_void_p).value
    slot = ctypes.cast(face._FT_Face.contents.glyph, ctypes.c_void_p).value
    glyph = _Slot.from_address(slot + ft.FT_GlyphSlotRec.outline.offset)
    copy, load = ctypes.string_at, _load
    points, tags, ends, n_points, n_contours = [], [], [], [], []
    for gid in gids:
        if load(handle, gid, _LOAD) or (count := glyph.n_points) < 3:
            raise ValueError(f"glyph {gid} is blank or damaged")
        contours = glyph.n_contours
        points.append(copy(glyph.points, 16 * count))
        tags.append(copy(glyph.tags, count))
        ends.append(copy(glyph.contours, 2 * contours))
        n_points.append(count)
        n_contours.append(contours)
    return RawBatch(
        np.frombuffer(b"".join(points), np.int64).reshape(-1, 2),
        np.frombuffer(b"".join(tags), np.uint8),
        np.frombuffer(b"".join(ends), np.int16).astype(np.int64),
        np.array(n_points, np.int64),
        np.array(n_contours, np.int64),
    )


def raw_outline(outline: Any) -> RawOutline | None:
    """A copy of a FreeType outline, or None where it encloses nothing."""
    raw = outline._FT_Outline  # the wrapper's own `points` is a Python loop over every point
    if raw.n_points < 3 or raw.n_contours < 1:
        return None
    # copied as bytes: as_array costs more than the glyph
    points = np.frombuffer(ctypes.string_at(raw.points, 16 * raw.n_points), np.int64).reshape(-1, 2)
    if (points == points[0]).all():
        return None
    tags = np.frombuffer(ctypes.string_at(raw.tags, raw.n_points), np.uint8)
    ends = np.frombuffer(ctypes.string_at(raw.contours, 2 * raw.n_contours), np.int16)
    return RawOutline(points, tags, ends)


def flatten(raw: RawOutline, units_per_em: int) -> Outline | None:
    """An outline in font units -> an Outline, or None where it encloses nothing."""
    points = raw.points / units_per_em
    points[:, 1] *= -1
    tags = raw.tags & 3
    contours, start = [], 0
    for end in (raw.ends.astype(int) + 1).tolist():
        if end - start >= 3:
            contour = _cut(_segments(points[start:end], tags[start:end]))
            if len(contour) >= 3:
                contours.append(contour.astype(np.float32))
        start = end
    if not contours:
        return None
    starts = np.cumsum([0, *map(len, contours)]).astype(np.int32)
    return Outline(np.concatenate(contours), starts, _components(contours))


def _segments(points: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """One contour's points and FreeType tags (1 on, 0 conic, 2 cubic) -> [S, 4, 2] cubic curves.

    Between two conic controls lies an implied point on the curve (TrueType); a conic is raised to a
    cubic. A cubic's two controls stand between two points on the curve (CFF).
    """
    implied = np.flatnonzero((tags == 0) & (np.roll(tags, -1) == 0))
    if len(implied):
        middle = (points[implied] + points[(implied + 1) % len(points)]) / 2
        points, tags = np.insert(points, implied + 1, middle, 0), np.insert(tags, implied + 1, 1)
    on = np.flatnonzero(tags == 1)
    if not len(on):
        return np.zeros((0, 4, 2))
    start, end = points[on], points[np.roll(on, -1)]
    gap = (np.roll(on, -1) - on - 1) % len(points)  # controls between: 0 line, 1 conic, 2 cubic
    first = points[(on + 1) % len(points)]
    second = points[(on + 2) % len(points)]
    gap = gap[:, None]
    b = np.where(
        gap == 0, (2 * start + end) / 3, np.where(gap == 1, (start + 2 * first) / 3, first)
    )
    c = np.where(gap == 0, (start + 2 * end) / 3, np.where(gap == 1, (end + 2 * first) / 3, second))
    return np.stack([start, b, c, end], 1)


def _cut(curves: np.ndarray) -> np.ndarray:
    """[S, 4, 2] cubic curves that join -> [P, 2] points at most STEP_EM apart along them."""
    legs = np.linalg.norm(np.diff(curves, axis=1), axis=2).sum(1)
    chord = np.linalg.norm(curves[:, 3] - curves[:, 0], axis=1)
    bent = legs > 1.005 * chord
    pieces = np.where(
        legs < 1e-6, 0, np.ceil(legs / np.where(bent, 0.6 * STEP_EM, STEP_EM))
    ).astype(int)
    which = np.repeat(np.arange(len(curves)), pieces)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    t = (nth / pieces[which])[:, None]
    a, b, c, d = (curves[which, k] for k in range(4))
    return a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3


def _components(contours: list[np.ndarray]) -> np.ndarray:
    """[C] int32: a hole goes with the smallest outside that encloses it; all else is alone."""
    area = np.array([np.sum(_cross(c, np.roll(c, -1, axis=0))) for c in contours])
    outside = np.sign(area) == np.sign(area.sum())
    low, high = (np.array([f(c, axis=0) for c in contours]) for f in (np.min, np.max))
    result = np.arange(len(contours))
    for i in np.flatnonzero(~outside):
        holds = outside & (low <= low[i]).all(1) & (high >= high[i]).all(1)
        if holds.any():
            # a box is not enough: that of a long thin stroke (勹, 廴) holds whatever lies beside it
            candidates = np.flatnonzero(holds)
            share = np.array([_share_within(contours[i], contours[k]) for k in candidates])
            inside = candidates[share > 0.5] if share.max() > 0.5 else candidates[[share.argmax()]]
            result[i] = inside[np.argmin(np.abs(area[inside]))]
    return np.unique(result, return_inverse=True)[1].astype(np.int32)


def _share_within(points: np.ndarray, polygon: np.ndarray) -> float:
    """Share of [k, 2] points that a closed [P, 2] polygon encloses, by the even-odd rule."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, :1], points[:, 1:]
    rise = end[:, 1] - start[:, 1]
    spans = (start[:, 1] > y) != (end[:, 1] > y)
    at = start[:, 0] + (y - start[:, 1]) * (
        (end[:, 0] - start[:, 0]) / np.where(rise == 0, 1, rise)
    )
    return float(((spans & (x < at)).sum(1) % 2).mean())


GAP_EM = -0.02  # radicals may overlap by this much and are still two


def _clusters(points: np.ndarray, starts: np.ndarray, component: np.ndarray) -> np.ndarray:
    """[C] int32: halves the glyph at its widest gap, across or down, and each half once more."""
    count = int(component.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, component, np.minimum.reduceat(points, starts[:-1]))
    np.maximum.at(high, component, np.maximum.reduceat(points, starts[:-1]))
    result = np.zeros(count, np.int32)
    for _ in range(2):
        for cluster in range(int(result.max()) + 1):
            members = np.flatnonzero(result == cluster)
            best, half = GAP_EM, None
            for axis in (0, 1) if len(members) > 1 else ():
                order = members[np.argsort(low[members, axis], kind="stable")]
                gaps = low[order[1:], axis] - np.maximum.accumulate(high[order[:-1], axis])
                if gaps.max() > best:
                    best, half = gaps.max(), order[gaps.argmax() + 1 :]
            if half is not None:
                result[half] = result.max() + 1
    return result[component]


TIP = 0.6  # chord by arc across a stroke's end; a square corner has 0.71
LOOK_STROKES, REACH_STROKES = 1.5, 2.5  # arc each side that shows an end, and that follows it
_WALK = 10  # points at most; rounded ends have many


def _ends(points: np.ndarray, starts: np.ndarray, stroke_em: float, filled_left: bool) -> Ends:
    """A stroke ends where its contour turns back within about three stroke widths."""
    after = next_point(starts)
    before = np.empty_like(after)
    before[after] = np.arange(len(after))
    length = np.linalg.norm(points[after] - points, axis=1)
    far, arc = [], np.zeros(len(points), np.float32)
    for to, step in ((after, length), (before, length[before])):
        at, gone = np.arange(len(points)), np.zeros(len(points), np.float32)
        for _ in range(_WALK):
            short = gone < LOOK_STROKES * stroke_em
            gone += np.where(short, step[at], 0)
            at = np.where(short, to[at], at)
        far.append(points[at])
        arc += gone
    outwards = (_cross(points - far[1], far[0] - points) < 0) == filled_left
    tip = outwards & (np.linalg.norm(far[0] - far[1], axis=1) < TIP * arc)
    which = np.cumsum(tip & ~tip[before]).astype(np.int32)
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if tip[start] and tip[stop - 1]:  # this end began at the close of its contour
            run = start + int(np.argmin(tip[start:stop]))
            which[start:run] = which[stop - 1]
    which[~tip] = 0
    reach = REACH_STROKES * stroke_em
    away = np.where(tip, 0, np.inf)
    for _ in range(_WALK):
        for beside, step in ((after, length), (before, length[before])):
            nearer = away[beside] + step < np.minimum(away, reach)
            away = np.where(nearer, away[beside] + step, away)
            which = np.where(nearer, which[beside], which)
    return Ends(which, np.maximum(1 - away / reach, 0).astype(np.float32))
