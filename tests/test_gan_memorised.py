"""Copies of training images are told from other images of the same character."""

import tracemalloc

import numpy as np
import pytest
from conftest import draw_strokes
from scipy import ndimage
from scipy.spatial.distance import cdist

from gan import memorised
from gan.memorised import COPY_BELOW, UNRELATED, Neighbours, shrunk, unit
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter


def drawings(count: int, first: int = 0) -> np.ndarray:
    """[count, 64, 64] uint8 ink, each another picture."""
    return np.stack([255 - np.asarray(draw_strokes(first + i, 64)) for i in range(count)])


@pytest.fixture(scope="module")
def known() -> Neighbours:
    images = drawings(45)
    return Neighbours(shrunk(images), np.repeat(["a", "b", "c"], [20, 20, 5]))


def test_distances_are_those_of_all_pairs(known):
    images, char = drawings(9, 100), np.array(["a", "b", "c"] * 3)
    found = known.distances(images, char)
    for i, c in enumerate(char):
        rows = unit(known.small[known.char == c])
        away = cdist(unit(shrunk(images[i : i + 1])), rows).min()
        among = cdist(rows, rows) + 9 * np.eye(len(rows))
        medians = {n: np.median(known.among_real(n)) for n in "ab"}
        if c in medians:
            assert np.isclose(np.median(among.min(1)), medians[c], rtol=1e-3)
        # a class of five is measured by the typical class
        scale = medians.get(c, np.median(list(medians.values())))
        assert np.isclose(found[i], away / scale, rtol=1e-3)


def test_blocks_of_rows_give_the_same(known, monkeypatch):
    images, char = drawings(45, 100), np.repeat(["a", "b", "c"], 15)
    whole = known.distances(images, char)
    monkeypatch.setattr(memorised, "_ROWS", 4)
    again = Neighbours(known.small, known.char)
    assert np.allclose(again.distances(images, char), whole, rtol=1e-5)
    assert np.allclose(again.among_real("a"), known.among_real("a"), atol=1e-5)


def test_a_large_class_takes_little_memory_and_a_sample_for_its_median(monkeypatch):
    """All with all of 5,000 would be 100 MB, of 100,000 forty GB."""
    rng = np.random.default_rng(0)
    large = Neighbours(rng.integers(0, 256, (5000, 4, 4)).astype(np.uint8), np.repeat("a", 5000))
    tracemalloc.start()
    among = large.among_real("a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(among) == memorised.MEDIAN_IMAGES == 2000 and peak < 25e6
    assert np.array_equal(among, large.among_real("a"))
    # each of the sample to the nearest of the whole class, not of the sample alone
    monkeypatch.setattr(memorised, "MEDIAN_IMAGES", 5000)
    whole = large.among_real("a")
    assert np.isclose(np.median(among), np.median(whole), rtol=0.01)
    assert np.isin(np.round(among, 4), np.round(whole, 4)).all()


def test_copies_are_near_and_strangers_are_not(known):
    images, char = drawings(20), np.repeat("a", 20)
    assert (known.distances(images, char) < 0.05).all()
    rng = np.random.default_rng(0)
    grain = (images * (1 - 0.3 * rng.random(images.shape))).astype(np.uint8)
    thicker = ndimage.grey_dilation(images, (1, 2, 2))
    for copies in (grain, thicker):
        assert (known.distances(copies, char) < COPY_BELOW).mean() > 0.95
    strangers = known.distances(drawings(200, 1000), np.repeat("a", 200))
    assert (strangers < COPY_BELOW).mean() < 0.02 and 0.8 < np.median(strangers) < 1.2


def test_only_images_of_the_same_character_count(known):
    images = drawings(20)
    assert (known.distances(images, np.repeat("b", 20)) > COPY_BELOW).all()
    assert np.isinf(known.distances(images, np.repeat("z", 20))).all()


def test_one_image_and_none():
    one = Neighbours(shrunk(drawings(1)), np.array(["a"]))
    away = one.distances(drawings(2), np.array(["a", "a"]))
    assert away[0] < 0.01 and away[1] > COPY_BELOW
    assert len(one.among_real("a")) == 0 and UNRELATED > 0
    none = Neighbours(np.zeros((0, 16, 16), np.uint8), np.zeros(0, str))
    assert np.isinf(none.distances(drawings(2), np.array(["a", "b"]))).all()


def test_only_known_training_images_of_a_store_and_back_from_a_file(tmp_path):
    images = drawings(4)
    samples = [
        Sample("a", "a", "real"),
        Sample("a", "a", "real", split="val"),
        Sample("other", "", "real"),
        Sample("b", "b", "real"),
    ]
    with StoreWriter(tmp_path / "real", Canvas(), Alphabet.of("ab"), {}) as writer:
        writer.append(images, samples)
    found = Neighbours.of_store(Store.open(tmp_path / "real"))
    assert found.char.tolist() == ["a", "b"]
    assert (found.small == shrunk(images[[0, 3]])).all()
    found.save(tmp_path / "n.npz")
    again = Neighbours.load(tmp_path / "n.npz")
    assert (again.small == found.small).all() and again.char.tolist() == ["a", "b"]
    (tmp_path / "n.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="damaged"):
        Neighbours.load(tmp_path / "n.npz")
