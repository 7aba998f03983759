"""A glyph as a hand would write it: `apply` bends outlines by the records of `synth.style`.

All bending works on outline points, for a batch of glyphs at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth import chance
from synth.canvas import Canvas
from synth.outlines import Outline, next_point
from synth.style import Draw, Style, columns_of, draw

__all__ = ["Draw", "Shapes", "Style", "apply", "draw"]

_WAVES, _COMPONENTS, _CLUSTERS, _ENDS = 13, 14, 15, 16  # streams of `synth.chance`
_N_WAVES = 4
MOST_INK = 0.5  # of the box's square
MOST_GAIN_PX = 1.6  # of a pen, a side, on the usual canvas
_NAMED = 64  # parts, clusters and ends of a glyph with numbers of their own; the rest share one


@dataclass(frozen=True)
class Shapes:
    """A batch of bent outlines in canvas pixels."""

    points: np.ndarray  # [P, 2] float32, x right, y down
    contour_starts: np.ndarray  # [C + 1] int64 into points
    sample_starts: np.ndarray  # [N + 1] int64 into contours


def apply(outlines: Sequence[Outline], draws: Sequence[Draw], canvas: Canvas) -> Shapes:
    """N outlines bent by N records and fitted to the canvas's box. Pure."""
    packed = _pack(outlines)
    d = columns_of(draws)
    points, who = packed.points.astype(np.float32), packed.sample
    points = points - _box(points, packed.point_starts)[0][who]

    shape = (d["cluster_scale_log"], 0 * d["cluster_scale_log"], d["cluster_shift_em"])
    points = _jitter(points, _CLUSTERS, packed.cluster, d["field"], *shape)
    shape = (d["part_scale_log"], d["part_turn"], d["part_shift_em"])
    points = _jitter(points, _COMPONENTS, packed.component, d["field"], *shape)
    if d["end_em"].any():
        points = points + _move_ends(outlines, d["field"], d["end_em"])
    points = points + _waves(points, who, d["field"], 0, (0.4, 1.4), d["bend_em"])

    # slant, then aspect (area kept), then climb, then rotation: one 2x2 matrix a sample
    cos, sin = np.cos(d["rotation"]), np.sin(d["rotation"])
    wide = np.exp(d["aspect_log"] / 2)
    shear = np.tan(d["slant"])
    rise = np.tan(d["climb"])
    m00, m01 = wide, -shear * wide
    m10, m11 = -rise * m00, 1 / wide - rise * m01
    matrix = np.stack(
        [
            cos * m00 - sin * m10,
            cos * m01 - sin * m11,
            sin * m00 + cos * m10,
            sin * m01 + cos * m11,
        ],
        1,
    ).astype(np.float32)[who]
    x, y = points[:, 0], points[:, 1]
    points = np.stack([matrix[:, 0] * x + matrix[:, 1] * y, matrix[:, 2] * x + matrix[:, 3] * y], 1)
    points = points + _waves(points, who, d["field"], 1, (2.0, 5.0), d["wobble_em"])

    # fit: the ink's longer side fills the box, once the pen has its width
    centre, extent = _box(points, packed.point_starts)
    stroke_em = np.array([o.stroke_em for o in outlines])
    scale = canvas.box_px / extent
    # so much may a side gain until half of the box is ink: 國 in a marker is written thinner
    length_px = np.array([o.perimeter_em for o in outlines]) * scale
    most = MOST_INK * canvas.box_px**2 / length_px - stroke_em * scale / 2
    most = np.minimum(most, MOST_GAIN_PX * canvas.zoom)
    offset = _pen_offset(d["stroke_px"], stroke_em * scale, most)
    scale = (canvas.box_px - 2 * offset) / extent
    points = (points - centre[who]) * scale[who, None]
    push = offset[who, None]
    if d["pressure"].any():
        # a swing of what the pen has got, not of what was asked; on each side half of it. Bounded:
        # an edge pushed past the edge across from it would turn ink and paper about
        there = stroke_em * scale
        pen = np.maximum(there + 2 * offset, 0)
        em = points / scale[who, None]
        wave = _waves(em, who, d["field"], 2, (0.6, 2.0), d["pressure"] * pen / 8)[:, :1]
        most_px, least_px = 0.15 * pen, -0.2 * there
        wave = np.clip(wave, -most_px[who, None], most_px[who, None])
        push = np.maximum(push + wave, least_px[who, None])
    points = points + _normals(points, packed) * push
    # corners move by less than the offset, and tips sideways: a few percent are left to fit
    centre, extent = _box(points, packed.point_starts)
    points = (points - centre[who]) * (canvas.box_px / extent)[who, None] + canvas.size_px / 2
    return Shapes(points.astype(np.float32), packed.contour_starts, packed.sample_starts)


@dataclass(frozen=True)
class _Groups:
    """Points that move together, numbered through a batch."""

    at: np.ndarray  # [P] which group a point belongs to
    sample: np.ndarray  # [G] which sample a group belongs to
    nth: np.ndarray  # [G] its number within the sample


@dataclass(frozen=True)
class _Packed:
    points: np.ndarray  # [P, 2] float32 em
    contour_starts: np.ndarray  # [C + 1]
    sample_starts: np.ndarray  # [N + 1] into contours
    point_starts: np.ndarray  # [N + 1] into points
    sample: np.ndarray  # [P] which sample a point belongs to
    component: _Groups
    cluster: _Groups
    outward: np.ndarray  # [P] +1 or -1: the side on which ink ends


def _pack(outlines: Sequence[Outline]) -> _Packed:
    n_points = np.array([len(o.points) for o in outlines])
    n_contours = np.array([len(o.component) for o in outlines])
    point_starts = np.concatenate([[0], np.cumsum(n_points)])
    contour_starts = np.concatenate(
        [o.starts[:-1] + p for o, p in zip(outlines, point_starts, strict=False)]
        + [point_starts[-1:]]
    )
    sizes = np.diff(contour_starts)
    return _Packed(
        points=np.concatenate([o.points for o in outlines]),
        contour_starts=contour_starts,
        sample_starts=np.concatenate([[0], np.cumsum(n_contours)]),
        point_starts=point_starts,
        sample=np.repeat(np.arange(len(outlines)), n_points),
        component=_groups([o.component for o in outlines], sizes),
        cluster=_groups([o.cluster for o in outlines], sizes),
        outward=np.repeat([1.0 if o.filled_left else -1.0 for o in outlines], n_points),
    )


def _groups(of_contour: Sequence[np.ndarray], sizes: np.ndarray) -> _Groups:
    """Each outline's group numbers by contour, and every contour's points -> groups of points."""
    count = np.array([int(g.max()) + 1 for g in of_contour])
    starts = np.concatenate([[0], np.cumsum(count)])
    through = np.concatenate([g + s for g, s in zip(of_contour, starts, strict=False)])
    sample = np.repeat(np.arange(len(of_contour)), count)
    return _Groups(np.repeat(through, sizes), sample, np.arange(starts[-1]) - starts[sample])


def _box(points: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[P, 2], [N + 1] -> each sample's box: its middle [N, 2] and its longer side [N]."""
    low = np.minimum.reduceat(points, starts[:-1])
    high = np.maximum.reduceat(points, starts[:-1])
    return (low + high) / 2, np.maximum((high - low).max(1), 1e-3)


def _jitter(
    points: np.ndarray,  # [P, 2] em
    stream: int,
    groups: _Groups,
    field: np.ndarray,  # [N] the records' field numbers
    scale_log: np.ndarray,  # [N] standard deviations
    turn: np.ndarray,  # [N] radians
    shift_em: np.ndarray,  # [N]
) -> np.ndarray:
    """Each group is scaled, turned and moved by itself, about its own middle."""
    of, at = groups.sample, groups.at
    if not (scale_log.any() or turn.any() or shift_em.any()):
        return points
    # one stream of numbers a group: its sample's field number and its own place in it
    z = chance.normal(0, stream, field[of] * _NAMED + np.minimum(groups.nth, _NAMED - 1), 5)
    z = z.astype(np.float32)
    # a glyph of one group has nothing to move against
    alone = np.bincount(of, minlength=len(field))[of] == 1
    z[alone] = 0
    count = np.bincount(at, minlength=len(of))
    middle = np.stack([np.bincount(at, points[:, k], len(of)) / count for k in (0, 1)], 1)
    middle = middle.astype(np.float32)
    turn = z[:, 0] * turn[of]
    scale_x, scale_y = (np.exp(z[:, k] * scale_log[of]) for k in (1, 2))
    a, b = np.cos(turn) * scale_x, -np.sin(turn) * scale_y
    c, e = np.sin(turn) * scale_x, np.cos(turn) * scale_y
    shift = z[:, 3:5] * shift_em[of][:, None]
    local = points - middle[at]
    x = a[at] * local[:, 0] + b[at] * local[:, 1] + (middle[:, 0] + shift[:, 0])[at]
    y = c[at] * local[:, 0] + e[at] * local[:, 1] + (middle[:, 1] + shift[:, 1])[at]
    return np.stack([x, y], 1).astype(np.float32)


def _move_ends(
    outlines: Sequence[Outline], field: np.ndarray, amplitude_em: np.ndarray
) -> np.ndarray:
    """[P, 2] em: each stroke's end goes somewhere by itself; what lies near it follows."""
    ends = [o.ends for o in outlines]
    which = np.concatenate([e.which for e in ends])
    weight = np.concatenate([e.weight for e in ends])
    sample = np.repeat(np.arange(len(outlines)), [len(o.points) for o in outlines])
    moved = np.flatnonzero(weight)
    of = sample[moved]
    key = field[of] * _NAMED + np.minimum(which[moved], _NAMED - 1)
    keys, back = np.unique(key, return_inverse=True)
    z = chance.normal(0, _ENDS, keys, 2)[back] * (weight[moved] * amplitude_em[of])[:, None]
    out = np.zeros((len(sample), 2), np.float32)
    out[moved] = z
    return out


def _waves(
    points: np.ndarray,  # [P, 2] em
    who: np.ndarray,  # [P] sample of each point
    field: np.ndarray,  # [N] the records' field numbers
    band: int,  # 0 slow, 1 fast, 2 pressure: which numbers of the field are used
    periods: tuple[float, float],  # per em
    amplitude: np.ndarray,  # [N] em, of each wave
) -> np.ndarray:
    """A smooth displacement: a sum of plane waves, each with its own direction, phase and push."""
    u = chance.uniform(band, _WAVES, field, 4 * _N_WAVES).reshape(-1, 4, _N_WAVES)
    u = u.astype(np.float32)
    heading, push = 2 * np.pi * u[:, 0], 2 * np.pi * u[:, 1]
    phase = 2 * np.pi * u[:, 2]
    omega = 2 * np.pi * (periods[0] + (periods[1] - periods[0]) * u[:, 3])
    kx, ky = omega * np.cos(heading), omega * np.sin(heading)
    px, py = np.cos(push) * amplitude[:, None], np.sin(push) * amplitude[:, None]
    # waves by points, each a row: numpy is quick along rows
    kx, ky, px, py, phase = (v.T.astype(np.float32).take(who, 1) for v in (kx, ky, px, py, phase))
    x, y = np.ascontiguousarray(points.T)
    wave = np.sin(kx * x + ky * y + phase)
    return np.stack([(px * wave).sum(0), (py * wave).sum(0)], 1)


def _pen_offset(wanted_px: np.ndarray, there_px: np.ndarray, most_px: np.ndarray) -> np.ndarray:
    """Half the difference between the wanted stroke width and the glyph's.

    A pen may lose at most 40 % of its width (thin ends would turn inside out) and gain at most
    `most_px` a side (counters fill).
    """
    return np.clip((wanted_px - there_px) / 2, -0.20 * there_px, np.maximum(most_px, 0))


def _normals(points: np.ndarray, packed: _Packed) -> np.ndarray:
    """[P, 2] unit vectors that point out of the ink."""
    following = next_point(packed.contour_starts)
    before = np.empty_like(following)
    before[following] = np.arange(len(following))
    tangent = points[following] - points[before]
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)
    side = packed.outward / length
    return np.stack([-tangent[:, 1] * side, tangent[:, 0] * side], 1)
