"""The pixel codec has an inverse; `normalise` sees the same drawing whatever holds it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from conftest import draw_strokes
from PIL import Image, ImageDraw
from scipy import ndimage

from synth.canvas import (
    Canvas,
    _median,
    ink_box,
    normalise,
    place,
    restretch,
    to_float,
    to_gray,
    to_uint8,
)
from synth.decode import decode, open_image
from synth.errors import InputError

CANVAS = Canvas()


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


# ---- codec ----


def test_codec_is_exact_both_ways() -> None:
    tones = np.arange(256, dtype=np.uint8)
    values = to_float(tones)
    assert values.dtype == np.float32
    assert (values[0], values[255]) == (-1, 1)
    assert np.array_equal(to_uint8(values), tones)
    steps = np.diff(values)
    assert np.allclose(steps, 2 / 255, atol=1e-6)


def test_codec_clips_and_rounds_to_the_nearest() -> None:
    assert to_uint8(np.array([-3.0, 3.0, 0.0])).tolist() == [0, 255, 128]
    half_step = 1 / 255
    tones = np.arange(1, 255, dtype=np.uint8)
    for nudge in (-0.9 * half_step, 0.9 * half_step):
        assert np.array_equal(to_uint8(to_float(tones) + nudge), tones)


# ---- modes ----


def as_mode(image: Image.Image, mode: str) -> Image.Image:
    """The same picture, held in another way."""
    gray = np.asarray(image)
    if mode == "inverted":
        return Image.fromarray(255 - gray)
    if mode == "16 bit":
        return Image.fromarray(gray.astype(np.uint16) * 257)
    if mode == "12 bit in 16":
        return Image.fromarray(((gray.astype(np.uint32) * 4095 + 127) // 255).astype(np.uint16))
    if mode == "32 bit":
        return Image.fromarray(gray.astype(np.int32) * 257)
    if mode == "float 0..1":
        return Image.fromarray(gray.astype(np.float32) / 255)
    if mode == "float -1..1":
        return Image.fromarray(gray.astype(np.float32) / 127.5 - 1)
    if mode == "black ink, alpha":  # black everywhere, the drawing is in the alpha channel
        black = np.zeros_like(gray)
        return Image.fromarray(np.dstack([black, black, black, 255 - gray]))
    if mode == "LA":
        return Image.fromarray(np.dstack([np.zeros_like(gray), 255 - gray]), "LA")
    if mode == "P":
        return image.convert("RGB").quantize(256)
    if mode == "P, transparent paper":
        paletted = Image.fromarray(gray).convert("P")
        paletted.info["transparency"] = 255  # the palette's entry of the paper
        return paletted
    return image.convert(mode)


TOLERANCE = {  # largest difference of a pixel, of 255; the rest of the modes are exact
    "RGB": 1,
    "RGBA": 1,
    "CMYK": 1,
    "YCbCr": 4,
    "P": 1,
    "black ink, alpha": 1,
    "LA": 1,
    "float -1..1": 6,  # stretched to the darkest ink, which is not 0
}


@pytest.mark.parametrize(
    "mode",
    [
        *("RGB", "RGBA", "CMYK", "YCbCr", "P", "P, transparent paper", "inverted"),
        *("16 bit", "12 bit in 16", "32 bit", "float 0..1", "float -1..1"),
        *("black ink, alpha", "LA"),
    ],
)
def test_the_same_drawing_in_any_mode(mode: str) -> None:
    image = draw_strokes(1)
    wanted = normalise(image, CANVAS).astype(int)
    got = normalise(as_mode(image, mode), CANVAS).astype(int)
    assert np.abs(got - wanted).max() <= TOLERANCE.get(mode, 0)
    assert wanted.max() == 255


def test_one_bit_image() -> None:
    image = draw_strokes(1)
    hard = image.point(lambda tone: 255 * (tone > 128))
    assert np.array_equal(normalise(hard.convert("1"), CANVAS), normalise(hard, CANVAS))


def test_transparent_background_is_white_paper() -> None:
    image = draw_strokes(2)
    clear = image.convert("RGBA")
    pixels = np.asarray(clear).copy()
    pixels[np.asarray(image) == 255] = (0, 0, 0, 0)  # what most programs write for "nothing"
    got = to_gray(Image.fromarray(pixels))
    assert np.array_equal(got, np.asarray(image))


@pytest.mark.parametrize(
    ("dtype", "tones"), [(np.uint8, (0.95, 0.5, 0.1)), (np.uint16, (0.95, 0.5))]
)
def test_blank_paper_with_grain_is_all_zero(dtype: type, tones: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    full = np.iinfo(dtype).max
    for tone in tones:
        paper = rng.normal(tone, 0.008, (60, 70)).clip(0, 1) * full
        assert not normalise(Image.fromarray(paper.astype(dtype)), CANVAS).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (2, 2), (300, 200)])
def test_constant_images_of_any_size_are_all_zero(size: tuple[int, int]) -> None:
    for tone in (0, 128, 255):
        got = normalise(Image.new("L", size, tone), CANVAS)
        assert got.shape == (64, 64)
        assert got.dtype == np.uint8
        assert not got.any()


def test_pixels_that_are_no_numbers() -> None:
    values = np.full((20, 20), np.nan, np.float32)
    with pytest.raises(InputError, match="finite"):
        normalise(Image.fromarray(values), CANVAS)


# ---- geometry ----


def test_translation_does_not_matter() -> None:
    image = draw_strokes(3)
    wanted = normalise(image, CANVAS)
    for left, top, right, bottom in [(30, 0, 0, 0), (0, 45, 0, 0), (7, 9, 60, 20)]:
        size = (image.width + left + right, image.height + top + bottom)
        moved = Image.new("L", size, 255)
        moved.paste(image, (left, top))
        # more paper means more pixels among which the ink's tone is found
        assert mean_difference(normalise(moved, CANVAS), wanted) < 2


@pytest.mark.parametrize("scale", [1.5, 3, 10])
def test_scale_does_not_matter(scale: float) -> None:
    image = draw_strokes(4, 96)
    large = image.resize((round(96 * scale), round(96 * scale)), Image.Resampling.BICUBIC)
    # of 255, mean over all pixels: what resampling alone costs
    assert mean_difference(normalise(large, CANVAS), normalise(image, CANVAS)) < 8


@pytest.mark.parametrize("strength", [0.15, 0.4, 1.0])
@pytest.mark.parametrize("paper", [255, 200])
def test_ink_strength_and_paper_tone_do_not_matter(strength: float, paper: int) -> None:
    gray = np.asarray(draw_strokes(5)).astype(float)
    faint = paper - (255 - gray) * strength * paper / 255
    got = normalise(Image.fromarray(np.rint(faint).astype(np.uint8)), CANVAS)
    assert mean_difference(got, normalise(draw_strokes(5), CANVAS)) < 2


@pytest.mark.parametrize(("size_px", "margin_px"), [(64, 5), (32, 2), (128, 10)])
def test_the_writing_fills_the_box_and_stands_in_the_middle(size_px: int, margin_px: int) -> None:
    canvas = Canvas(size_px, margin_px)
    image = Image.new("L", (200, 100), 255)
    ImageDraw.Draw(image).rectangle((20, 30, 99, 49), fill=0)  # 80 x 20
    rows, cols = np.nonzero(normalise(image, canvas))
    assert (cols.min(), cols.max()) == (margin_px, size_px - margin_px - 1)
    assert rows.max() - rows.min() + 1 == pytest.approx(canvas.box_px / 4, abs=1)
    assert rows.min() + rows.max() == pytest.approx(size_px - 1, abs=1)


def test_what_lies_within_the_slack_is_moved_and_not_scaled() -> None:
    drawn = np.zeros((64, 64), np.uint8)
    drawn[5:59, 20:23] = drawn[30:32, 9:55] = 255  # 54 high
    for picture in (drawn, np.roll(drawn, (3, -4), (0, 1)), np.pad(drawn, 20)):
        assert np.array_equal(place(picture, CANVAS, slack_px=1), drawn)
    shorter = drawn.copy()
    shorter[58] = 0  # 53 high
    assert np.array_equal(place(shorter, CANVAS, slack_px=1), shorter)
    assert (place(shorter, CANVAS).any(1).sum(), shorter.any(1).sum()) == (54, 53)
    # a higher one is scaled: a box of its own size has nothing outside
    for rows in (slice(4, 59), slice(4, 60)):
        higher = drawn.copy()
        higher[rows, 20:23] = 255
        higher[2, 2] = 255  # a speck
        fitted = place(higher, CANVAS, slack_px=1)
        assert fitted.any(1).sum() == 54 and not fitted[:5].any() and not fitted[59:].any()
    # ink is full all the same
    assert np.array_equal(place(drawn // 2, CANVAS, slack_px=1), drawn)
    assert not place(np.zeros_like(drawn), CANVAS, slack_px=1).any()


def test_specks_and_printed_lines_do_not_move_the_box() -> None:
    ink = np.zeros((100, 100), np.uint8)
    ink[30:60, 40:70] = 255
    assert ink_box(ink) == (30, 40, 60, 70)
    ink[5, 5] = 255  # a speck
    ink[:, 0:3] = 255  # a form's line along the left edge
    ink[97:, :50] = 0
    assert ink_box(ink) == (30, 40, 60, 70)
    assert ink_box(np.zeros((9, 9), np.uint8)) is None


def test_restretch_brings_the_core_to_full_ink_and_keeps_zero() -> None:
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 30:34] = 100
    image[20:40, 34] = 50
    got = restretch(image)
    assert set(np.unique(got)) == {0, 127, 255}
    assert not restretch(np.zeros((8, 8), np.uint8)).any()


def test_ink_tones_follow_the_reference() -> None:
    """The look-up by tone gives what the same formula gives pixel by pixel."""
    from synth.canvas import ink_of

    gray = np.asarray(draw_strokes(6))
    ink = 255.0 - gray
    count = int(ink.size * 0.015)
    high = np.sort(ink.ravel())[-count:].mean()
    wanted = np.clip((ink - 0.10 * high) * (255 / (0.82 * high)), 0, 255).astype(np.uint8)
    assert np.array_equal(ink_of(gray), wanted)


def box_by_scipy(ink: np.ndarray) -> tuple[int, int, int, int] | None:
    """The same rule on scipy's connected parts."""
    labels, _ = ndimage.label(ink > 80, structure=np.ones((3, 3), bool))
    sizes = np.bincount(labels.ravel())[1:]
    height, width = ink.shape
    kept = []
    for size, (rows, cols) in zip(sizes, ndimage.find_objects(labels), strict=True):
        h, w = rows.stop - rows.start, cols.stop - cols.start
        at_edge = rows.start == 0 or cols.start == 0 or rows.stop == height or cols.stop == width
        level, upright = h <= 0.06 * height and w >= 0.8 * width, w <= 0.06 * width
        is_rule = at_edge and (level or (upright and h >= 0.8 * height))
        if size >= 0.004 * sizes.sum() and not is_rule:
            kept.append((rows.start, cols.start, rows.stop, cols.stop))
    return (*np.min(kept, 0)[:2].tolist(), *np.max(kept, 0)[2:].tolist()) if kept else None


def test_the_box_is_that_of_scipys_connected_parts() -> None:
    rng = np.random.default_rng(0)
    found = set()
    for k in range(300):
        ink = np.zeros(rng.integers(8, 90, 2), np.uint8)
        ink[rng.random(ink.shape) < rng.choice([0.001, 0.01, 0.3])] = 255  # specks, or one tangle
        height, width = ink.shape
        for _ in range(int(rng.integers(0, 4))):
            y, x = rng.integers(0, height), rng.integers(0, width)
            ink[y : y + int(rng.integers(1, 30)), x : x + int(rng.integers(1, 30))] = 200
        if k % 3 == 0:
            ink[:, :1] = 255  # a rule
        for picture in (ink, ink.T, ink[::-1, ::2]):  # as arrays lie in memory too
            assert ink_box(picture) == box_by_scipy(picture)
            found.add(ink_box(picture) is None)
    assert found == {False, True}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 251, 252])
def test_the_median_by_counting_is_numpys(count: int) -> None:
    rng = np.random.default_rng(count)
    for spread in (1, 3, 256):
        tones = rng.integers(0, spread, count).astype(np.uint8)
        assert _median(tones) == np.median(tones)


# ---- modes that files can have and Pillow does not turn into gray by itself ----


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        ("LAB", "TIFF"),
        ("I;16", "TIFF"),
        ("F", "TIFF"),
        ("CMYK", "TIFF"),
        ("P", "PNG"),
    ],
)
def test_a_file_of_any_mode_is_seen_as_it_is(mode: str, form: str) -> None:
    image = draw_strokes(1)
    gray = np.asarray(image)
    if mode == "I;16":
        held = Image.fromarray(gray.astype(np.uint16) * 257)
    elif mode == "F":
        held = Image.fromarray(gray.astype(np.float32) / 255)
    elif mode == "P":
        held = as_mode(image, "P, transparent paper")
    else:
        held = image.convert("RGB").convert(mode)
    data = saved(held, form)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == mode
    tones = to_gray(open_image(data)).astype(int)
    assert np.abs(tones - gray).max() <= (3 if mode == "LAB" else 1)
    assert np.abs(decode(data, CANVAS).astype(int) - normalise(image, CANVAS)).max() <= 8


def test_every_mode_of_pillow_is_gray_or_refused() -> None:
    modes = (
        *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"),
        *("LAB", "I", "F", "I;16", "I;16L", "I;16B"),
    )
    for mode in modes:
        tones = to_gray(Image.new(mode, (9, 7)))
        assert tones.shape == (7, 9) and tones.dtype == np.uint8


def test_premultiplied_alpha_is_put_on_white() -> None:
    image = draw_strokes(2)
    clear = Image.fromarray(np.dstack([np.zeros_like(image), 255 - np.asarray(image)]), "LA")
    for mode in ("La", "RGBa"):
        held = (clear if mode == "La" else clear.convert("RGBA")).convert(mode)
        assert np.abs(to_gray(held).astype(int) - np.asarray(image)).max() <= 1


def test_what_pillow_cannot_convert_is_an_input_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("conversion from X to L not supported")

    monkeypatch.setattr(Image.Image, "convert", broken)
    with pytest.raises(InputError, match="mode RGB that cannot be converted"):
        to_gray(Image.new("RGB", (4, 4)))
