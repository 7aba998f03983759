"""Which validation images set the threshold: others of characters that no training image shows."""

from pathlib import Path

import numpy as np
import pytest
from test_classifier_train import ALPHABET, _config, _store

from classifier import held_out
from classifier import train as runs
from classifier.finished import Finished, facts
from classifier.held_out import others_in_training, threshold_images
from classifier.setup import prepare
from synth.canvas import Canvas
from synth.store import Sample, Store, StoreWriter

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*workers.*"),
]


def store_of(path: Path, source: str, rows: list[tuple[str, str, str, str]]) -> Store:
    """Rows of label, shown character, kind and split, each another image."""
    rng = np.random.default_rng(len(rows))
    images = rng.integers(0, 256, (len(rows), 64, 64), np.uint8)
    samples = [Sample(label, char, source, split, kind) for label, char, kind, split in rows]
    with StoreWriter(path, Canvas(), ALPHABET, {"command": "test"}) as writer:
        writer.append(images, samples)
    return Store.open(path)


KNOWN = [(c, c, "character", split) for c in "ABC" for split in ("train",) * 4 + ("val",)]
UNSAID = [("other", "", "unknown", split) for split in ("train",) * 4 + ("val",) * 3]
# as import names them: W is for validation alone, V in training too, X in another store's training
NAMED = [
    ("other", char, "unknown", split)
    for char, split in (("W", "val"), ("V", "val"), ("V", "train"), ("X", "val"))
]
FONT = [(c, c, "character", "train") for c in "ABC"] + [
    ("other", char, kind, split)
    for char, kind, split in (
        *(("X", "common", "train"), ("X", "common", "val"), ("Z", "confusable", "val")),
        *(("", "blank", "val"), ("", "scribble", "train")),
    )
]


def used(held, *stores: Store) -> list[str]:
    """What the others among them show: source, character or kind."""
    shown = {}
    for store in stores:
        columns = (store.column(name) for name in ("source", "char", "kind"))
        for image, source, char, kind in zip(store.images, *columns, strict=True):
            shown[np.asarray(image).tobytes()] = f"{source} {char or kind}"
    assert set(held.targets) <= {0, 1, 2, 3}
    return sorted(shown[image.tobytes()] for image in held.images[held.targets == 3])


@pytest.mark.parametrize("others", ["each", "one"])
def test_real_others_count_only_where_training_does_not_show_their_character(
    tmp_path, others, monkeypatch
):
    real = store_of(tmp_path / "real", "real", [*KNOWN, *UNSAID, *NAMED])
    font = store_of(tmp_path / "font", "font", FONT)
    setup = prepare(real, [font], _config(others=others), 1, None)
    assert setup.others == (("X",) if others == "each" else ())
    assert others_in_training(setup) == {"V", "X"}
    monkeypatch.setattr(held_out, "ENOUGH", 2)
    held = threshold_images(setup)
    assert used(held, real, font) == ["font Z", "font blank", "real W"]
    assert (held.targets < 3).sum() == 3 and not held.doubt
    # two of Z and W are too few: all real ones are added
    monkeypatch.setattr(held_out, "ENOUGH", 3)
    few = threshold_images(setup)
    added = ["real V", "real W", "real X", *["real unknown"] * 3]
    assert used(few, real, font) == ["font Z", "font blank", *added]
    assert few.doubt.startswith("only 2 images show a character held out from training")
    assert "also set on 5 real other images" in few.doubt


def test_a_few_generated_others_do_not_set_the_threshold_alone(tmp_path, monkeypatch):
    real = store_of(tmp_path / "real", "real", KNOWN)
    font = store_of(tmp_path / "font", "font", FONT)
    trained = [(c, c, "character", "train") for c in "ABC"]
    held = [*trained, *(("other", c, "confusable", "val") for c in "YZ")]
    gan = store_of(tmp_path / "gan", "gan", held)
    setup = prepare(real, [font, gan], _config(), 1, None)
    monkeypatch.setattr(held_out, "ENOUGH", 2)
    enough = threshold_images(setup)
    assert used(enough, real, font, gan) == ["font blank", "gan Y", "gan Z"] and not enough.doubt
    monkeypatch.setattr(held_out, "ENOUGH", 4)
    few = threshold_images(setup)
    assert used(few, real, font, gan) == ["font Z", "font blank", "gan Y", "gan Z"]
    assert few.doubt.startswith("only 3 images show a character held out from training")
    assert few.doubt.endswith("set on these few")


def test_characters_that_the_mix_leaves_out_were_never_shown(tmp_path):
    real = store_of(tmp_path / "real", "real", [*KNOWN, *UNSAID, *NAMED])
    font = store_of(tmp_path / "font", "font", FONT)

    def seen(**changes) -> set[str]:
        return set(others_in_training(prepare(real, [font], _config(**changes), 1, None)))

    assert seen() == {"V", "X"}
    assert seen(font_weight=0.0) == seen(font_weight=0.0, others="one") == {"V"}
    off = {"source_weights": {"other": {"font": 0.0}}}
    assert seen(**off) == {"V"}
    assert seen(kind_weights={"common": 0.0}, others="one") == {"V"}
    assert seen(source_weights={"few": {"font": 0.0}}) == {"V", "X"}  # of another group
    assert seen(group_weights={"other": 0.0}) == set()
    # so the font's X of validation is held out, which was not
    held = threshold_images(prepare(real, [font], _config(**off), 1, None))
    assert "font X" in used(held, real, font)


def test_others_that_may_be_in_training_stand_in_where_there_are_none_and_it_is_said(tmp_path):
    real = store_of(tmp_path / "real", "real", [*KNOWN, *UNSAID])
    held = threshold_images(prepare(real, [], _config(), 1, None))
    assert used(held, real) == ["real unknown"] * 3
    assert "3 real other images whose characters may be in training" in held.doubt
    # as import with --outside other leaves them: named, and in training too
    split = [("other", c, "unknown", s) for c in "VW" for s in ("train", "val")]
    named = store_of(tmp_path / "named", "real", [*KNOWN, *split])
    held = threshold_images(prepare(named, [], _config(), 1, None))
    assert used(held, named) == ["real V", "real W"]
    assert "2 real other images whose characters may be in training" in held.doubt
    # a blank is no character held out
    blanks = [("A", "A", "character", "train"), ("other", "", "blank", "val")]
    font = store_of(tmp_path / "font", "font", blanks)
    held = threshold_images(prepare(real, [font], _config(), 1, None))
    assert used(held, real, font) == ["font blank", *["real unknown"] * 3] and held.doubt
    plain = store_of(tmp_path / "plain", "real", KNOWN)
    held = threshold_images(prepare(plain, [font], _config(), 1, None))
    assert used(held, plain, font) == ["font blank"] and "no character" in held.doubt
    # nothing at all is for validation
    trained = [row for row in KNOWN if row[3] == "train"]
    none = threshold_images(
        prepare(store_of(tmp_path / "none", "real", trained), [], _config(), 1, None)
    )
    assert none.images.shape == (0, 64, 64) and not none.doubt


def test_a_run_tells_that_its_threshold_is_in_doubt(tmp_path, capsys):
    """And reports its others by what is known of them."""
    known = _store(tmp_path / "known", "real", "ABCX", 15)  # X is other here, and nobody knows it
    out = tmp_path / "run"
    figures = runs.train(known, [], out, _config(steps=8, steps_per_epoch=4), 1, {}, None)
    assert "threshold: no other character is held out" in capsys.readouterr().out
    assert "3 real other images" in figures["threshold_doubt"]
    told = dict(facts(Finished.open(out, "x")))
    assert told["About the threshold"] == figures["threshold_doubt"]
    assert figures["val"]["others"].keys() == {"unknown"}
    assert figures["val"]["others"]["unknown"]["images"] == 3
