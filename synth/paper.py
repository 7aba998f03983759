"""Ink and paper: what happens to a drawn character between the pen and the store.

Paper tone, shading and ink strength are taken out of real images at import (`synth.canvas`), so
what is left to imitate is the grain of the stroke, blur, pixel noise, and clutter at the edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import ndimage

from synth import chance
from synth.canvas import INK_FULL
from synth.handwriting import Draw

_PICK, _BANK = 21, 22
_BANK_IMAGES = 64
_GRAINS_PX = (0.6, 1.2, 3.0, 7.0)  # from pencil on rough paper to uneven pressure


def write(images: np.ndarray, draws: Sequence[Draw]) -> np.ndarray:
    """[N, H, W] uint8 clean ink -> [N, H, W] uint8 as scanned. Pure."""
    size = images.shape[1]
    field = np.array([d.field for d in draws])
    picks = chance.bits(0, _PICK, field, 6)
    grain, noise = _banks(size)
    texture = _picked(grain, picks[:, 0], picks[:, 1])
    strength = np.array([d.texture for d in draws], np.float32)[:, None, None]
    ink = images.astype(np.float32) * (1 - strength * texture)
    ink = _edge_clutter(ink, draws, picks[:, 2])
    ink = _blur(ink, np.array([d.blur_px for d in draws]))
    grit = _picked(noise, picks[:, 3], picks[:, 4])
    ink += grit * (INK_FULL * np.array([d.noise for d in draws], np.float32))[:, None, None]
    return restretch(ink)


def restretch(ink: np.ndarray) -> np.ndarray:
    """[N, H, W] float -> uint8 with the strokes' core at full ink, as `synth.canvas.restretch`."""
    flat = ink.reshape(len(ink), -1)
    count = max(4, int(flat.shape[1] * 0.015))
    high = np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(1)
    gain = np.where(high > 1, INK_FULL / np.maximum(high, 1), 0).astype(np.float32)
    return np.clip(ink * gain[:, None, None], 0, INK_FULL).astype(np.uint8)


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
    rows = (np.arange(size)[None] + (shift % np.uint64(size)).astype(int)[:, None]) % size
    columns = (
        np.arange(size)[None] + ((shift >> np.uint64(16)) % np.uint64(size)).astype(int)[:, None]
    ) % size
    number = (which % np.uint64(len(bank))).astype(int)
    return bank[number[:, None, None], rows[:, :, None], columns[:, None, :]]


def _blur(ink: np.ndarray, sigma_px: np.ndarray) -> np.ndarray:
    """A 3-tap kernel each way whose variance is sigma ** 2 (exact up to 0.8 px)."""
    side = np.minimum(sigma_px**2 / 2, 1 / 3).astype(np.float32)[:, None, None]
    for axis in (1, 2):
        padded = np.pad(ink, [(0, 0)] + [(1, 1) if a == axis else (0, 0) for a in (1, 2)])
        before, after = (
            (padded[:, :-2], padded[:, 2:]) if axis == 1 else (padded[:, :, :-2], padded[:, :, 2:])
        )
        ink = ink * (1 - 2 * side) + side * (before + after)
    return ink


def _edge_clutter(ink: np.ndarray, draws: Sequence[Draw], pick: np.ndarray) -> np.ndarray:
    """A printed rule along an edge, or the tip of a neighbour's stroke."""
    size = ink.shape[1]
    for i, draw in enumerate(draws):
        if draw.clutter < 0:
            continue
        bits = int(pick[i])
        along, turns = 2 + bits % (size - 12), (bits >> 8) % 4
        tone = 0.35 + 0.6 * draw.clutter
        view = np.rot90(ink[i], turns)  # a view: the change goes into `ink`
        if draw.clutter < 0.5:
            at = (bits >> 16) % 4
            view[at, :] = np.maximum(view[at, :], INK_FULL * tone)
        else:
            length, lean = 2 + (bits >> 16) % 5, (bits >> 24) % 3 - 1
            for step in range(length):
                x = min(max(along + lean * step, 0), size - 3)
                view[step, x : x + 2] = np.maximum(view[step, x : x + 2], INK_FULL * tone)
    return ink
