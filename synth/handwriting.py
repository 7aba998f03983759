"""A glyph as a hand would write it: `draw` makes frozen records, `apply` bends outlines by them.

All bending works on outline points, for a batch of glyphs at once. A record holds every number that
decides an image, so the same record gives the same image; the fields of waves and the jitter of
components are functions of the record's `field` number.

A writer is a draw too: slant, pen, aspect and the strength of the bending are drawn per writer, and
vary a little from character to character, so that a page can be in one hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from synth import chance
from synth.canvas import Canvas
from synth.outlines import Outline, next_point

_WRITER, _CHARACTER, _WAVES, _COMPONENTS = 11, 12, 13, 14  # streams of `synth.chance`
_N_BEND, _N_WOBBLE = 4, 4


@dataclass(frozen=True)
class Style:
    """Ranges of handwriting: standard deviations around 0, but for the quantiles of the pen."""

    slant_deg: float = 9.0  # shear of the uprights
    rotation_deg: float = 4.0
    aspect_log: float = 0.13  # log of width by height
    bend_em: float = 0.030  # amplitude of each slow wave (0.4 to 1.4 periods an em)
    wobble_em: float = 0.0050  # amplitude of each fast wave (2 to 5 periods an em)
    part_shift_em: float = 0.025  # a component moves by itself
    part_scale_log: float = 0.09
    part_turn_deg: float = 3.5
    own_share: float = 0.55  # how much of the variance is the character's own, not its writer's
    # stroke width on the canvas by equal steps of probability, from thin to thick
    stroke_px: tuple[float, ...] = (1.9, 2.5, 2.9, 3.3, 3.8, 4.5, 5.6)
    texture: float = 0.35  # largest loss of ink by the grain of paper and pen
    blur_px: float = 0.55  # largest blur, as a standard deviation
    noise: float = 0.03  # largest pixel noise, as a share of full ink
    clutter: float = 0.06  # probability of a neighbour's stroke or a printed rule at the edge

    def scaled(self, strength: float) -> Style:
        """Every deviation of the shape times `strength`; pen, ink and paper stay."""
        shape = (
            *("slant_deg", "rotation_deg", "aspect_log", "bend_em", "wobble_em"),
            *("part_shift_em", "part_scale_log", "part_turn_deg"),
        )
        return replace(self, **{name: getattr(self, name) * strength for name in shape})


@dataclass(frozen=True)
class Draw:
    """All that decides how a character is written. Angles in radians, lengths in em or px."""

    slant: float
    rotation: float
    aspect_log: float
    bend_em: float
    wobble_em: float
    part_shift_em: float
    part_scale_log: float
    part_turn: float
    stroke_px: float
    texture: float
    blur_px: float
    noise: float
    clutter: float  # below Style.clutter: something stands at the edge; which, by its value
    field: int  # seeds the waves, the jitter of components, texture and noise

    def to_json(self) -> str:
        return json.dumps([getattr(self, f.name) for f in fields(self)])

    @classmethod
    def from_json(cls, text: str) -> Draw:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        values = json.loads(text)
        names = [f.name for f in fields(cls)]
        if not isinstance(values, list) or len(values) != len(names):
            raise ValueError(f"not a draw record: {text[:80]!r}")
        return cls(**dict(zip(names, values, strict=True)))


def draw(style: Style, seed: int, index: np.ndarray, writer: np.ndarray) -> list[Draw]:
    """Records of samples `index` [n] int64 in the hands of `writer` [n] int64.

    A pure function of (style, seed, index, writer).
    """
    n_shape = 5
    hand = chance.normal(seed, _WRITER, writer, n_shape)
    own = chance.normal(seed, _CHARACTER, index, n_shape)
    share = style.own_share
    shape = hand * np.sqrt(1 - share) + own * np.sqrt(share)
    u_hand = chance.uniform(seed, _WRITER + 100, writer, 6)
    u_own = chance.uniform(seed, _CHARACTER + 100, index, 6)
    # a writer is neat or wild: the strength of all bending varies between 0.5 and 1.5
    wild = 0.5 + u_hand[:, 0]
    quantile = np.clip(u_hand[:, 1] + 0.15 * (u_own[:, 1] - 0.5), 0, 1)
    stroke = np.interp(quantile, np.linspace(0, 1, len(style.stroke_px)), style.stroke_px)
    rad = np.pi / 180
    columns = {
        "slant": shape[:, 0] * style.slant_deg * rad,
        "rotation": shape[:, 1] * style.rotation_deg * rad,
        "aspect_log": shape[:, 2] * style.aspect_log,
        "bend_em": wild * style.bend_em * np.exp(0.3 * own[:, 3]),
        "wobble_em": wild * style.wobble_em * np.exp(0.3 * own[:, 4]),
        "part_shift_em": wild * style.part_shift_em,
        "part_scale_log": wild * style.part_scale_log,
        "part_turn": wild * style.part_turn_deg * rad,
        "stroke_px": stroke,
        "texture": u_hand[:, 2] * u_own[:, 2] * style.texture,
        "blur_px": u_hand[:, 3] * style.blur_px,
        "noise": u_hand[:, 4] * style.noise,
        # 0 or less: nothing at the edge; else which clutter, 0..1
        "clutter": np.where(u_own[:, 3] < style.clutter, u_own[:, 4], -1.0),
    }
    number = chance.bits(seed, _CHARACTER + 200, index, 1)[:, 0] >> np.uint64(33)
    # 4 decimals are a hundredth of a pixel: records stay short, and are what is applied
    rows = np.round(np.stack(list(columns.values()), 1), 4).tolist()
    return [Draw(*row, int(f)) for row, f in zip(rows, number.tolist(), strict=True)]


@dataclass(frozen=True)
class Shapes:
    """A batch of bent outlines in canvas pixels."""

    points: np.ndarray  # [P, 2] float32, x right, y down
    contour_starts: np.ndarray  # [C + 1] int64 into points
    sample_starts: np.ndarray  # [N + 1] int64 into contours


def apply(outlines: Sequence[Outline], draws: Sequence[Draw], canvas: Canvas) -> Shapes:
    """N outlines bent by N records and fitted to the canvas's box. Pure."""
    packed = _pack(outlines)
    d = {f.name: np.array([getattr(x, f.name) for x in draws]) for f in fields(Draw)}
    points, who = packed.points.astype(np.float32), packed.sample
    points = points - _box(points, packed.point_starts)[0][who]

    points = _jitter_components(points, packed, d)
    points = points + _waves(points, who, d["field"], 0, _N_BEND, (0.4, 1.4), d["bend_em"])

    # slant, then aspect (area kept), then rotation: one 2x2 matrix a sample
    cos, sin = np.cos(d["rotation"]), np.sin(d["rotation"])
    wide = np.exp(d["aspect_log"] / 2)
    shear = np.tan(d["slant"])
    m00, m01, m10, m11 = wide, -shear * wide, np.zeros_like(wide), 1 / wide
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
    points = points + _waves(points, who, d["field"], 1, _N_WOBBLE, (2.0, 5.0), d["wobble_em"])

    # fit: the ink's longer side fills the box, once the pen has its width
    centre, extent = _box(points, packed.point_starts)
    stroke_em = np.array([o.stroke_em for o in outlines])
    scale = canvas.box_px / extent
    offset = _pen_offset(d["stroke_px"], stroke_em * scale)
    scale = (canvas.box_px - 2 * offset) / extent
    points = (points - centre[who]) * scale[who, None]
    points = points + _normals(points, packed) * offset[who, None]
    # corners move by less than the offset, and tips sideways: a few percent are left to fit
    centre, extent = _box(points, packed.point_starts)
    points = (points - centre[who]) * (canvas.box_px / extent)[who, None] + canvas.size_px / 2
    return Shapes(points.astype(np.float32), packed.contour_starts, packed.sample_starts)


@dataclass(frozen=True)
class _Packed:
    points: np.ndarray  # [P, 2] float32 em
    contour_starts: np.ndarray  # [C + 1]
    sample_starts: np.ndarray  # [N + 1] into contours
    point_starts: np.ndarray  # [N + 1] into points
    sample: np.ndarray  # [P] which sample a point belongs to
    component: np.ndarray  # [P] which component, numbered through the batch
    component_sample: np.ndarray  # [K] which sample a component belongs to
    component_nth: np.ndarray  # [K] its number within the sample
    outward: np.ndarray  # [P] +1 or -1: the side on which ink ends


def _pack(outlines: Sequence[Outline]) -> _Packed:
    n_points = np.array([len(o.points) for o in outlines])
    n_contours = np.array([len(o.component) for o in outlines])
    n_parts = np.array([int(o.component.max()) + 1 for o in outlines])
    point_starts = np.concatenate([[0], np.cumsum(n_points)])
    part_starts = np.concatenate([[0], np.cumsum(n_parts)])
    contour_starts = np.concatenate(
        [o.starts[:-1] + p for o, p in zip(outlines, point_starts, strict=False)]
        + [point_starts[-1:]]
    )
    part_of_contour = np.concatenate(
        [o.component + p for o, p in zip(outlines, part_starts, strict=False)]
    )
    sample_of_part = np.repeat(np.arange(len(outlines)), n_parts)
    return _Packed(
        points=np.concatenate([o.points for o in outlines]),
        contour_starts=contour_starts,
        sample_starts=np.concatenate([[0], np.cumsum(n_contours)]),
        point_starts=point_starts,
        sample=np.repeat(np.arange(len(outlines)), n_points),
        component=np.repeat(part_of_contour, np.diff(contour_starts)),
        component_sample=sample_of_part,
        component_nth=np.arange(part_starts[-1]) - part_starts[sample_of_part],
        outward=np.repeat([1.0 if o.filled_left else -1.0 for o in outlines], n_points),
    )


def _box(points: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[P, 2], [N + 1] -> each sample's box: its middle [N, 2] and its longer side [N]."""
    low = np.minimum.reduceat(points, starts[:-1])
    high = np.maximum.reduceat(points, starts[:-1])
    return (low + high) / 2, np.maximum((high - low).max(1), 1e-3)


def _jitter_components(points: np.ndarray, packed: _Packed, d: dict[str, np.ndarray]) -> np.ndarray:
    """Each component is scaled, turned and moved by itself, about its own middle."""
    of = packed.component_sample
    # one stream of numbers a component: its sample's field number and its own place in it
    key = d["field"][of] * 64 + np.minimum(packed.component_nth, 63)
    z = chance.normal(0, _COMPONENTS, key, 5).astype(np.float32)
    # a glyph of one component has nothing to move against
    alone = np.bincount(of, minlength=len(d["field"]))[of] == 1
    z[alone] = 0
    count = np.bincount(packed.component, minlength=len(of))
    middle = np.stack(
        [np.bincount(packed.component, points[:, k], len(of)) / count for k in (0, 1)], 1
    ).astype(np.float32)
    turn = z[:, 0] * d["part_turn"][of]
    scale_x, scale_y = (np.exp(z[:, k] * d["part_scale_log"][of]) for k in (1, 2))
    a, b = np.cos(turn) * scale_x, -np.sin(turn) * scale_y
    c, e = np.sin(turn) * scale_x, np.cos(turn) * scale_y
    shift = z[:, 3:5] * d["part_shift_em"][of][:, None]
    at = packed.component
    local = points - middle[at]
    x = a[at] * local[:, 0] + b[at] * local[:, 1] + (middle[:, 0] + shift[:, 0])[at]
    y = c[at] * local[:, 0] + e[at] * local[:, 1] + (middle[:, 1] + shift[:, 1])[at]
    return np.stack([x, y], 1).astype(np.float32)


def _waves(
    points: np.ndarray,  # [P, 2] em
    who: np.ndarray,  # [P] sample of each point
    field: np.ndarray,  # [N] the records' field numbers
    band: int,  # 0 slow, 1 fast: which numbers of the field are used
    count: int,  # waves in the sum
    periods: tuple[float, float],  # per em
    amplitude: np.ndarray,  # [N] em, of each wave
) -> np.ndarray:
    """A smooth displacement: a sum of plane waves, each with its own direction, phase and push."""
    u = chance.uniform(band, _WAVES, field, 4 * count).reshape(-1, 4, count).astype(np.float32)
    heading, push = 2 * np.pi * u[:, 0], 2 * np.pi * u[:, 1]
    phase = 2 * np.pi * u[:, 2]
    omega = 2 * np.pi * (periods[0] + (periods[1] - periods[0]) * u[:, 3])
    kx, ky = omega * np.cos(heading), omega * np.sin(heading)
    px, py = np.cos(push) * amplitude[:, None], np.sin(push) * amplitude[:, None]
    kx, ky, px, py = (v.astype(np.float32)[who] for v in (kx, ky, px, py))
    wave = np.sin(kx * points[:, :1] + ky * points[:, 1:] + phase[who])
    return np.stack([(px * wave).sum(1), (py * wave).sum(1)], 1)


def _pen_offset(wanted_px: np.ndarray, there_px: np.ndarray) -> np.ndarray:
    """Half the difference between the wanted stroke width and the glyph's.

    A pen may lose at most 40 % of its width (thin ends would turn inside out) and gain at most
    1.6 px a side (counters fill).
    """
    return np.clip((wanted_px - there_px) / 2, -0.20 * there_px, 1.6)


def _normals(points: np.ndarray, packed: _Packed) -> np.ndarray:
    """[P, 2] unit vectors that point out of the ink."""
    following = next_point(packed.contour_starts)
    before = np.empty_like(following)
    before[following] = np.arange(len(following))
    tangent = points[following] - points[before]
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)
    side = packed.outward / length
    return np.stack([-tangent[:, 1] * side, tangent[:, 0] * side], 1)
