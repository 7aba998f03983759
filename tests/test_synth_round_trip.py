"""A store through an export and back: nothing of it is lost, and what it says of itself neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_images

from synth import provenance
from synth.about import MAX_NOTE_BYTES, About
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.corpus import import_images
from synth.errors import InputError
from synth.export import FORMATS, export_store
from synth.fonts import FontFile, find_fonts
from synth.found import parse_row
from synth.provenance import learned_from, origins
from synth.redraw import changed
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio
from synth.style import Style

WITH_ROWS = [form for form in FORMATS if form != "gnt"]
CHARS = "ABCD"  # of D there is no image


def few_fonts(*_: object) -> list[FontFile]:
    return [f for f in find_fonts() if f.name in ("klee-one", "caveat")]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """A real store with a licence, and what is rendered for it."""
    top = tmp_path_factory.mktemp("stores")
    images = write_images(top / "images", dict.fromkeys("ABC", 6))
    real = import_images(
        images, top / "real", Alphabet.of(CHARS), Canvas(), val_share=0.3, licence="CC0-1.0"
    )
    (top / "quota.csv").write_text("label,images\nA,2\nB,2\nC,2\nother,800\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synth.studio.find_fonts", few_fonts)
        patch.setattr("synth.studio.MAX_CANDIDATES", 50)
        studio = Studio.prepare(
            real.alphabet, real, style=Style(), quota_file=top / "quota.csv", other_chars=20
        )
        font = studio.render_to(top / "font", 1, {"seed": 1, "real": "elsewhere"})
    yield real, font


def back(store: Store, form: str, folder: Path, **options: object) -> Store:
    path = export_store(store, form, folder / f"out{FORMATS[form]}").path
    settings: dict = {"alphabet": None, "as_is": True} | options
    return import_images(path, folder / "again", canvas=store.canvas, **settings)


@pytest.mark.parametrize("form", WITH_ROWS)
def test_a_rendered_store_comes_back_whole(
    stores: tuple[Store, Store], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, font = stores
    blank = ~np.asarray(font.images).any((1, 2))
    assert blank.sum() > 1  # all alike
    again = back(font, form, tmp_path)
    assert again.content == font.content and len(again) == len(font)
    assert again.alphabet == font.alphabet == Alphabet.of(CHARS)
    assert learned_from(again).content == real.content
    monkeypatch.setattr(provenance, "font_licences", dict)  # the notes alone say them
    assert origins(again) == origins(font)
    assert not any(o.licence == "not stated" for o in origins(again))
    # and once more: how the first one was made is what is carried on
    (tmp_path / "more").mkdir()
    twice = back(again, form, tmp_path / "more")
    assert twice.info["made"]["exported"] == font.info["made"]
    assert twice.content == font.content


@pytest.mark.parametrize("form", WITH_ROWS)
def test_the_licence_and_the_place_of_real_images_come_back(
    stores: tuple[Store, Store], form: str, tmp_path: Path
) -> None:
    real, _ = stores
    again = back(real, form, tmp_path)
    assert again.content == real.content and again.alphabet == real.alphabet
    assert origins(again) == origins(real) and origins(again)[0].licence == "CC0-1.0"
    (tmp_path / "more").mkdir()
    (told,) = origins(back(again, form, tmp_path / "more", licence="mine"))
    assert told.licence == "mine" and told.place == origins(real)[0].place


def test_images_beside_those_of_an_export_have_not_its_licence(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    real, _ = stores
    folder = export_store(real, "folder", tmp_path / "out").path
    write_images(folder, {"B": 1}, first_seed=900)  # B/000.png
    again = import_images(folder, tmp_path / "again", None, Canvas())
    assert len(again) == len(real) + 1
    assert origins(again)[0].licence == "not stated" and again.alphabet == real.alphabet


def test_files_of_two_stores_are_told_as_neither(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    (tmp_path / "both").mkdir()
    for number, store in enumerate(stores):
        export_store(store, "webdataset", tmp_path / "both" / f"{number}.tar")
    again = import_images(tmp_path / "both", tmp_path / "again", None, Canvas(), as_is=True)
    assert len(again) == sum(map(len, stores))
    assert again.info["made"]["licence"] is None and "exported" not in again.info["made"]
    assert "run" not in again.info["notes"] and again.alphabet == Alphabet.of("ABC")


def test_a_drawn_image_under_another_label_is_still_drawn_as_it_was(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    _, font = stores
    few = Alphabet.of("AB")
    again = back(font, "webdataset", tmp_path, alphabet=few, outside="other")
    assert again.alphabet == few and len(again) == len(font)
    rows = np.flatnonzero((again.column("char") == "C") & (again.column("label") == OTHER))
    was = font.table.to_pylist()
    was = {row["sha256"]: row for row in was if row["label"] == "C"}
    assert len(rows) == len(was) == 2
    for row in again.table.take(rows).to_pylist():
        before = was[row["sha256"]]
        for name in ("origin", "record", "seed", "source", "split"):
            assert row[name] == before[name]
        assert row["kind"] == "unknown" and row["record"]
    assert not len(changed(again, rows, few_fonts()))


@pytest.mark.parametrize("source", ["real", "font", "gan"])
def test_copies_are_left_out_of_what_is_written_alone(source: str, tmp_path: Path) -> None:
    """One that is equal to another, and one that is nearly a validation image."""
    folder = write_images(tmp_path / "images", {"A": 6})
    images = np.array(import_images(folder, tmp_path / "s", None, Canvas(), val_share=0).images)
    images[1] = images[0]
    images[3] = np.roll(images[2], 1, axis=1)
    splits = ["train", "train", "val", "train", "train", "train"]
    samples = [Sample("A", "A", source, split, origin=f"x:{i}") for i, split in enumerate(splits)]
    with StoreWriter(tmp_path / "store", Canvas(), Alphabet.of("A"), {}) as writer:
        writer.append(images, samples)
    store = Store.open(tmp_path / "store")
    again = back(store, "webdataset", tmp_path)
    left = {"real": 4, "font": 6, "gan": 6}[source]
    assert len(again) == left
    notes = again.info["notes"]
    assert (len(notes["duplicates"]), len(notes["near_copies"])) == (
        (1, 1) if left == 4 else (0, 0)
    )
    # the note that no training image is a copy stands where that was looked at
    assert ("apart" in notes) == (source == "real")


def test_a_note_that_is_too_long_and_what_an_import_found_stay_behind(
    stores: tuple[Store, Store],
) -> None:
    real, _ = stores
    notes = {"run": "gan", "refused": ["x" * MAX_NOTE_BYTES], "skipped": {"a": "b"}, "apart": {}}
    about = About.of(replace(real, info={**real.info, "notes": notes}))
    assert about.notes == {"run": "gan"}
    assert About.parse(about.value()) == about


@pytest.mark.parametrize(
    "told",
    ["3", "{}", '{"made": 1, "notes": {}, "alphabet": ["a"]}', '{"made": {}, "notes": {}}']
    + [
        f'{{"made": {{}}, "notes": {{}}, "alphabet": {chars}}}'
        for chars in ('["b", "a"]', "[]", "[1]")
    ],
)
def test_what_no_store_says_of_itself_is_damaged(told: str) -> None:
    with pytest.raises(InputError, match="what it says of its store is damaged"):
        parse_row(f'{{"label": "a", "char": "a", "source": "real", "store": {told}}}')
