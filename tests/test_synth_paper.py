"""Ink and paper: nothing from nothing, each effect as large as its record says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth import canvas, paper
from synth.handwriting import Draw

SIZE = 64
CLEAN = Draw(
    **dict.fromkeys(
        ("slant", "rotation", "aspect_log", "bend_em", "wobble_em", "part_shift_em"), 0.0
    ),
    part_scale_log=0.0,
    part_turn=0.0,
    stroke_px=3.0,
    texture=0.0,
    blur_px=0.0,
    noise=0.0,
    clutter=-1.0,
    field=5,
)


def draws(count: int, **changes: float) -> list[Draw]:
    return [replace(CLEAN, field=1000 + i, **changes) for i in range(count)]


def strokes(count: int = 1) -> np.ndarray:
    """[n, SIZE, SIZE] uint8: a thick cross with soft edges."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[10:54, 28:36] = image[28:36, 10:54] = 255
    image[10:54, 27] = image[10:54, 36] = 100
    return np.repeat(image[None], count, 0)


def test_zero_settings_change_nothing() -> None:
    images = strokes(3)
    assert (paper.write(images, draws(3)) == images).all()
    faint = images // 3  # thin strokes come out gray: only the contrast is stretched
    assert (paper.write(faint, draws(3)) == paper.restretch(faint.astype(np.float32))).all()


def test_restretch_is_the_canvas_restretch() -> None:
    rng = np.random.default_rng(0)
    images = (strokes(8) * rng.uniform(0.2, 1, (8, 1, 1))).astype(np.uint8)
    images[1] = rng.integers(0, 90, (SIZE, SIZE))
    images[2] = 0
    ours = paper.restretch(images.astype(np.float32))
    for image, out in zip(images, ours, strict=True):
        assert np.abs(out.astype(int) - canvas.restretch(image)).max() <= 1


def test_writing_is_pure_and_a_batch_is_its_samples() -> None:
    records = draws(6, texture=0.4, blur_px=0.5, noise=0.03)
    records[2] = replace(records[2], clutter=0.3)
    records[3] = replace(records[3], clutter=0.9)
    images = strokes(6)
    before = images.copy()
    together = paper.write(images, records)
    assert (images == before).all()
    assert (paper.write(images, records) == together).all()
    for i in range(6):
        assert (paper.write(images[i : i + 1], records[i : i + 1])[0] == together[i]).all()


@pytest.mark.parametrize("sigma", [0.2, 0.4, 0.55, 0.8])
def test_blur_has_the_variance_it_says(sigma: float) -> None:
    image = np.zeros((1, SIZE, SIZE), np.float32)
    image[0, 20, 30] = 1
    out = paper._blur(image, np.array([sigma]))[0]
    assert out.sum() == pytest.approx(1, abs=1e-5)
    for axis, centre in ((1, 20), (0, 30)):
        profile = out.sum(axis)
        variance = (profile * (np.arange(SIZE) - centre) ** 2).sum()
        assert variance == pytest.approx(sigma**2, rel=1e-3)


def test_blur_of_different_strengths_in_one_batch() -> None:
    images = strokes(3)
    out = paper.write(images, [replace(CLEAN, blur_px=s) for s in (0.0, 0.3, 0.6)])
    edges = [np.abs(np.diff(o.astype(float), axis=1)).max() for o in out]
    assert edges[0] > edges[1] > edges[2]


def test_texture_takes_ink_away_and_brings_none() -> None:
    images = strokes(40)
    out = paper.write(images, draws(40, texture=0.5))
    assert (out[images == 0] == 0).all()
    # what restretch multiplies by is known from the lightest grain: no pixel gained more
    ratio = out.astype(float) / np.maximum(images, 1)
    gain = ratio.max((1, 2))
    assert (gain < 1.2).all()
    lost = 1 - ratio[images == 255].reshape(40, -1).mean(1) / gain
    assert lost.mean() == pytest.approx(0.25, abs=0.04)  # the mean grain is one half
    assert len({o.tobytes() for o in out}) == 40  # each its own
    weaker = paper.write(images, draws(40, texture=0.1))
    assert weaker.astype(float).mean() > out.astype(float).mean()


def test_noise_has_the_size_it_says() -> None:
    images = strokes(30)
    images[:, 40:60, 2:22] = 128
    out = paper.write(images, draws(30, noise=0.05))
    gray = out[:, 40:60, 2:22].astype(float)
    assert gray.std((1, 2)).mean() == pytest.approx(0.05 * 255, rel=0.1)
    # full ink plus noise sets the contrast, so all else gets a little fainter
    assert 112 < gray.mean() < 128
    # two samples do not share their noise
    pairs = [np.corrcoef(gray[i].ravel(), gray[i + 1].ravel())[0, 1] for i in range(29)]
    assert np.abs(np.mean(pairs)) < 0.1


def test_clutter_stands_at_an_edge_only_and_only_where_asked() -> None:
    images = strokes(60)
    records = draws(60)
    records[::2] = [replace(d, clutter=i / 30) for i, d in enumerate(records[::2])]
    out = paper.write(images, records).astype(int)
    changed = out != images
    assert not changed[1::2].any()
    assert changed[::2].any((1, 2)).all()
    assert not changed[:, 8:-8, 8:-8].any()
    assert (out >= images).all()
    sides = [changed[::2, :8], changed[::2, -8:], changed[::2, :, :8], changed[::2, :, -8:]]
    assert all(side.any((1, 2)).sum() > 3 for side in sides)


def test_grain_is_evenly_spread_and_noise_is_normal() -> None:
    grain, noise = paper._banks(SIZE)
    assert grain.min() >= 0 and grain.max() < 1
    assert np.abs(grain.mean((1, 2)) - 0.5).max() < 0.001
    assert abs(noise.mean()) < 3 / np.sqrt(noise.size) and abs(noise.std() - 0.98) < 0.02
