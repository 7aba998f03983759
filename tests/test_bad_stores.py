"""A damaged store ends in an error that names it, or opens with parts that agree."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bad_cases import Case, mutations, try_all

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

MEMORY_MIB = 500
FILES = ("images.npy", "samples.parquet", "store.json")


def opens(case: tuple[Path, str, bytes]) -> str:
    """Opens a copy of a store with one file replaced, and reads all of it."""
    good, file, data = case
    with tempfile.TemporaryDirectory() as top:
        place = Path(top) / "store"
        shutil.copytree(good, place)
        (place / file).write_bytes(data)
        try:
            store = Store.open(place)
        except InputError as error:
            assert str(place) in str(error)
            raise
        assert store.images.shape == (len(store), store.canvas.size_px, store.canvas.size_px)
        assert store.table.num_rows == len(store)
        int(store.images.sum())
        for name in store.table.schema.names:
            store.column(name)
        store.classes()
        str(store.content)
    return "opened"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "good", Canvas(size_px=16), Alphabet.of("永國A"), {}) as writer:
        for split in ("train", "val"):
            labels = ("永", "國", "A", "other")
            writer.append(
                rng.integers(0, 256, (4, 16, 16), np.uint8),
                [
                    Sample(c, "" if c == "other" else c, "real", split, origin="a.png")
                    for c in labels
                ],
            )
    return tmp_path / "good"


@pytest.mark.parametrize("each", [21, pytest.param(150, marks=pytest.mark.slow)])
def test_damaged_stores(store: Path, each: int) -> None:
    cases: list[Case] = [
        (f"{file}, {what}", (store, file, data))
        for file in FILES
        for what, data in mutations((store / file).read_bytes(), each, seed=each)
    ]
    outcomes = try_all(opens, cases, MEMORY_MIB)
    assert outcomes.total() == len(cases) and outcomes["refused"] > len(cases) / 4, outcomes
