"""Whose hand, which pen, what paper: ranges (`Style`) and the records drawn from them (`Draw`).

A record holds every number that decides an image, so the same record gives the same image. Fields
of waves, the jitter of parts, texture and noise are functions of the record's `field` number.

A writer is a draw too: slant, pen, aspect and the strength of the bending are drawn per writer, and
vary a little from character to character, so that a page can be in one hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from synth import chance
from synth.canvas import Canvas

_WRITER, _CHARACTER = 11, 12  # streams of `synth.chance`
_SCAN_PX = (34, 92)  # longer side of the writing in a scan: from a phone's picture to 300 dpi
_JPEG = (45, 95)  # quality


@dataclass(frozen=True)
class Style:
    """Ranges of handwriting: standard deviations around 0, unless a mean stands beside them."""

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
    texture: float = 0.60  # largest loss of ink by the grain of paper and pen
    blur_px: float = 0.80  # largest blur, as a standard deviation
    noise: float = 0.03  # largest pixel noise, as a share of full ink
    clutter: float = 0.06  # probability of a neighbour's strokes or of a form's printed lines
    slant_mean_deg: float = 0.0  # to the right at the top
    aspect_mean_log: float = 0.0
    climb_deg: float = 0.0  # shear of the levels
    climb_mean_deg: float = 0.0  # up to the right
    cluster_shift_em: float = 0.02  # a radical (a cluster of components) moves by itself
    cluster_scale_log: float = 0.06
    end_em: float = 0.012  # a stroke's end is somewhere else
    pressure: float = 0.3  # largest swing of the pen's width along the strokes
    scan: float = 0.2  # probability of another scan: other resolution, shaded paper, JPEG
    shade: float = 0.12  # largest fall of the paper's tone from side to side of a scan

    def on(self, canvas: Canvas) -> Style:
        """Pen and blur of the usual canvas as they are on another one."""
        zoom = canvas.zoom
        pens = tuple(width * zoom for width in self.stroke_px)
        return replace(self, stroke_px=pens, blur_px=self.blur_px * zoom)

    def scaled(self, strength: float) -> Style:
        """Every deviation of the shape times `strength`; means, pen, ink and paper stay."""
        shape = (
            *("slant_deg", "rotation_deg", "aspect_log", "bend_em", "wobble_em"),
            *("part_shift_em", "part_scale_log", "part_turn_deg", "climb_deg"),
            *("cluster_shift_em", "cluster_scale_log", "end_em", "pressure"),
        )
        return replace(self, **{name: getattr(self, name) * strength for name in shape})

    def weakened(self, strength: float) -> Style:
        """`scaled`, and from 1 down the means with it: at 0 what is drawn is the plain glyph."""
        means = ("slant_mean_deg", "aspect_mean_log", "climb_mean_deg")
        share = min(strength, 1.0)
        kept = {name: getattr(self, name) * share for name in means}
        return replace(self.scaled(strength), **kept)


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
    clutter: float  # from 0: what stands beside the writing (below 0.5 lines, else a neighbour)
    field: int  # seeds the waves, the jitter of parts, texture and noise
    climb: float = 0.0
    cluster_shift_em: float = 0.0
    cluster_scale_log: float = 0.0
    end_em: float = 0.0
    pressure: float = 0.0
    scan_px: int = 0  # longer side of the writing in the scan; 0: not scanned
    shade: float = 0.0  # share by which the paper's tone falls from one side to the other
    jpeg: int = 0  # quality; 0: no JPEG
    writer: int = 0  # whose hand
    beside: str = ""  # font:character of the second of two, or of the neighbour in a scan

    def to_json(self) -> str:
        values = [getattr(self, f.name) for f in fields(self)]
        return json.dumps(values if self.beside else values[:-1])

    @classmethod
    def from_json(cls, text: str) -> Draw:
        """The inverse of `to_json`, also of older records, which end earlier.

        Raises ValueError for anything else.
        """
        try:
            values = json.loads(text)
        except RecursionError:  # brackets without end
            values = None
        known = fields(cls)
        if (
            not isinstance(values, list)
            or not _FIRST_FIELDS <= len(values) <= len(known)
            or not all(_fits(v, str(f.type)) for v, f in zip(values, known, strict=False))
        ):
            raise ValueError(f"not a draw record: {text[:80]!r}")
        return cls(*values)


_FIRST_FIELDS = 14  # up to `field`: all that records of the first version had
_OF_TYPE = {"float": (float, int), "int": (int,), "str": (str,)}


def _fits(value: Any, name: str) -> bool:
    """Whether a value from JSON is of a field's type, and no infinity or NaN."""
    right = type(value) in _OF_TYPE[name]  # a bool would be an int too
    return right and (isinstance(value, str) or abs(value) < 2**63)


def columns_of(draws: Sequence[Draw]) -> dict[str, np.ndarray]:
    """Each field of N records as an array [N]."""
    return {f.name: np.array([getattr(d, f.name) for d in draws]) for f in fields(Draw)}


def draw(style: Style, seed: int, index: np.ndarray, writer: np.ndarray) -> list[Draw]:
    """Records of samples `index` [n] int64 in the hands of `writer` [n] int64.

    A pure function of (style, seed, index, writer).
    """
    n_shape = 5
    hand = chance.normal(seed, _WRITER, writer, n_shape + 1)
    own = chance.normal(seed, _CHARACTER, index, n_shape + 1)
    share = style.own_share
    shape = hand * np.sqrt(1 - share) + own * np.sqrt(share)
    u_hand = chance.uniform(seed, _WRITER + 100, writer, 9)
    u_own = chance.uniform(seed, _CHARACTER + 100, index, 10)
    # a writer is neat or wild: the strength of all bending varies between 0.5 and 1.5
    wild = 0.5 + u_hand[:, 0]
    quantile = np.clip(u_hand[:, 1] + 0.15 * (u_own[:, 1] - 0.5), 0, 1)
    stroke = np.interp(quantile, np.linspace(0, 1, len(style.stroke_px)), style.stroke_px)
    # what stands beside the writing is seen only where a scan was cut too wide
    scanned = (u_own[:, 3] < style.clutter) | (u_own[:, 5] < style.scan)
    rad = np.pi / 180
    columns = {
        "slant": (shape[:, 0] * style.slant_deg + style.slant_mean_deg) * rad,
        "rotation": shape[:, 1] * style.rotation_deg * rad,
        "aspect_log": shape[:, 2] * style.aspect_log + style.aspect_mean_log,
        "bend_em": wild * style.bend_em * np.exp(0.3 * own[:, 3]),
        "wobble_em": wild * style.wobble_em * np.exp(0.3 * own[:, 4]),
        "part_shift_em": wild * style.part_shift_em,
        "part_scale_log": wild * style.part_scale_log,
        "part_turn": wild * style.part_turn_deg * rad,
        "stroke_px": stroke,
        "texture": (0.3 + 0.7 * u_hand[:, 2]) * u_own[:, 2] * style.texture,
        "blur_px": (0.4 + 0.6 * u_hand[:, 3]) * style.blur_px,
        "noise": u_hand[:, 4] * style.noise,
        "clutter": np.where(u_own[:, 3] < style.clutter, u_own[:, 4], -1.0),
    }
    more = {
        "climb": (shape[:, 5] * style.climb_deg + style.climb_mean_deg) * rad,
        "cluster_shift_em": wild * style.cluster_shift_em,
        "cluster_scale_log": wild * style.cluster_scale_log,
        "end_em": wild * style.end_em,
        "pressure": u_hand[:, 5] * style.pressure,
    }
    # a writer's pages are scanned in one go
    scan_px = np.rint(_SCAN_PX[0] + (_SCAN_PX[1] - _SCAN_PX[0]) * u_hand[:, 6]).astype(int)
    jpeg = np.where(u_hand[:, 7] < 0.5, 0, _JPEG[0] + (_JPEG[1] - _JPEG[0]) * u_hand[:, 8])
    scan: dict[str, list[Any]] = {
        "scan_px": np.where(scanned, scan_px, 0).tolist(),
        "shade": np.round(np.where(scanned, u_own[:, 6] * style.shade, 0), 4).tolist(),
        "jpeg": np.where(scanned, np.rint(jpeg), 0).astype(int).tolist(),
        "writer": np.asarray(writer).astype(int).tolist(),
    }
    number = chance.bits(seed, _CHARACTER + 200, index, 1)[:, 0] >> np.uint64(33)
    # 4 decimals are a hundredth of a pixel: records stay short, and are what is applied
    first, second = (np.round(np.stack(list(c.values()), 1), 4).tolist() for c in (columns, more))
    return [
        Draw(*[*a, f, *b, *c])
        for a, f, b, c in zip(
            first, number.tolist(), second, zip(*scan.values(), strict=True), strict=True
        )
    ]
