"""A stored image is drawn again from its row: origin, kind and record, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from test_synth_provenance import write_run
from test_synth_render import ALPHABET, CANVAS, FONTS, plan_of

from synth import other
from synth.command import run
from synth.errors import InputError
from synth.fonts import FontFile, find_fonts
from synth.plan import Plan
from synth.redraw import _named, changed, redraw
from synth.render import render
from synth.store import Sample, Store, StoreWriter
from synth.style import Draw

# much paper: lines, neighbours, shade and JPEG in half of the images
PAPER = {"clutter": 0.4, "scan": 0.3, "noise": 0.05}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(6, 500, **PAPER)


@pytest.fixture(scope="module")
def store(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("redraw") / "store"
    with StoreWriter(path, CANVAS, ALPHABET, {}) as writer:
        for images, samples in render(plan):
            writer.append(images, samples)
    return Store.open(path)


def test_stored_images_are_drawn_again_byte_for_byte(store: Store) -> None:
    rows = np.random.default_rng(1).permutation(len(store))
    again = redraw(store, rows, FONTS)
    assert (again == store.images[rows]).all()
    assert not len(changed(store, rows, FONTS))
    kinds = set(store.column("kind"))
    assert kinds >= {"character", "confusable", *other.NON_CHARACTER_KINDS}
    records = [Draw.from_json(r) for r in store.column("record")]
    assert sum(d.clutter >= 0.5 for d in records) > 100 and sum(d.jpeg > 0 for d in records) > 100


def test_the_record_names_what_stands_beside_and_it_shows(store: Store, tmp_path: Path) -> None:
    chars, kinds = store.column("origin"), store.column("kind")
    records = [Draw.from_json(r) for r in store.column("record")]
    named = [bool(d.beside) for d in records]
    wanted = [
        kind in other.OF_TWO or d.clutter >= 0.5 for kind, d in zip(kinds, records, strict=True)
    ]
    assert named == wanted
    beside = [d.beside for d in records if d.beside]
    assert len(set(beside)) > 50
    own = [o for o, d in zip(chars, records, strict=True) if d.beside]
    assert np.mean([a == b for a, b in zip(own, beside, strict=True)]) < 0.1
    # with another character beside it a "two" is another image, and so is a neighboured scan
    klee = next(f for f in FONTS if f.name == "klee-one")
    for rows in (
        np.flatnonzero(kinds == "two"),
        np.flatnonzero([d.clutter >= 0.5 and k == "character" for k, d in zip(kinds, records)]),  # noqa: B905
    ):
        changed = [replace(records[i], beside=f"{klee.name}:龍").to_json() for i in rows]
        there = store.column("record")[rows]
        assert (np.array(changed) != there).mean() > 0.9
        another = _with_records(tmp_path / str(len(rows)), store, rows, changed)
        again = redraw(another, np.arange(len(rows)), FONTS)
        differ = (again != store.images[rows]).any((1, 2))
        assert differ.mean() > 0.5  # some neighbours stand clear of the writing


def _with_records(path: Path, store: Store, rows: np.ndarray, records: list[str]) -> Store:
    names = ("label", "char", "source", "split", "kind", "origin")
    columns = [store.column(n)[rows] for n in names]
    samples = [Sample(*row, record=r) for *row, r in zip(*columns, records, strict=True)]
    with StoreWriter(path, CANVAS, ALPHABET, {}) as writer:
        writer.append(np.zeros((len(rows), 64, 64), np.uint8), samples)
    return Store.open(path)


def test_held_out_characters_are_no_neighbours_in_training(plan: Plan, store: Store) -> None:
    held_out = set(store.column("char")[store.column("split") == "val"]) - {""}
    train = store.column("split") == "train"
    beside = {Draw.from_json(r).beside[-1:] for r in store.column("record")[train]} - {""}
    assert held_out and beside and not held_out & beside


def test_images_that_are_drawn_otherwise_now_are_named_by_an_audit(
    tmp_path: Path,
    store: Store,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = np.flatnonzero(store.column("kind") == "character")[:8]
    columns = [store.column(n)[rows] for n in ("label", "char", "source", "split", "kind")]
    more = {n: store.column(n)[rows] for n in ("origin", "record")}
    samples = [
        Sample(*row, origin=origin, record=record)
        for *row, origin, record in zip(*columns, *more.values(), strict=True)
    ]
    real = np.zeros((1, 64, 64), np.uint8)
    images = store.take(rows)
    stores = []
    for name in ("now", "older"):
        with StoreWriter(tmp_path / name, CANVAS, ALPHABET, {}) as writer:
            writer.append(images, samples)
            writer.append(real, [Sample("永", "永", "real")])  # which no font draws
        stores.append(Store.open(tmp_path / name))
        images[[1, 5], 0, 0] ^= 255
    now, older = stores
    assert changed(older, np.array([7, 5, 0, 1]), FONTS).tolist() == [5, 1]
    script = load_script("audit")

    def audited(drawn: Store, *more: str) -> tuple[int, str]:
        write_run(tmp_path / "run", [now, drawn])
        code = run(script.options(), script.main, ["--model", str(tmp_path / "run"), *more])
        told = capsys.readouterr()
        return code, told.out + told.err

    code, told = audited(older)
    assert code == 0 and "again" not in told and "otherwise" not in told
    code, told = audited(older, "--redraw", "9")
    names = [f"row {row} ({more['origin'][row]})" for row in (1, 5)]
    assert code == 2 and f"older: 2 of 8 font images are drawn otherwise now: {names[0]}, " in told
    assert f"{names[1]}; an older version" in told
    code, told = audited(now, "--redraw", "3")
    assert code == 0 and told.count("now: 3 font images drawn again, all as they are stored") == 2
    code, told = audited(now, "--redraw", "-1")
    assert code == 2 and "--redraw -1: must be 0 or more" in told


def test_what_cannot_be_drawn_again_is_an_error(tmp_path: Path, store: Store) -> None:
    row = np.flatnonzero(store.column("kind") == "two")[:1]
    with pytest.raises(InputError, match=r"row \d+: drawn with the font '.*', which is not there"):
        redraw(store, np.arange(len(store)), FONTS[:1])
    other_font = tmp_path / "klee-one.woff"
    shutil.copy(next(f for f in find_fonts() if f.name == "caveat").path, other_font)
    fonts = [FontFile(other_font), *(f for f in FONTS if f.name != "klee-one")]
    with pytest.raises(InputError, match=r"row \d+: the font 'klee-one' has no '.' any more"):
        redraw(store, np.arange(len(store)), fonts)
    old = replace(Draw.from_json(store.column("record")[row[0]]), beside="").to_json()
    sample = Sample("other", "", "font", kind="two", origin=store.column("origin")[row[0]])
    real = Sample("永", "永", "real")
    with StoreWriter(tmp_path / "old", CANVAS, ALPHABET, {}) as writer:
        writer.append(np.zeros((2, 64, 64), np.uint8), [replace(sample, record=old), real])
    older = Store.open(tmp_path / "old")
    with pytest.raises(InputError, match="row 0: an older record"):
        redraw(older, np.array([0]), FONTS)
    with pytest.raises(InputError, match="row 1: a real image, which no font draws"):
        redraw(older, np.array([1]), FONTS)


@pytest.mark.parametrize(
    "record",
    ["", "[1, 2", "[]", "[" * 100_000, None],
    ids=["empty", "cut", "no values", "brackets", "a word"],
)
def test_a_damaged_record_is_one_line_that_names_the_row(
    tmp_path: Path,
    store: Store,
    record: str | None,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the last, one number of a whole record is a word."""
    row = int(np.flatnonzero(store.column("kind") == "character")[0])
    whole = str(store.column("record")[row])
    if record is None:
        record = whole.replace(whole[1 : whole.index(",")], '"words"', 1)
    damaged = _with_records(tmp_path / "damaged", store, np.array([row, row]), [whole, record])
    with pytest.raises(InputError, match="damaged, row 1: a damaged record") as told:
        redraw(damaged, np.arange(2), FONTS)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400
    with StoreWriter(tmp_path / "real", CANVAS, ALPHABET, {}) as writer:
        writer.append(np.zeros((1, 64, 64), np.uint8), [Sample("永", "永", "real")])
    write_run(tmp_path / "run", [Store.open(tmp_path / "real"), damaged])
    script = load_script("audit")
    line = ["--model", str(tmp_path / "run"), "--redraw", "2"]
    assert run(script.options(), script.main, line) == 2
    assert "damaged, row 1: a damaged record" in capsys.readouterr().err


def test_names_with_a_colon() -> None:
    """A font file may be called so, and so may a character."""
    assert _named("a:b:永", {"a:b": FONTS[0]}, "x") == (FONTS[0], "永")
    klee = next(f for f in FONTS if f.name == "klee-one")
    assert _named("klee-one::", {"klee-one": klee}, "x") == (klee, ":")
