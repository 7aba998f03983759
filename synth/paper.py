"""Ink and paper: what happens to a drawn character between the pen and the store.

Real images lose their paper's tone and grain, their strength of ink and all that stands clear of
the writing at import (`synth.canvas`). So what is left to imitate is the grain of the stroke, blur
and noise of the ink; whatever else a scan does goes through the same import (`synth.scan`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import ndimage

from synth import chance
from synth.canvas import INK_FULL, Canvas
from synth.scan import scanned, sheets
from synth.style import Draw

_PICK, _BANK = 21, 22
_BANK_IMAGES = 64
_TONES = 400  # noise goes beyond full ink
_GRAINS_PX = (0.6, 1.2, 3.0, 7.0)  # from pencil on rough paper to uneven pressure


PAPER_CUT = 0.10  # of full ink: what is fainter counts as paper at import, as in `synth.canvas`


def write(
    images: np.ndarray,  # [N, H, W] uint8, clean ink
    draws: Sequence[Draw],
    canvas: Canvas,
    beside: np.ndarray | None = None,  # [N, H, W] uint8, clean: the neighbours in the scans
) -> np.ndarray:
    """-> [N, H, W] uint8 as scanned and imported. Pure.

    Where a neighbour is asked for and `beside` shows none, the character stands beside itself.
    """
    size = images.shape[1]
    field = np.array([d.field for d in draws])
    picks = chance.bits(0, _PICK, field, 6)
    grain, noise = _banks(size)
    texture = _picked(grain, picks[:, 0], picks[:, 1])
    strength = np.array([d.texture for d in draws], np.float32)[:, None, None]
    blur = np.array([d.blur_px for d in draws])
    ink = _blur(images.astype(np.float32) * (1 - strength * texture), blur)
    near: dict[int, np.ndarray] = {}
    if beside is not None:
        at = [i for i, d in enumerate(draws) if d.scan_px and d.clutter >= 0.5 and beside[i].any()]
        inked = _blur(beside[at] * (1 - strength[at] * texture[at]), blur[at])
        near = dict(zip(at, np.clip(inked, 0, INK_FULL).astype(np.uint8), strict=True))
    grit = _picked(noise, picks[:, 3], picks[:, 4])
    grit *= (INK_FULL * np.array([d.noise for d in draws], np.float32))[:, None, None]
    out = np.empty_like(images)
    seen = np.zeros(len(draws), bool)
    for i, (draw, sheet) in enumerate(zip(draws, sheets(field), strict=True)):
        if draw.scan_px:
            clean = np.clip(ink[i], 0, INK_FULL).astype(np.uint8)
            out[i] = scanned(clean, near.get(i), grit[i], draw, sheet, canvas)
            seen[i] = out[i].any()
    rest = ~seen
    out[rest] = restretch(np.maximum(ink[rest] + grit[rest] - PAPER_CUT * INK_FULL, 0))
    return out


def restretch(ink: np.ndarray) -> np.ndarray:
    """[N, H, W] float -> uint8 with the strokes' core at full ink, as `synth.canvas.restretch`."""
    n, height, width = ink.shape
    flat = (np.clip(ink, 0, _TONES - 1) + 0.5).astype(np.int32).reshape(n, height * width)
    wanted = max(4, int(flat.shape[1] * 0.015))
    # the mean of the inkiest pixels by counting: sorting is slow where most pixels are equal
    flat += np.arange(n, dtype=np.int32)[:, None] * _TONES
    counts = np.bincount(flat.ravel(), minlength=n * _TONES).reshape(n, _TONES)[:, ::-1]
    taken = np.diff(np.minimum(np.cumsum(counts, 1), wanted), axis=1, prepend=0)
    high = taken @ np.arange(_TONES - 1, -1, -1.0) / wanted
    gain = np.where(high > 1, INK_FULL / np.maximum(high, 1), 0).astype(np.float32)
    return np.clip(ink * gain[:, None, None] + 0.5, 0, INK_FULL).astype(np.uint8)


@cache
def _banks(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Grain in 0..1 at several scales, and white noise: drawn once, picked and shifted."""
    values = chance.normal(0, _BANK, np.arange(_BANK_IMAGES), size * size)
    values = values.reshape(-1, size, size).astype(np.float32)
    grain = np.empty_like(values)
    for i, image in enumerate(values):
        smooth = ndimage.gaussian_filter(image, _GRAINS_PX[i % len(_GRAINS_PX)], mode="wrap")
        grain[i] = np.argsort(np.argsort(smooth.ravel())).reshape(size, size) / smooth.size
    return grain, values


def _picked(bank: np.ndarray, which: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[N] numbers -> [N, H, W]: an image of the bank each, rolled around by a number of pixels."""
    size = bank.shape[1]
    down = (shift % np.uint64(size)).astype(int).tolist()
    across = ((shift >> np.uint64(16)) % np.uint64(size)).astype(int).tolist()
    number = (which % np.uint64(len(bank))).astype(int).tolist()
    out = np.empty((len(number), size, size), bank.dtype)
    for image, of, y, x in zip(out, number, down, across, strict=True):
        source = bank[of]
        image[: size - y, : size - x] = source[y:, x:]
        image[: size - y, size - x :] = source[y:, :x]
        image[size - y :, : size - x] = source[:y, x:]
        image[size - y :, size - x :] = source[:y, :x]
    return out


def _blur(ink: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """3-tap kernels each way whose variance is sigma ** 2, in as many passes as that takes."""
    variance = sigma_px**2
    while variance.any():
        side = np.minimum(variance / 2, 1 / 3).astype(np.float32)[:, None, None]
        beside = np.empty_like(ink)  # the sum of the two neighbours; beyond the edge is nothing
        for axis in (1, 2):
            to, of = (np.moveaxis(a, axis, 0) for a in (beside, ink))
            np.add(of[2:], of[:-2], out=to[1:-1])
            to[0], to[-1] = of[1], of[-2]
            beside *= side
            ink = ink * (1 - 2 * side)
            ink += beside
        variance = np.maximum(variance - 2 / 3, 0)
    return ink
