"""The preview: a font, a hand, a kind a row, and real images of the same characters between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_synth_render import ALPHABET, CANVAS, FONTS, coverages, plan_of

from synth import other, sheets
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.plan import Plan
from synth.render import render_places
from synth.sheets import HANDS, REAL_EVERY, preview_rows
from synth.store import Sample, Store, StoreWriter
from synth.style import Draw

COLUMNS = 8
Drawn = list[tuple[Plan, list[Sample]]]


@pytest.fixture(scope="module")
def studio() -> SimpleNamespace:
    """What a preview asks of a studio."""
    return SimpleNamespace(plan=plan_of(12, 300), alphabet=ALPHABET, coverages=coverages())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The samples of each row that is rendered."""
    seen: Drawn = []

    def recorded(plan: Plan, at: np.ndarray) -> tuple[np.ndarray, list[Sample]]:
        images, samples = render_places(plan, at)
        seen.append((plan, samples))
        return images, samples

    monkeypatch.setattr(sheets, "render_places", recorded)
    return seen


def test_a_writers_row_is_one_hand(studio: SimpleNamespace, drawn: Drawn) -> None:
    rows = preview_rows(studio, COLUMNS)
    titles = [title for title, _ in rows]
    assert titles[: len(FONTS)] == [f.name for f in FONTS]
    assert titles[len(FONTS) : len(FONTS) + HANDS] == [f"writer {i + 1}" for i in range(HANDS)]
    hands = []
    for _, samples in drawn[len(FONTS) : len(FONTS) + HANDS]:
        assert len(samples) == COLUMNS and len({s.origin.split(":")[0] for s in samples}) == 1
        records = [Draw.from_json(s.record) for s in samples]
        # what a hand has of its own, and no character adds to
        [hand] = {(d.writer, d.blur_px, d.noise, d.part_shift_em, d.pressure) for d in records}
        hands.append(hand)
        assert len({d.slant for d in records}) > 1
    assert len(set(hands)) == HANDS
    # a font's row is in many hands
    assert len({Draw.from_json(s.record).writer for s in drawn[0][1]}) > COLUMNS // 2


def test_a_kinds_row_shows_that_kind(studio: SimpleNamespace, drawn: Drawn) -> None:
    rows = preview_rows(studio, COLUMNS)
    there = {*studio.plan.kind} - {"character"}
    kinds = [title for title, _ in rows[len(FONTS) + HANDS :]]
    order = (*other.CHARACTER_KINDS, *other.NON_CHARACTER_KINDS)
    assert kinds == [k for k in order if k in there] and len(kinds) > 8
    for kind, (_, samples) in zip(kinds, drawn[len(FONTS) + HANDS :], strict=True):
        assert {s.kind for s in samples} == {kind} and {s.label for s in samples} == {"other"}


@pytest.mark.parametrize("seed", [2**63 - 1, 2**63 - 2, 0])
def test_the_largest_seed_has_writers_too(studio: SimpleNamespace, drawn: Drawn, seed: int) -> None:
    rows = preview_rows(
        SimpleNamespace(plan=replace(studio.plan, seed=seed), alphabet=ALPHABET), COLUMNS
    )
    pictures = {row.tobytes() for title, row in rows if title.startswith("writer")}
    assert len(pictures) == HANDS


def real_store(path: Path, counts: dict[str, int]) -> Store:
    """Each image has a tone of its own, from 1."""
    with StoreWriter(path, CANVAS, ALPHABET, {}) as writer:
        tone = 0
        for label, count in counts.items():
            for split in ("train", "val"):
                images = np.zeros((count, 64, 64), np.uint8)
                images += np.arange(tone + 1, tone + count + 1, dtype=np.uint8)[:, None, None]
                tone += count
                samples = [Sample(label, label, "real", split)] * count
                writer.append(images, samples)
    return Store.open(path)


def test_real_images_of_the_same_characters_stand_between(
    studio: SimpleNamespace, tmp_path: Path
) -> None:
    picked = sheets._spread(list(ALPHABET.chars), COLUMNS)
    real = real_store(tmp_path / "real", {picked[0]: 9, picked[3]: 1, "other": 3})
    rows = preview_rows(studio, COLUMNS, real)
    plain = preview_rows(studio, COLUMNS)
    rendered = [row for row in rows if row[0] != "real"]
    for (title, picture), (wanted, same) in zip(rendered, plain, strict=True):
        assert title == wanted and (picture == same).all()
    at = [i for i, (title, _) in enumerate(rows) if title == "real"]
    assert at[0] == REAL_EVERY and at[-1] == len(rows) - 1
    labels, splits = real.column("label"), real.column("split")
    shown: list[int] = []
    for i in at:
        tiles = rows[i][1].reshape(64, COLUMNS, 64)[0, :, 0].tolist()
        for column, tone in enumerate(tiles):
            if tone:
                label = labels[tone - 1]
                assert splits[tone - 1] == "train"
                assert label == ("other" if i == at[-1] else picked[column])
                shown.append(tone)
    assert len(shown) == len(set(shown)) == (len(at) - 1) + 1 + 3  # none twice
    elsewhere = next(c for c in ALPHABET.chars if c not in picked)
    none = preview_rows(studio, COLUMNS, real_store(tmp_path / "none", {elsewhere: 2}))
    assert [title for title, _ in none] == [title for title, _ in plain]


# ---- stores side by side ----


def store_of(path: Path, tones: dict[str, list[int]], size_px: int = 32) -> Store:
    """Images of one tone each, by label; all in split "train"."""
    with StoreWriter(path, Canvas(size_px, 2), Alphabet.of("一二三"), {}) as writer:
        for label, values in tones.items():
            images = np.repeat(np.uint8(values), size_px**2).reshape(-1, size_px, size_px)
            writer.append(images, [Sample(label, label, "real")] * len(values))
    return Store.open(path)


def test_stores_stand_side_by_side_a_label_a_row(tmp_path: Path) -> None:
    one = store_of(tmp_path / "one", {"一": [10, 20, 30, 40, 50], "三": [60]})
    two = store_of(tmp_path / "two", {"一": [100], "二": [110, 120]})
    sheets.write_side_by_side([one, two], tmp_path / "sheet.png", ["一", "二", "三"], columns=3)
    ink = 255 - np.asarray(Image.open(tmp_path / "sheet.png"))[sheets._NAMES_PX :]
    block = 3 * 32 + sheets._GAP_PX
    assert ink.shape == (3 * 32, 2 * block)
    middle = ink[16::32].reshape(3, 2, block)[:, :, 16:96:32]  # [label, store, image]
    # of five images the first, the middle one and the last
    assert middle[:, 0].tolist() == [[10, 30, 50], [0, 0, 0], [60, 0, 0]]
    assert middle[:, 1].tolist() == [[100, 0, 0], [110, 120, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("size_px", "chars", "split", "why"),
    [
        (48, ["一"], "train", "48 px"),
        (32, ["三"], "train", "'三': no store"),
        (32, ["一"], "test", "split 'test'"),
    ],
)
def test_what_cannot_stand_side_by_side_is_named(
    tmp_path: Path, size_px: int, chars: list[str], split: str, why: str
) -> None:
    stores = [store_of(tmp_path / "one", {"一": [1]})]
    stores.append(store_of(tmp_path / "two", {"二": [2]}, size_px))
    with pytest.raises(InputError, match=why):
        sheets.write_side_by_side(stores, tmp_path / "sheet.png", chars, split=split)
    assert not (tmp_path / "sheet.png").exists()


def test_labels_that_are_not_named_are_of_those_with_images(tmp_path: Path) -> None:
    """The alphabet has 一, 二 and 三."""
    one = store_of(tmp_path / "one", {"三": [60], "other": [9]})
    two = store_of(tmp_path / "two", {"二": [110]})
    for stores, tones in (([one], [60]), ([one, two], [60, 110])):
        sheets.write_side_by_side(stores, tmp_path / "sheet.png", rows=12, columns=1)
        ink = 255 - np.asarray(Image.open(tmp_path / "sheet.png"))[sheets._NAMES_PX :]
        assert sorted(set(ink[16::32, 16 :: 32 + sheets._GAP_PX].ravel()) - {0}) == tones
        assert len(ink) == 32 * len(tones)
    with pytest.raises(InputError, match=r"one: no store has an image of .* in split 'val'"):
        sheets.write_side_by_side([one], tmp_path / "sheet.png", split="val")


def test_the_command_draws_some_of_the_alphabet(tmp_path: Path, load_script) -> None:
    store_of(tmp_path / "one", {"一": [10], "二": [20], "三": [30]})
    call = f"{tmp_path / 'one'} --out {tmp_path / 'sheet.png'} --rows 2 --columns 1"
    script = load_script("contact_sheet")
    script.main(script.options().parse_args(call.split()))
    ink = 255 - np.asarray(Image.open(tmp_path / "sheet.png"))[sheets._NAMES_PX :]
    first, last = sorted("一二三")[0], sorted("一二三")[-1]
    tone = {"一": 10, "二": 20, "三": 30}
    assert ink[16::32, 16].tolist() == [tone[first], tone[last]]
