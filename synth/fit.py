"""A style matched to real data: pen, proportions, lean, climb and depth of ink.

Both sides are measured with the same estimators, so their bias cancels: the style is moved until
what is rendered measures as the real training images do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from synth.canvas import INK_FROM
from synth.fonts import Coverage
from synth.grouping import rows_by, spread
from synth.near_copies import refuse_copies
from synth.plan import make_plan
from synth.quota import Quota
from synth.render import render
from synth.store import Store
from synth.style import Style

ROUNDS = 5
IMAGES = 1200  # measured on each side; real ones at most this many
CHARACTERS = 200
_INK, _FULL = 26, 200  # tones from which on a pixel is ink, and full ink
_NEAR_DEG = 35.0  # an edge within this of the upright (the level) belongs to an upright (a level)


@dataclass(frozen=True)
class Measures:
    """What is matched; of images that have ink."""

    pens_px: np.ndarray  # [7] quantiles of the mean stroke width
    aspect: tuple[float, float]  # log of width by height: mean, standard deviation
    lean_deg: tuple[float, float]  # of uprights, to the right at the top
    climb_deg: tuple[float, float]  # of levels, up to the right
    full: float  # share of the ink's pixels that are full ink
    sharp: float  # mean rise of an edge a pixel, as a share of full ink


def measure(images: np.ndarray) -> Measures:
    """[N, H, W] uint8 -> Measures. Raises ValueError where no image has ink."""
    images = images[_inked(images)]
    if not len(images):
        raise ValueError("no image with ink")
    leans, climbs = _directions(images)
    aspects = np.log(_extent(images, 2) / _extent(images, 1))
    aspect, lean, climb = ((float(v.mean()), float(v.std())) for v in (aspects, leans, climbs))
    ink = (images >= _INK).sum()
    return Measures(
        np.quantile(stroke_width_px(images), np.linspace(0.03, 0.97, 7)),
        aspect,
        lean,
        climb,
        float((images >= _FULL).sum() / ink),
        _sharpness(images),
    )


def _inked(images: np.ndarray) -> np.ndarray:
    """[N, H, W] uint8 -> [N] bool: which have ink dark enough to be measured."""
    return images.max((1, 2)) >= _FULL // 2


def _extent(images: np.ndarray, axis: int) -> np.ndarray:
    """[N, H, W] -> [N] px: from the first to the last row (axis 1) or column (axis 2) with ink."""
    there = np.asarray((images > INK_FROM).any(3 - axis))
    return there.shape[1] - there.argmax(1) - there[:, ::-1].argmax(1) + 0.0


def _directions(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N, H, W] uint8 -> mean lean of uprights and climb of levels [N], in degrees."""
    ink = images.astype(np.float32)
    dx = ink[:, 1:-1, 2:] - ink[:, 1:-1, :-2]
    dy = ink[:, 2:, 1:-1] - ink[:, :-2, 1:-1]
    length = np.hypot(dx, dy)
    # across an upright that leans to the right, y down: the gradient turns clockwise, angle > 0
    angle = np.degrees(np.arctan2(dy, dx)) % 180
    upright, level = (angle + 90) % 180 - 90, angle - 90
    found = []
    for of, sign in ((upright, 1), (level, -1)):
        weight = length * (np.abs(of) < _NEAR_DEG)
        found.append(sign * (of * weight).sum((1, 2)) / np.maximum(weight.sum((1, 2)), 1))
    return found[0], found[1]


def _sharpness(images: np.ndarray) -> float:
    """[N, H, W] uint8 -> the mean gradient, each pixel weighed by its own gradient."""
    ink = images.astype(np.float32) / 255
    dy, dx = np.diff(ink, axis=1)[:, :, 1:], np.diff(ink, axis=2)[:, 1:]
    square = dx**2 + dy**2
    return float(square.sum() / max(float(np.sqrt(square).sum()), 1e-6))


def stroke_width_px(images: np.ndarray) -> np.ndarray:
    """[N, H, W] uint8 -> [N] float: mean stroke width, twice the area of the ink by its perimeter.

    The perimeter is the total variation of the picture, the same for a soft and a hard edge.
    """
    ink = images.astype(np.float32) / 255
    dy = np.diff(ink, axis=1, prepend=0, append=0)[:, :-1]
    dx = np.diff(ink, axis=2, prepend=0, append=0)[:, :, :-1]
    perimeter = np.sqrt(dx**2 + dy**2).sum((1, 2))
    return 2 * ink.sum((1, 2)) / np.maximum(perimeter, 1e-3)


def fit_style(
    style: Style,
    real: Store,
    coverages: Sequence[Coverage],
    seed: int,
    checked: bool = False,  # `refuse_copies` has passed it
) -> Style:
    """The style with the pen, proportions, lean, climb and ink of the real training images.

    Compared are images of the same characters. Where there is nothing to measure, the style stays.
    Raises InputError where a training image is a copy of one to be measured on.
    """
    if not checked:
        refuse_copies(real)
    chars = [c for c in real.alphabet.chars if any(c in f.usable for f in coverages)]
    train = real.rows("train")
    rows_of = rows_by(real.column("label")[train].astype(str))
    chars = [c for c in chars if c in rows_of]
    chars = [chars[i] for i in range(0, len(chars), max(1, -(-len(chars) // CHARACTERS)))]
    each = max(1, IMAGES // max(1, len(chars)))
    rows = [spread(train[rows_of[c]], each) for c in chars]
    if not rows or not _inked(images := real.take(np.sort(np.concatenate(rows)))).any():
        return style
    goal = measure(images)
    counts = {c: len(r) * -(-IMAGES // 2 // len(images)) for c, r in zip(chars, rows, strict=True)}
    quota = Quota(0, counts, 0, {})
    for _ in range(ROUNDS):
        plan = make_plan(real.alphabet, coverages, {}, quota, style, real.canvas, seed)
        there = measure(np.concatenate([chunk for chunk, _ in render(plan)]))
        style = _nearer(style, goal, there, real.canvas.zoom)
    return style


def _nearer(style: Style, goal: Measures, there: Measures, zoom: float) -> Style:
    """Means by their difference; deviations and texture by their ratio, at most 1.5 a round."""

    def ratio(wanted: float, found: float) -> float:
        return float(np.clip(wanted / max(found, 1e-6), 1 / 1.5, 1.5))

    pens = np.array(style.stroke_px) + (goal.pens_px - there.pens_px)
    pens = np.maximum.accumulate(np.clip(pens, 0.8 * zoom, 12.0 * zoom))
    changed = {
        "aspect_mean_log": style.aspect_mean_log + goal.aspect[0] - there.aspect[0],
        "slant_mean_deg": style.slant_mean_deg + goal.lean_deg[0] - there.lean_deg[0],
        "climb_mean_deg": style.climb_mean_deg + goal.climb_deg[0] - there.climb_deg[0],
        "aspect_log": style.aspect_log * ratio(goal.aspect[1], there.aspect[1]),
        "slant_deg": style.slant_deg * ratio(goal.lean_deg[1], there.lean_deg[1]),
        "texture": style.texture * ratio(there.full, goal.full),
        "blur_px": style.blur_px * ratio(there.sharp, goal.sharp) ** 2,
    }
    bounds = {
        "aspect_mean_log": (-0.7, 0.7),
        "slant_mean_deg": (-25.0, 25.0),
        "climb_mean_deg": (-20.0, 20.0),
        "aspect_log": (0.02, 0.35),
        "slant_deg": (2.0, 16.0),
        "texture": (0.05, 0.9),
        "blur_px": (0.1 * zoom, 1.2 * zoom),
    }
    kept = {k: round(float(np.clip(v, *bounds[k])), 4) for k, v in changed.items()}
    return replace(style, stroke_px=tuple(np.round(pens, 3).tolist()), **kept)
