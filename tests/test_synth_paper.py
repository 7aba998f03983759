"""Ink and paper: nothing from nothing, each effect as large as its record says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth import canvas, paper
from synth.canvas import Canvas
from synth.style import Draw

SIZE, CANVAS = 64, Canvas(64)
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


def write(images: np.ndarray, records: list[Draw]) -> np.ndarray:
    return paper.write(images, records, CANVAS)


def strokes(count: int = 1) -> np.ndarray:
    """[n, SIZE, SIZE] uint8: a thick cross with soft edges."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[10:54, 28:36] = image[28:36, 10:54] = 255
    image[10:54, 27] = image[10:54, 36] = 100
    return np.repeat(image[None], count, 0)


def test_zero_settings_take_away_what_the_import_takes_for_paper() -> None:
    images = strokes(3)
    out = write(images, draws(3))
    assert (out[images == 255] >= 254).all() and (out[images == 0] == 0).all()
    # a soft edge of 100 of 255, less a tenth, stretched to full ink again
    assert np.abs(out[images == 100] - (100 - 25.5) / 0.9).max() <= 1
    imported = canvas.place(canvas.ink_of(255 - images[0]), CANVAS)
    mine = canvas.place(images[0], CANVAS)  # the same geometry
    assert (
        np.abs(imported.astype(int) - canvas.place(out[0], CANVAS)).mean()
        < np.abs(imported.astype(int) - mine).mean()
    )
    faint = images // 3  # thin strokes come out gray: the contrast is stretched
    assert (write(faint, draws(3)).max((1, 2)) >= 252).all()


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
    records[2] = replace(records[2], clutter=0.3, scan_px=40, shade=0.1)
    records[3] = replace(records[3], clutter=0.9, scan_px=70, jpeg=60)
    images = strokes(6)
    before = images.copy()
    together = write(images, records)
    assert (images == before).all()
    assert (write(images, records) == together).all()
    for i in range(6):
        assert (write(images[i : i + 1], records[i : i + 1])[0] == together[i]).all()


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
    out = write(images, [replace(CLEAN, blur_px=s) for s in (0.0, 0.3, 0.6)])
    edges = [np.abs(np.diff(o.astype(float), axis=1)).max() for o in out]
    assert edges[0] > edges[1] > edges[2]


def test_texture_takes_ink_away_and_brings_none() -> None:
    images = strokes(40)
    out = write(images, draws(40, texture=0.5))
    assert (out[images == 0] == 0).all()
    assert len({o.tobytes() for o in out}) == 40  # each its own
    # tones of the core spread as far as the strength says, less the tenth that is cut
    core = out[:, 12:52, 30:34].reshape(40, -1) / 255.0
    lost = 1 - core.min(1) / core.max(1)
    assert 0.35 < np.median(lost) < 0.65
    weaker = write(images, draws(40, texture=0.1))
    assert weaker.astype(float).mean() > out.astype(float).mean()


def test_noise_has_the_size_it_says_on_ink_and_leaves_paper_white() -> None:
    images = strokes(30)
    images[:, 40:60, 2:22] = 128
    out = write(images, draws(30, noise=0.03))
    gray = out[:, 40:60, 2:22].astype(float)
    # full ink and its noise, less a tenth, sets the contrast
    gain = 255 / (255 * (1 + 2.2 * 0.03) - 25.5)
    assert gray.std((1, 2)).mean() == pytest.approx(0.03 * 255 * gain, rel=0.1)
    assert (out[images == 0] > 0).mean() < 0.002  # 10 % is more than three deviations
    pairs = [np.corrcoef(gray[i].ravel(), gray[i + 1].ravel())[0, 1] for i in range(29)]
    assert np.abs(np.mean(pairs)) < 0.1  # two samples do not share their noise


def test_what_stands_clear_of_the_writing_never_shows() -> None:
    """The import keeps the writing's box: its margins are white, whatever stood there."""
    images = strokes(60)
    records = [
        replace(d, clutter=(i % 10) / 10, scan_px=40 + i % 50) for i, d in enumerate(draws(60))
    ]
    out = write(images, records)
    edge = CANVAS.margin_px - 1
    for side in (out[:, :edge], out[:, -edge:], out[:, :, :edge], out[:, :, -edge:]):
        assert not side.any()
    assert (out.max((1, 2)) >= 254).all()
    lines = np.array([r.clutter < 0.5 for r in records])
    ink = np.abs(out.astype(int) - write(images, [replace(r, clutter=-1.0) for r in records]))
    touched = ink.reshape(60, -1).mean(1) > 3
    assert touched[lines].any() and touched[~lines].any()  # some of each kind show


def test_grain_is_evenly_spread_and_noise_is_normal() -> None:
    grain, noise = paper._banks(SIZE)
    assert grain.min() >= 0 and grain.max() < 1
    assert np.abs(grain.mean((1, 2)) - 0.5).max() < 0.001
    assert abs(noise.mean()) < 3 / np.sqrt(noise.size) and abs(noise.std() - 0.98) < 0.02


def test_a_picked_image_is_rolled() -> None:
    bank = np.random.default_rng(0).random((5, 16, 16), np.float32)
    which = np.array([0, 7, 4, 3, 3], np.uint64)
    shift = np.array([0, 3, 5 << 16, (15 << 16) + 15, (16 << 16) + 32], np.uint64)
    rolled = [
        np.roll(bank[n], (-y, -x), (0, 1))
        for n, y, x in ((0, 0, 0), (2, 3, 0), (4, 0, 5), (3, 15, 15), (3, 0, 0))
    ]
    assert np.array_equal(paper._picked(bank, which, shift), rolled)


def test_blur_is_three_taps_with_nothing_beyond_the_edge() -> None:
    ink = np.random.default_rng(0).random((2, 9, 7)).astype(np.float32)
    sigma = np.array([0.5, 0.0])
    side = np.minimum(sigma**2 / 2, 1 / 3).astype(np.float32)
    wanted = ink.copy()
    for image, s in zip(wanted, side, strict=True):
        for axis in (0, 1):
            taps = np.array([s, 1 - 2 * s, s], np.float32)
            rows = np.apply_along_axis(np.convolve, axis, image, taps, "same")
            image[:] = rows
    assert np.allclose(paper._blur(ink, sigma), wanted, atol=1e-6)
    assert (paper._blur(ink, sigma)[1] == ink[1]).all()


def test_a_batch_of_scanned_samples_alone_and_an_empty_one() -> None:
    record = replace(CLEAN, scan_px=60, shade=0.1)
    together = write(strokes(3), [record, CLEAN, record])
    assert (write(strokes(1), [record])[0] == together[0]).all()
    assert (write(strokes(1), [CLEAN])[0] == together[1]).all()
    assert write(strokes(0), []).shape == (0, SIZE, SIZE)
