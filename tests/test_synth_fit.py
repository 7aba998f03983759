"""A style takes over what is measured on real data, and stays where nothing can be measured."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synth.fit
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.fit import Measures, _nearer, fit_style, measure, stroke_width_px
from synth.fonts import Coverage, find_fonts, open_font
from synth.plan import make_plan
from synth.quota import Quota
from synth.render import render
from synth.store import Sample, Store, StoreWriter
from synth.style import Style

CANVAS = Canvas()
NAMES = ("inkfill-sub-c", "klee-one", "kouzan-brush", "tw-kai", "zen-kurenaido")
ALPHABET = Alphabet.of("永國三心龍風的我")
QUOTA = Quota(0, dict.fromkeys(ALPHABET.chars, 60), 0, {})


def coverages(chars: list[str]) -> list[Coverage]:
    return [open_font(f).coverage(chars) for f in find_fonts() if f.name in NAMES]


def images_of(style: Style, have: list[Coverage], seed: int) -> np.ndarray:
    plan = make_plan(ALPHABET, have, {}, QUOTA, style, CANVAS, seed)
    return np.concatenate([chunk for chunk, _ in render(plan)])


def test_stroke_width_of_drawn_bars() -> None:
    bars = np.zeros((3, 64, 64), np.uint8)
    for i, width in enumerate((2, 4, 7)):
        bars[i, 5:55, 20 : 20 + width] = 255
        bars[i, 5:55, 40 : 40 + width] = 255
    expected = [2 * 50 * w / (2 * 50 + 2 * w) for w in (2, 4, 7)]  # sides and ends
    assert stroke_width_px(bars) == pytest.approx(expected, rel=0.02)
    assert stroke_width_px(np.zeros((1, 64, 64), np.uint8)) == 0


def test_lean_climb_and_aspect_of_drawn_bars() -> None:
    y, x = np.mgrid[0:64, 0:64].astype(float)
    slope = np.tan(np.radians(10.0))
    # soft edges, as a pen's: a pixel's gradient has a direction there
    leaning = np.clip(3 - np.abs(x - 32 + (y - 32) * slope), 0, 1) * (np.abs(y - 32) < 25)
    climbing = np.clip(3 - np.abs(y - 32 + (x - 32) * slope), 0, 1) * (np.abs(x - 32) < 25)
    image = (np.maximum(leaning, climbing) * 255).astype(np.uint8)
    found = measure(np.stack([image, image]))
    assert found.lean_deg[0] == pytest.approx(10, abs=2)
    assert found.climb_deg[0] == pytest.approx(10, abs=2)
    wide = np.zeros((2, 64, 64), np.uint8)
    wide[:, 20:40, 10:50] = 255
    assert measure(wide).aspect[0] == pytest.approx(np.log(2), abs=0.01)
    assert measure(wide).full == 1.0
    with pytest.raises(ValueError, match="no image with ink"):
        measure(np.zeros((3, 64, 64), np.uint8))


@pytest.mark.parametrize("pens", [(1.8, 2.1, 2.5), (3.5, 4.0, 4.6)], ids=["fine", "broad"])
def test_a_fitted_style_measures_as_the_real_data(tmp_path: Path, pens: tuple[float, ...]) -> None:
    # a store in other hands than the renderer's: fonts set aside, another pen, lean and ink
    hands = replace(
        Style().scaled(1.3),
        stroke_px=pens,
        slant_mean_deg=6.0,
        climb_mean_deg=5.0,
        aspect_mean_log=-0.2,
        texture=0.8,
        blur_px=0.6,
    )
    store = store_of(tmp_path / "real", hands)

    have = coverages(list(ALPHABET.chars))
    fitted = fit_style(Style(), store, have, seed=1)
    goal = measure(np.asarray(store.images))
    pictures = [images_of(s, have, 77) for s in (fitted, Style())]
    ours, before = (measure(p) for p in pictures)
    # the ink in a box comes out of the pen and the proportions
    ink, first_ink = (p.mean() / store.images.mean() for p in pictures)
    assert abs(ink - 1) < 0.1 and abs(ink - 1) < abs(first_ink - 1)
    assert np.abs(ours.pens_px - goal.pens_px).max() < 0.4  # px
    for name, bound in (("aspect", 0.04), ("lean_deg", 1.2), ("climb_deg", 1.2)):
        wanted, found, first = (getattr(m, name)[0] for m in (goal, ours, before))
        assert abs(found - wanted) < bound, name
        assert abs(found - wanted) < abs(first - wanted) / 2, name
    assert ours.full == pytest.approx(goal.full, abs=0.08)


def store_of(path: Path, hands: Style) -> Store:
    """Real data in the hands of a style, by a font that the renderer does not draw with."""
    files = [f for f in find_fonts(writers=True) if f.name == "inkfill-sub-d"]
    writers = [open_font(f).coverage(ALPHABET.chars) for f in files]
    plan = make_plan(ALPHABET, writers, {}, QUOTA, hands, CANVAS, 9)
    with StoreWriter(path, CANVAS, ALPHABET, {}) as writer:
        for images, samples in render(plan):
            writer.append(images, [replace(s, source="real") for s in samples])
    return Store.open(path)


def test_deviations_and_sharpness_are_taken_over(tmp_path: Path) -> None:
    looks = replace(Style(), slant_deg=13.0, aspect_log=0.26, blur_px=1.2)
    store = store_of(tmp_path / "real", looks)
    have = coverages(list(ALPHABET.chars))
    fitted = fit_style(Style(), store, have, seed=1)
    goal = measure(np.asarray(store.images))
    ours, before = (measure(images_of(s, have, 77)) for s in (fitted, Style()))
    for name in ("aspect", "lean_deg"):
        wanted, found, first = (getattr(m, name)[1] for m in (goal, ours, before))
        assert abs(np.log(found / wanted)) < 0.7 * abs(np.log(first / wanted)), name
    wanted, found, first = (m.sharp for m in (goal, ours, before))
    assert abs(np.log(found / wanted)) < 0.6 * abs(np.log(first / wanted))


MEASURED = Measures(np.linspace(2, 5, 7), (0.1, 0.2), (1.0, 6.0), (2.0, 3.0), 0.5, 0.3)


@pytest.mark.parametrize(
    "changes, name, sign",
    [
        ({"pens_px": MEASURED.pens_px + 0.4}, "stroke_px", 1),
        ({"aspect": (0.2, 0.2)}, "aspect_mean_log", 1),
        ({"aspect": (0.1, 0.1)}, "aspect_log", -1),
        ({"aspect": (0.1, 0.3)}, "aspect_log", 1),
        ({"lean_deg": (-3.0, 6.0)}, "slant_mean_deg", -1),
        ({"lean_deg": (1.0, 3.0)}, "slant_deg", -1),
        ({"lean_deg": (1.0, 9.0)}, "slant_deg", 1),
        ({"climb_deg": (4.0, 3.0)}, "climb_mean_deg", 1),
        ({"full": 0.7}, "texture", -1),
        ({"full": 0.3}, "texture", 1),
        ({"sharp": 0.4}, "blur_px", -1),
        ({"sharp": 0.2}, "blur_px", 1),
    ],
)
def test_each_measure_moves_its_own_part_of_the_style(
    changes: dict[str, Any], name: str, sign: int
) -> None:
    same = _nearer(Style(), MEASURED, MEASURED, 1.0)
    assert same == Style()
    moved = _nearer(Style(), replace(MEASURED, **changes), MEASURED, 1.0)
    assert {f.name for f in fields(Style) if getattr(moved, f.name) != getattr(same, f.name)} == {
        name
    }
    assert np.all(np.sign(np.subtract(getattr(moved, name), getattr(same, name))) == sign)


def test_an_empty_or_blank_real_store_leaves_the_style(tmp_path: Path) -> None:
    alphabet = Alphabet.of("永")
    have = coverages(["永"])
    for split in ("val", "train"):
        with StoreWriter(tmp_path / split, CANVAS, alphabet, {}) as writer:
            rows = [Sample("永", "永", "real", split)] * 3
            writer.append(np.zeros((3, 64, 64), np.uint8), rows)
        assert fit_style(Style(), Store.open(tmp_path / split), have, 1) == Style()


def test_ink_too_faint_to_be_measured_leaves_the_style(tmp_path: Path) -> None:
    images = np.zeros((3, 64, 64), np.uint8)
    images[:, 10:50, 30:34] = 60
    with StoreWriter(tmp_path / "faint", CANVAS, Alphabet.of("永"), {}) as writer:
        writer.append(images, [Sample("永", "永", "real", "train")] * 3)
    with pytest.raises(ValueError, match="no image with ink"):
        measure(images)
    assert fit_style(Style(), Store.open(tmp_path / "faint"), coverages(["永"]), 1) == Style()


class Measured(Exception):
    """In place of a style: only what is measured first is looked at."""


def first_measured(
    store: Store, have: list[Coverage], monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    def stop(images: np.ndarray) -> None:
        raise Measured(images)

    monkeypatch.setattr(synth.fit, "measure", stop)
    with pytest.raises(Measured) as caught:
        fit_style(Style(), store, have, 1, checked=True)
    return caught.value.args[0]


@pytest.mark.parametrize("images", [3, 8, 90])
def test_the_images_measured_are_of_all_hands(
    images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows stand by label and name, and names begin with the writer."""
    monkeypatch.setattr(synth.fit, "IMAGES", 16)  # 8 of each of two characters
    with StoreWriter(tmp_path / "s", CANVAS, Alphabet.of("永國"), {}) as writer:
        for char in "永國":
            tones = np.linspace(101, 255, images).astype(np.uint8)  # one a hand
            rows = [Sample(char, char, "real")] * images
            writer.append(np.repeat(tones, 64 * 64).reshape(-1, 64, 64), rows)
    store, have = Store.open(tmp_path / "s"), coverages(["永", "國"])
    shown = first_measured(store, have, monkeypatch)[:, 0, 0].astype(int)
    assert len(shown) == 2 * min(8, images)
    of_one = np.sort(shown)[::2]
    assert (of_one == np.sort(shown)[1::2]).all()  # the same hands of both
    if images <= 8:
        assert len(set(of_one)) == images
    else:
        assert np.abs(of_one - np.linspace(110, 246, 8)).max() < 4


def test_many_classes_are_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chars = [chr(code) for code in range(0x4E00, 0x4E00 + 6000)]
    with StoreWriter(tmp_path / "s", Canvas(16, 1), Alphabet.of(chars), {}) as writer:
        writer.append(np.full((6000, 16, 16), 200, np.uint8), [Sample(c, c, "real") for c in chars])
    font = coverages(["永"])[0].font
    have = [Coverage(font, frozenset(chars), {})]
    store = Store.open(tmp_path / "s")
    start = time.process_time()
    assert len(first_measured(store, have, monkeypatch)) == 6 * 200 // 6
    assert time.process_time() - start < 1  # 6,000 times a set of 6,000 takes some seconds


def test_a_larger_canvas_has_a_larger_pen(tmp_path: Path) -> None:
    """Bounds of the pen were those of 64 px: a usual pen of 256 px was drawn too thin."""
    canvas = Canvas(256, 20)
    alphabet = Alphabet.of("永十木口")
    have = coverages([*alphabet.chars])
    marker = replace(Style().on(canvas), stroke_px=(18.0,) * 7)
    quota = Quota(0, dict.fromkeys(alphabet.chars, 40), 0, {})
    plan = make_plan(alphabet, have, {}, quota, marker, canvas, 3)
    with StoreWriter(tmp_path / "real", canvas, alphabet, {}) as writer:
        for images, samples in render(plan):
            writer.append(images, [replace(s, source="real", split="train") for s in samples])
    real = Store.open(tmp_path / "real")
    wanted = np.median(stroke_width_px(np.asarray(real.images)))
    fitted = fit_style(Style().on(canvas), real, have, 5)
    plan = make_plan(alphabet, have, {}, quota, fitted, canvas, 4)
    drawn = np.concatenate([images for images, _ in render(plan)])
    assert wanted > 13
    assert abs(np.median(stroke_width_px(drawn)) / wanted - 1) < 0.08
