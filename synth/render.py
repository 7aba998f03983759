"""Fonts -> a store: the pictures of a plan's places.

Sample i depends on the plan and on (seed, i) alone, so the store is the same for any number of
workers; its picture on its row alone (see `synth.redraw`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import starmap

import numpy as np

from synth import handwriting, other, paper
from synth.canvas import Canvas
from synth.fonts import FontFile, open_font, planned_outlines
from synth.memory import keep_freed_memory
from synth.plan import CHUNK, Plan
from synth.raster import rasterise
from synth.store import Sample
from synth.workers import in_order

BLOCK = 64  # samples drawn at once: their pictures stay in the cache
Glyph = tuple[FontFile, str]


def render(plan: Plan, workers: int = 1) -> Iterator[tuple[np.ndarray, list[Sample]]]:
    """Chunks of ([n, H, W] uint8, samples) in order; memory is bounded for any length of plan."""
    ranges = chunks_of(plan)
    workers = min(workers, len(ranges))
    here = partial(render_range, plan)
    keep_freed_memory()
    if workers <= 1:
        yield from starmap(here, ranges)
        return
    items = (((), place) for place in ranges)
    ahead = 4 * workers
    for _, chunk in in_order(_render_received, items, workers, ahead, _receive, (plan,), here):
        yield chunk


def chunks_of(plan: Plan) -> list[tuple[int, int]]:
    """First and last + 1 of each chunk of places."""
    return [(i, min(i + CHUNK, len(plan))) for i in range(0, len(plan), CHUNK)]


_received: Plan | None = None  # a worker process's plan: sent once, not with every chunk


def _receive(plan: Plan) -> None:
    global _received
    _received = plan
    keep_freed_memory()


def _render_received(start: int, stop: int) -> tuple[np.ndarray, list[Sample]]:
    assert _received is not None
    return render_range(_received, start, stop)


def clean_range(plan: Plan, at: np.ndarray) -> np.ndarray:
    """[n] places of the plan -> [n, H, W] uint8 characters without ink grain and paper. Pure."""
    return _drawn([plan.glyph(i) for i in at.tolist()], plan.draws(at), plan.canvas)


def render_range(plan: Plan, start: int, stop: int) -> tuple[np.ndarray, list[Sample]]:
    """Samples start..stop of the plan. Pure."""
    blocks = [
        render_places(plan, np.arange(i, min(i + BLOCK, stop))) for i in range(start, stop, BLOCK)
    ]
    return np.concatenate([b[0] for b in blocks]), [s for b in blocks for s in b[1]]


def render_places(plan: Plan, at: np.ndarray) -> tuple[np.ndarray, list[Sample]]:
    """[n] places of the plan -> [n, H, W] uint8, n samples. Pure."""
    draws = plan.draws(at)
    glyphs = [plan.glyph(i) for i in at.tolist()]
    beside = [
        plan.second_glyph(i) if draw.beside else None
        for i, draw in zip(at.tolist(), draws, strict=True)
    ]
    images = pictures(glyphs, beside, plan.kind[at].tolist(), draws, plan.canvas)
    samples = [
        Sample(
            label=plan.label[i],
            char="" if plan.kind[i] in other.NON_CHARACTER_KINDS else char,
            source="font",
            split=plan.split[i],
            kind=plan.kind[i],
            origin=f"{font.name}:{char}",
            record=draw.to_json(),
            seed=plan.seed,
        )
        for i, (font, char), draw in zip(at, glyphs, draws, strict=True)
    ]
    return images, samples


def pictures(
    glyphs: Sequence[Glyph],
    beside: Sequence[Glyph | None],  # [n] what the records name as `beside`
    kinds: Sequence[str],
    draws: Sequence[handwriting.Draw],
    canvas: Canvas,
) -> np.ndarray:
    """n glyphs, each as its kind and its record say -> [n, H, W] uint8. Pure."""
    clean = _drawn(glyphs, draws, canvas)
    second = np.zeros_like(clean)
    if there := [i for i, glyph in enumerate(beside) if glyph]:
        second[there] = _drawn(
            [glyph for glyph in beside if glyph], [draws[i] for i in there], canvas
        )
    if odd := [i for i, kind in enumerate(kinds) if kind in other.NON_CHARACTER_KINDS]:
        fields = np.array([draws[i].field for i in odd])
        clean[odd] = other.non_characters(
            clean[odd], second[odd], [kinds[i] for i in odd], fields, canvas
        )
    images = paper.write(clean, draws, canvas, second)
    # stretching the contrast of nothing would show noise as ink
    blank = [i for i, kind in enumerate(kinds) if kind == "blank"]
    images[blank] = clean[blank]
    return images


def _drawn(
    glyphs: Sequence[Glyph], draws: Sequence[handwriting.Draw], canvas: Canvas
) -> np.ndarray:
    outlines = planned_outlines([(open_font(font), char) for font, char in glyphs])
    return rasterise(handwriting.apply(outlines, draws, canvas), canvas)
