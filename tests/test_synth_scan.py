"""What a scan does to a character: each number of the record changes what it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_synth_paper import CANVAS, CLEAN, SIZE, strokes

from synth import scan
from synth.scan import scanned, sheets

SCAN = replace(CLEAN, scan_px=60)
NO_GRIT = np.zeros((SIZE, SIZE), np.float32)


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What the scanner gives, before the import: [h, w] uint8 a sheet."""
    seen: list[np.ndarray] = []
    imported = scan.ink_of

    def ink_of(tone: np.ndarray) -> np.ndarray:
        seen.append(tone)
        return imported(tone)

    monkeypatch.setattr(scan, "ink_of", ink_of)
    return seen


def one(
    field: int = 5, ink: np.ndarray | None = None, beside: np.ndarray | None = None, **changes
) -> np.ndarray:
    draw = replace(SCAN, field=field, **changes)
    u = sheets(np.array([field]))[0]
    return scanned(strokes()[0] if ink is None else ink, beside, NO_GRIT, draw, u, CANVAS)


def fields_where(test) -> list[int]:
    u = sheets(np.arange(400))
    return [i for i in range(400) if test(u[i])]


def noisy() -> np.ndarray:
    """Strokes with much detail, which JPEG cannot keep."""
    rng = np.random.default_rng(3)
    return (strokes()[0] * rng.uniform(0.3, 1, (SIZE, SIZE))).astype(np.uint8)


def test_jpeg_of_less_quality_is_farther_from_the_scan(pages: list[np.ndarray]) -> None:
    far = []
    for quality in (0, 95, 70, 45):
        one(ink=noisy(), jpeg=quality)
        far.append(np.abs(pages[-1].astype(float) - pages[0]).mean())
    assert far[0] == 0 < far[1] < far[2] < far[3]
    results = [one(ink=noisy(), jpeg=q).astype(float) for q in (0, 95, 45)]
    assert 0 < np.abs(results[1] - results[0]).mean() < np.abs(results[2] - results[0]).mean()


@pytest.mark.parametrize("shade", [0.0, 0.05, 0.12, 0.3])
def test_shade_is_the_fall_of_the_papers_tone(pages: list[np.ndarray], shade: float) -> None:
    for field in range(8):
        one(field, shade=shade)
        page = pages[-1].astype(float)
        corners = page[[0, 0, -1, -1], [0, -1, 0, -1]]
        # the paper at its lightest corner has its own tone, at the darkest that much less
        paper = 190 + 60 * sheets(np.array([field]))[0, 5]
        assert corners.max() == pytest.approx(paper, abs=1.5)
        assert 1 - corners.min() / corners.max() == pytest.approx(shade, abs=0.015)


def test_a_shaded_scan_leaves_a_wash() -> None:
    """The paper's tone is that of the border: what is darker inside counts as faint ink."""
    plain, *shaded = [
        [one(f, shade=s).astype(float) for f in range(40)] for s in (0, 0.05, 0.12, 0.3)
    ]
    far = [np.abs(np.array(s) - plain).mean() for s in shaded]
    assert 0 < far[0] < far[1] < far[2]
    assert (np.array(shaded[2]) > 0).mean() > 1.1 * (np.array(plain) > 0).mean()


@pytest.mark.parametrize("longer", [34, 60, 92])
def test_the_writing_is_scanned_at_its_resolution(pages: list[np.ndarray], longer: int) -> None:
    ink = strokes()[0]
    ink[:, :26] = 0  # taller than wide
    one(ink=ink, scan_px=longer)
    page = pages[-1]
    rows = np.flatnonzero((page < page.max() - 20).any(1))
    assert np.ptp(rows) + 1 == longer


def test_a_low_resolution_has_softer_edges_in_the_end() -> None:
    steps = [
        np.diff([one(f, scan_px=px).astype(float) for f in range(20)], axis=2) for px in (34, 92)
    ]
    soft, sharp = ((s**2).sum() / np.abs(s).sum() for s in steps)  # the mean step of an edge
    assert soft < 0.9 * sharp


@pytest.mark.parametrize("clutter, luma", [(0.0, 157), (0.2, 160), (0.45, 178)])
def test_lines_have_the_colour_of_the_record(
    pages: list[np.ndarray], clutter: float, luma: int
) -> None:
    for field in range(6):
        one(field)
        one(field, clutter=clutter)
        plain, ruled = (p.astype(float) for p in pages[-2:])
        changed = (ruled != plain) & (plain == plain.max())  # on paper
        assert changed.any()
        # where two lines cross it is darker
        wanted = 0.25 * plain.max() + 0.75 * luma
        assert np.median(ruled[changed]) == pytest.approx(wanted, abs=1)


def ticks() -> np.ndarray:
    """[SIZE, SIZE]: two ticks at its right and at its bottom edge, one at its left and top."""
    image = np.zeros((SIZE, SIZE), np.uint8)
    image[18:24, 49:59] = image[40:46, 49:59] = image[29:35, 5:15] = 255
    image[49:59, 18:24] = image[49:59, 40:46] = image[5:15, 29:35] = 255
    return image


@pytest.mark.parametrize("side, runs", [(0, 2), (1, 1), (2, 2), (3, 1)])
def test_the_neighbour_shows_its_near_edge(pages: list[np.ndarray], side: int, runs: int) -> None:
    """Left of the writing the next one's right edge, below it the next one's top edge."""
    for field in fields_where(lambda u: int(u[4] * 4) == side)[:10]:
        one(field, beside=ticks(), clutter=0.7)
        page = pages[-1]
        edge = (page[:, 0], page[:, -1], page[0], page[-1])[side]
        dark = edge < page.max() - 30
        assert (np.diff(dark.astype(int), prepend=0) == 1).sum() == runs
        others = [e for k, e in enumerate((page[:, 0], page[:, -1], page[0], page[-1]))]
        others.pop(side)
        # no other edge is touched, but where the neighbour meets a corner
        assert all((e[5:-5] == page.max()).all() for e in others)


def test_another_neighbour_is_another_image_and_none_is_the_same_once_more() -> None:
    fields = range(60)
    own = [one(f, clutter=0.7) for f in fields]
    itself = [one(f, beside=strokes()[0], clutter=0.7) for f in fields]
    nothing = [one(f, beside=np.zeros((SIZE, SIZE), np.uint8), clutter=0.7) for f in fields]
    another = [one(f, beside=ticks(), clutter=0.7) for f in fields]
    assert all((a == b).all() for a, b in zip(own, itself, strict=True))
    assert all((a == b).all() for a, b in zip(own, nothing, strict=True))
    assert sum((a != b).any() for a, b in zip(own, another, strict=True)) > 20
    # a record without a neighbour does not look at it
    assert (one(3, beside=ticks()) == one(3)).all()


def test_a_neighbour_larger_or_smaller_than_the_writing_fits() -> None:
    flat = np.zeros((SIZE, SIZE), np.uint8)
    flat[30:33, 5:59] = 255
    for field in range(40):
        for ink, beside in ((flat, ticks()), (ticks(), flat), (flat, flat.T), (flat.T, flat)):
            out = one(field, ink=np.ascontiguousarray(ink), beside=beside, clutter=0.9)
            assert out.shape == (SIZE, SIZE) and out.any()


def test_no_writing_is_no_image() -> None:
    blank = np.zeros((SIZE, SIZE), np.uint8)
    assert not one(ink=blank, beside=ticks(), clutter=0.9).any()
