"""The plan and the pictures: right labels, fair fonts, the same bytes however it is run."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import signal
import tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from types import GeneratorType

import numpy as np
import pytest
from test_synth_likeness import level_1

import synth.render
from synth import other
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas, place
from synth.errors import InputError
from synth.fonts import Coverage, FontFile, find_fonts, open_font
from synth.likeness import GRID, SIZE_PX, features_of, reads_as, strokes
from synth.plan import HELD_OUT_SHARE, Plan, make_plan
from synth.quota import Quota
from synth.render import chunks_of, clean_range, render, render_places, render_range
from synth.store import Sample
from synth.style import Draw, Style

ALPHABET = Alphabet.of("永國一三口心龍風的我中二十日回川bdpq69")
CANVAS = Canvas()
NAMES = ("inkfill-sub-c", "klee-one", "kouzan-brush", "tw-kai", "zen-kurenaido")
FONTS = [f for f in find_fonts() if f.name in NAMES]
CHARS = [c for c in level_1(40) if c not in ALPHABET][:120]
OTHERS = {c: ("confusable", "common", "script")[i % 3] for i, c in enumerate(CHARS)}


def coverages(chars: list[str] | None = None) -> list[Coverage]:
    return [open_font(f).coverage(chars or [*ALPHABET.chars, *OTHERS]) for f in FONTS]


def plan_of(per_class: int = 10, other_images: int = 400, seed: int = 3, **style: float) -> Plan:
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, per_class), other_images, {})
    others = OTHERS if other_images else {}
    looks = replace(Style(), **style)
    return make_plan(ALPHABET, coverages(), others, quota, looks, CANVAS, seed)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="module")
def drawn(plan: Plan) -> tuple[np.ndarray, list[Sample]]:
    chunks = list(render(plan))
    return np.concatenate([c[0] for c in chunks]), [s for c in chunks for s in c[1]]


def digest(chunks: object) -> str:
    total = hashlib.sha256()
    for images, samples in chunks:
        total.update(images.tobytes())
        total.update(repr(samples).encode())
    return total.hexdigest()


def test_one_and_two_workers_write_the_same_bytes(plan: Plan) -> None:
    assert digest(render(plan, 1)) == digest(render(plan, 2))


def test_eight_workers_write_the_same_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images of every kind in more chunks than there are processes."""
    monkeypatch.setattr(synth.render, "CHUNK", 8)
    few = plan_of(1, 60)
    assert len(chunks_of(few)) > 8
    stream = render(few, 8)
    chunks = [next(stream)]
    assert len(multiprocessing.active_children()) == 7  # and this one
    assert digest([*chunks, *stream]) == digest(render(few, 1))


def test_a_sample_depends_on_its_place_alone(
    plan: Plan, drawn: tuple[np.ndarray, list[Sample]]
) -> None:
    images, samples = drawn
    assert len(images) == len(samples) == len(plan)
    part, rows = render_range(plan, 31, 97)
    assert (part == images[31:97]).all() and repr(rows) == repr(samples[31:97])
    at = np.array([500, 3, 611, 3])
    part, rows = render_places(plan, at)
    assert (part == images[at]).all() and repr(rows) == repr([samples[i] for i in at])


def test_another_seed_is_another_page(plan: Plan) -> None:
    again, another = plan_of(), plan_of(seed=4)
    assert digest(render(again)) == digest(render(plan)) != digest(render(another))


def test_counts_are_the_quotas(plan: Plan) -> None:
    counts = Counter(plan.label)
    assert counts == dict.fromkeys(ALPHABET.chars, 10) | {OTHER: 400}
    kinds = Counter(plan.kind)
    assert kinds["character"] == 10 * len(ALPHABET)
    characters = {k: kinds[k] for k in ("confusable", "common", "script")}
    total = 400 - round(400 * other.NON_CHARACTER_SHARE)
    shares = {k: other.KIND_SHARE[k] for k in characters}
    expected = {k: total * s / sum(shares.values()) for k, s in shares.items()}
    assert characters == pytest.approx(expected, abs=1)
    assert sum(kinds[k] for k in other.NON_CHARACTER_KINDS) == 48


def test_fonts_are_dealt_evenly() -> None:
    plan = plan_of(13, 300)
    usable = [c.usable for c in coverages()]
    for number, char in enumerate(plan.chars):
        of_char = (plan.char == number) & ~np.isin(plan.kind.astype(str), other.NON_CHARACTER_KINDS)
        counts = Counter(plan.font[of_char].tolist())
        have = [f for f, chars in enumerate(usable) if char in chars]
        dealt = [counts[f] for f in have]
        assert max(dealt) - min(dealt) <= 1 and sum(dealt) == of_char.sum()
    # and no font is first everywhere
    firsts = Counter(plan.font[np.unique(plan.char, return_index=True)[1]].tolist())
    assert len(firsts) == len(FONTS)


def test_rows_say_what_the_images_show(plan: Plan, drawn: tuple[np.ndarray, list[Sample]]) -> None:
    images, samples = drawn
    assert (images.shape[1:], images.dtype) == ((64, 64), np.uint8)
    for sample in samples:
        assert sample.source == "font" and sample.seed == 3
        font, _, char = sample.origin.partition(":")
        assert font in NAMES and char in plan.chars
        assert Draw.from_json(sample.record).to_json() == sample.record
        if sample.kind in other.NON_CHARACTER_KINDS:
            assert (sample.char, sample.label) == ("", OTHER)
        else:
            assert sample.char == char
            assert sample.label == (char if char in ALPHABET else OTHER)
            assert (sample.kind == "character") == (char in ALPHABET)
    blank = images[plan.kind == "blank"]
    assert len(blank) and ((blank > 0).sum((1, 2)) <= 27).all()
    assert (images[plan.kind != "blank"].max((1, 2)) > 200).all()


def test_held_out_characters_are_in_validation_alone(plan: Plan) -> None:
    characters = ~np.isin(plan.kind.astype(str), other.NON_CHARACTER_KINDS)
    split_of: dict[str, set[str]] = {}
    for char, split in zip(plan.char[characters], plan.split[characters], strict=True):
        split_of.setdefault(plan.chars[char], set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
    held_out = {c for c, splits in split_of.items() if splits == {"val"}}
    assert held_out and not held_out & set(ALPHABET.chars)
    # the near twins of known characters are all for training: the first half, which is the nearer
    confusable = [c for c, kind in OTHERS.items() if kind == "confusable"]
    near = confusable[: len(confusable) // 2]
    assert held_out & set(confusable) and not held_out & set(near)
    may = len(OTHERS) - len(near)
    spread = np.sqrt(HELD_OUT_SHARE * (1 - HELD_OUT_SHARE) / may)
    assert abs(len(held_out) / may - HELD_OUT_SHARE) < 3 * spread
    # nor do the non-characters show them
    odd = np.flatnonzero(~characters)
    assert not {plan.chars[i] for i in plan.char[odd]} & held_out
    assert not {plan.chars[i] for i in plan.partner[odd]} & held_out
    assert set(plan.split[odd]) == {"train", "val"}
    # held out is the character, whatever else is rendered
    again = plan_of(7, 900, seed=3)
    validation = {
        again.chars[c]
        for c, s, k in zip(again.char, again.split, again.kind, strict=True)
        if s == "val" and k in OTHERS.values()
    }
    assert held_out <= validation < set(OTHERS)


def test_fewer_images_than_other_characters() -> None:
    plan = plan_of(1, 40)
    assert Counter(plan.label)[OTHER] == 40
    images, samples = next(iter(render(plan)))
    assert len(images) == len(samples) == len(plan)


def test_only_other_and_only_known() -> None:
    assert set(plan_of(0, 50).label) == {OTHER}
    assert set(plan_of(2, 0).kind) == {"character"}
    with pytest.raises(InputError, match="nothing to render"):
        plan_of(0, 0)


def test_without_other_characters_other_is_non_characters() -> None:
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, 2), 60, {})
    plan = make_plan(ALPHABET, coverages(), {}, quota, Style(), CANVAS, 1)
    assert set(plan.kind) - {"character"} <= set(other.NON_CHARACTER_KINDS)
    assert Counter(plan.label)[OTHER] == 60


def test_a_non_character_does_not_read_as_a_known_one() -> None:
    """b mirrored is d, 6 turned is 9, 中 mirrored is 中, half of 三 is 三: others are drawn."""
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, 1), 700, {})
    plan = make_plan(ALPHABET, coverages(), {}, quota, Style(), CANVAS, 5)
    mirrored = Counter(plan.chars[c] for c in plan.char[plan.kind == "mirrored"])
    assert not set("中口十一三bdpq") & set(mirrored)
    assert set("我龍") & set(mirrored)
    odd = np.isin(
        plan.kind.astype(str), ("cut", "two", "turned", "mirrored", "crossed", "scribble")
    )
    assert odd.sum() > 200
    at = np.flatnonzero(odd)
    images, _ = render_places(replace(plan, style=_still()), at)
    read = 0
    for f in np.unique(plan.font[at]):
        known = [c for c in ALPHABET.chars if open_font(plan.fonts[f]).raw(c) is not None]
        read += reads_as(images[plan.font[at] == f], features_of(plan.fonts[f], known)).sum()
    # the pen and the fit move a few over the bound
    assert read / len(at) < 0.08


def _still() -> Style:
    style = Style().scaled(0)
    return replace(style, texture=0.0, blur_px=0.0, noise=0.0, clutter=0.0, scan=0.0)


def test_render_is_a_stream_in_bounded_memory() -> None:
    plan = plan_of(2000, 0)
    assert len(plan) == 2000 * len(ALPHABET)
    stream = render(plan)
    assert isinstance(stream, GeneratorType)
    list(itertools.islice(stream, 2))  # caches are filled
    tracemalloc.start()
    held, chunk = [], 0
    for images, _samples in itertools.islice(stream, 8):
        held.append(tracemalloc.get_traced_memory()[0])
        chunk = images.nbytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # bytes; all of it would be 180 MB of images alone
    assert held[-1] - held[1] < 3 * chunk  # of the six between none is kept


def test_undeformed_renders_are_read_right() -> None:
    """A nearest-mean reader of the fonts' own glyphs, none the wiser about the renderer."""
    plan = replace(plan_of(10, 0), style=_still())
    images = np.concatenate([chunk for chunk, _ in render(plan)])
    chars = list(plan.chars)
    means = np.zeros((len(chars), 8 * GRID**2), np.float32)
    for file in FONTS:
        have = [c for c in chars if open_font(file).raw(c) is not None]
        means[[chars.index(c) for c in have]] += features_of(file, have).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    small = Canvas(SIZE_PX, margin_px=1)
    found = strokes(np.stack([place(image, small) for image in images])) @ means.T
    right = np.array([chars[i] for i in found.argmax(1)]) == plan.label
    assert right.mean() > 0.9
    upside_down = strokes(np.stack([place(image[::-1], small) for image in images])) @ means.T
    assert (np.array([chars[i] for i in upside_down.argmax(1)]) == plan.label).mean() < 0.5


def test_full_deformation_is_still_mostly_the_character(plan: Plan) -> None:
    """Written with all strength, a character is nearer to its own plain picture than to others."""
    at = np.flatnonzero(plan.kind == "character")
    small = Canvas(SIZE_PX, margin_px=1)

    def features(of: Plan) -> np.ndarray:
        return strokes(np.stack([place(image, small) for image in clean_range(of, at)]))

    bent, plain = features(plan), features(replace(plan, style=_still()))
    alike = bent @ plain.T
    own = plan.char[at][:, None] == plan.char[at]
    nearest = plan.char[at][alike.argmax(1)]
    assert (nearest == plan.char[at]).mean() > 0.75
    assert alike[own].mean() > alike[~own].mean() + 0.1


def test_clean_pictures_are_those_before_ink_and_paper(plan: Plan) -> None:
    at = np.flatnonzero(plan.kind == "character")[:40]
    looks = replace(plan.style, texture=0.0, blur_px=0.0, noise=0.0, clutter=0.0, scan=0.0)
    written, _ = render_places(replace(plan, style=looks), at)
    clean = clean_range(plan, at)
    # soft edges lose the tenth that counts as paper
    assert (clean > written.astype(int) + 27).sum() == 0
    assert np.corrcoef(clean.ravel(), written.ravel())[0, 1] > 0.99


def test_a_plan_that_is_wrong_is_no_picture() -> None:
    plan = plan_of(1, 0)
    missing = FontFile(next(f.path for f in find_fonts() if f.name == "caveat"))
    wrong = replace(plan, fonts=(missing,) * len(plan.fonts))
    with pytest.raises(RuntimeError, match="the plan is wrong"):
        next(iter(render(wrong)))


def test_one_writer_writes_more_alike_than_many(plan: Plan) -> None:
    at = np.flatnonzero(plan.kind == "character")
    for_one = [Draw.from_json(s.record) for s in render_places(replace(plan, writers=1), at)[1]]
    for_all = [Draw.from_json(s.record) for s in render_places(plan, at)[1]]
    assert {d.writer for d in for_one} == {0} and len({d.writer for d in for_all}) > 50
    for name in ("slant", "stroke_px", "blur_px"):
        one, many = (np.std([getattr(d, name) for d in ds]) for ds in (for_one, for_all))
        assert one < 0.9 * many, name


def test_a_killed_worker_is_one_line_and_leaves_no_process(plan: Plan) -> None:
    stream = render(plan_of(600, 0), 2)
    next(stream)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(InputError, match=r"a worker process was killed .*--workers 1"):
        list(stream)
    assert not multiprocessing.active_children()


def test_a_stream_that_is_left_does_not_render_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    shutdown, cancelled = ProcessPoolExecutor.shutdown, []

    def recorded(
        pool: ProcessPoolExecutor, wait: bool = True, cancel_futures: bool = False
    ) -> None:
        cancelled.append(cancel_futures)
        shutdown(pool, wait, cancel_futures=cancel_futures)

    monkeypatch.setattr(ProcessPoolExecutor, "shutdown", recorded)
    stream = render(plan_of(600, 0), 2)
    next(stream)
    stream.close()  # as an interrupt does
    assert cancelled[0] and not multiprocessing.active_children()


def test_an_interrupt_is_the_parents_business(plan: Plan) -> None:
    """Ctrl-C reaches every process of a terminal: the workers say nothing and go on."""
    stream = render(plan, 2)
    chunks = [next(stream)]
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGINT)
    assert digest([*chunks, *stream]) == digest(render(plan))


def test_a_partner_is_drawn_by_a_font_whose_glyph_is_usable() -> None:
    """A font has a glyph for a character, but a refused one: its .notdef, or another character."""
    have = coverages()
    refused = replace(have[0], usable=have[0].usable - {"三"})
    quota = Quota(0, dict.fromkeys(ALPHABET.chars, 1), 300, {})
    plan = make_plan(ALPHABET, [refused, *have[1:]], {}, quota, Style(), CANVAS, 1)
    three = plan.chars.index("三")
    assert open_font(FONTS[0]).outline("三") is not None
    assert plan.font_with(three, 0) != 0 and plan.font_with(three, 1) == 1
    assert plan.font_with(plan.chars.index("心"), 0) == 0
