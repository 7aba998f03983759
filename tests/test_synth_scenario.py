"""Scenarios: what differs between two of them, what is hidden, and fewer images of a store."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synth import scenario
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.provenance import origins
from synth.scenario import (
    Group,
    cut_scenario,
    deal,
    parse_groups,
    read_groups,
    split_by_name,
)
from synth.store import Sample, Store, StoreWriter
from synth.thin import ratio_of, thin_store

CHARS = [chr(0x4E00 + i) for i in range(20)]
GROUPS = parse_groups("common:6:30,rare:4:10,few:3:3,other_seen:3:4,other_unseen:4:0")
CANVAS = Canvas(size_px=16)


def write(path: Path, rows: list[Sample], seed: int = 0) -> Store:
    images = np.random.default_rng(seed).integers(0, 255, (len(rows), 16, 16), np.uint8)
    labels = Alphabet.of(s.label for s in rows)
    with StoreWriter(path, CANVAS, labels, {"seed": seed}) as writer:
        writer.append(images, rows)
    return Store.open(path)


@pytest.fixture
def whole(tmp_path: Path) -> Store:
    """20 characters, 40 images each to train on and 5 to test."""
    rows = [
        Sample(c, c, "real", origin=f"set/{c}/{part}_{i:03d}.png")
        for c in CHARS
        for part, count in (("test", 5), ("train", 40))
        for i in range(count)
    ]
    return write(tmp_path / "whole", rows)


def cut(whole: Store, out: Path, *, images=None, noise=0.2, seed=1, listed=None) -> dict:
    train, test = split_by_name(whole, "test_")
    args = (GROUPS, images or {}, noise, listed, 0.1, seed, {})
    return cut_scenario(whole, train, whole, test, out, *args)


def given(out: Path) -> dict[str, str]:
    """sha256 -> label of the training store."""
    store = Store.open(out / "real")
    return dict(zip(store.column("sha256"), store.column("label"), strict=True))


def test_each_group_has_its_characters_and_images(whole: Store, tmp_path: Path) -> None:
    told = cut(whole, tmp_path / "s", noise=0)
    of = read_groups(tmp_path / "s")
    assert Counter(of.values()) == {g.name: g.classes for g in GROUPS} and told["short"] == {}
    real, test = Store.open(tmp_path / "s" / "real"), Store.open(tmp_path / "s" / "test")
    known = {c for c, g in of.items() if not g.startswith("other")}
    assert set(real.alphabet.chars) == known and real.alphabet == test.alphabet
    images = {g.name: g.images for g in GROUPS}
    expected = {c: images[of[c]] for c in known} | {OTHER: 3 * 4}
    assert Counter(real.column("label")) == expected
    assert Counter(test.column("char")) == dict.fromkeys(of, 5)
    assert set(test.column("split")) == {"test"}
    right = [c if c in known else OTHER for c in test.column("char")]
    assert test.column("label").tolist() == right
    # a tenth of each class is put aside, none of a class of three
    assert Counter(real.column("label")[real.rows("val")])[OTHER] == 1
    assert not [c for c in real.column("label")[real.rows("val")] if of.get(c) == "few"]


def test_more_images_are_the_same_and_further_ones(whole: Store, tmp_path: Path) -> None:
    cut(whole, tmp_path / "small")
    cut(whole, tmp_path / "large", images={"few": 20, "rare": 25})
    small, large = given(tmp_path / "small"), given(tmp_path / "large")
    assert read_groups(tmp_path / "small") == read_groups(tmp_path / "large")
    assert len(large) == len(small) + 3 * 17 + 4 * 15
    assert small.items() <= large.items()  # wrong labels too
    tests = [Store.open(tmp_path / n / "test").content for n in ("small", "large")]
    assert tests[0] == tests[1]


def test_wrong_labels_have_their_share_and_grow(whole: Store, tmp_path: Path) -> None:
    truth = dict(zip(whole.column("sha256"), whole.column("label"), strict=True))
    wrong = {}
    for noise in (0.0, 0.1, 0.3):
        told = cut(whole, tmp_path / str(noise), noise=noise, images={"few": 40, "rare": 40})
        of = read_groups(tmp_path / str(noise))
        right = {
            d: c if not of[c].startswith("other") else OTHER for d, c in truth.items() if c in of
        }
        labels = given(tmp_path / str(noise))
        wrong[noise] = {d: label for d, label in labels.items() if label != right[d]}
        n = len(labels)
        assert told["wrong_labels"] == len(wrong[noise])
        assert abs(len(wrong[noise]) - noise * n) <= 3 * np.sqrt(n * noise * (1 - noise))
        assert OTHER not in wrong[noise].values()
    assert wrong[0.0] == {} and wrong[0.1].items() <= wrong[0.3].items()


def test_nothing_in_training_tells_what_an_other_image_shows(whole: Store, tmp_path: Path) -> None:
    cut(whole, tmp_path / "s", noise=0.3)
    real = Store.open(tmp_path / "s" / "real")
    of = read_groups(tmp_path / "s")
    others = {c for c, g in of.items() if g.startswith("other")}
    text = (tmp_path / "s" / "real" / "store.json").read_text("utf-8")
    rows = json.dumps(real.table.drop_columns(["score"]).to_pylist(), ensure_ascii=False)
    assert not others & set(rows) and not others & set(text)
    assert (real.column("char")[real.column("label") == OTHER] == "").all()
    # nor may a record give a wrong label away: what an image shows is what its label says
    known = real.column("label") != OTHER
    assert (real.column("char")[known] == real.column("label")[known]).all()


def test_no_training_image_is_a_test_image(tmp_path: Path) -> None:
    rows = [
        Sample(c, c, "real", origin=f"{part}_{i}.png")
        for c in CHARS
        for part in ("test", "train")
        for i in range(40)
    ]
    images = np.random.default_rng(0).integers(0, 255, (len(rows), 16, 16), np.uint8)
    images[40:50] = images[:10]  # ten of the first character's
    with StoreWriter(tmp_path / "whole", CANVAS, Alphabet.of(CHARS), {}) as writer:
        writer.append(images, rows)
    cut(Store.open(tmp_path / "whole"), tmp_path / "s", images={g.name: 40 for g in GROUPS})
    real, test = (Store.open(tmp_path / "s" / n) for n in ("real", "test"))
    assert not set(real.column("sha256")) & set(test.column("sha256"))
    short = json.loads((tmp_path / "s" / "groups.json").read_text("utf-8"))["short"]
    assert short == {CHARS[0]: 30}


def test_seeds_and_lists_decide_who_is_known(whole: Store, tmp_path: Path) -> None:
    listed = set(CHARS[:13])
    dealt = []
    for seed in (1, 2):
        cut(whole, tmp_path / str(seed), seed=seed, listed=listed)
        dealt.append(read_groups(tmp_path / str(seed)))
        assert {c for c, g in dealt[-1].items() if not g.startswith("other")} == listed
    assert dealt[0] != dealt[1]


def test_a_character_without_enough_images_is_in_no_such_group() -> None:
    counts = dict.fromkeys("abcd", 5) | {"e": 1}
    dealt = deal([Group("rare", 4, 5), Group("other_unseen", 1, 0)], counts, counts, None, 1)
    assert dealt["e"] == "other_unseen"
    with pytest.raises(InputError, match=r"4 characters with 5 training images .* wanted 5"):
        deal([Group("rare", 5, 5)], counts, counts, None, 1)


@pytest.mark.parametrize("text", ["rare", "rare:x:3", "rare:1", "other:1:1", "a:1:1,a:1:2"])
def test_groups_that_make_no_sense(text: str) -> None:
    with pytest.raises(InputError, match="groups"):
        parse_groups(text)


def test_what_cannot_be_cut_leaves_nothing(whole: Store, tmp_path: Path) -> None:
    for wrong in ({"noise": 1.0}, {"images": {"nobody": 3}}, {"listed": set("ab")}):
        with pytest.raises(InputError):
            cut(whole, tmp_path / "s", **wrong)
    with pytest.raises(InputError, match="0 of 900 file names"):
        split_by_name(whole, "nothing_")
    assert not (tmp_path / "s").exists()


@pytest.fixture
def synthetic(tmp_path: Path) -> Store:
    """Three characters with 40, 20 and 10 images, and 30 of other, 10 of them for validation."""
    rows = [
        Sample(c, c, "font") for c, n in zip("abc", (40, 20, 10), strict=True) for _ in range(n)
    ]
    rows += [Sample(OTHER, "x", "font", split="val" if i < 10 else "train") for i in range(30)]
    return write(tmp_path / "synthetic", rows)


def test_a_scenario_keeps_where_its_images_come_from_and_their_licence(
    whole: Store, tmp_path: Path
) -> None:
    made = {"images": "the data set", "licence": "CC-BY-4.0"}
    whole = replace(whole, info={**whole.info, "made": made})
    train, test = split_by_name(whole, "test_")
    args = (GROUPS, {}, 0.2, None, 0.1, 1, {"images": {"few": 5}, "seed": 1})
    cut_scenario(whole, train, whole, test, tmp_path / "s", *args)
    for name in ("real", "test"):
        store = Store.open(tmp_path / "s" / name)
        (origin,) = origins(store)
        assert (origin.place, origin.licence) == ("the data set", "CC-BY-4.0")
        assert store.info["made"]["seed"] == 1


def test_thinning_keeps_an_even_share_of_every_character(synthetic: Store, tmp_path: Path) -> None:
    kept = {}
    for known in (0, 7, 35, 70):
        store = thin_store(synthetic, tmp_path / str(known), {}, known, True)
        count = Counter(store.column("label"))
        assert count[OTHER] == 30 and sum(count.values()) == 30 + known
        for char, n in zip("abc", (40, 20, 10), strict=True):
            assert abs(count[char] - known * n / 70) <= 1
        kept[known] = set(store.column("sha256"))
    assert kept[0] < kept[7] < kept[35] < kept[70]


def test_thinned_rows_stay_as_they_were(synthetic: Store, tmp_path: Path) -> None:
    store = thin_store(synthetic, tmp_path / "thin", {}, 20, True)
    before = {r["sha256"]: r for r in synthetic.table.drop_columns(["score"]).to_pylist()}
    after = store.table.drop_columns(["score"]).to_pylist()
    assert all(row == before[row["sha256"]] for row in after)
    at = {d: i for i, d in enumerate(synthetic.column("sha256"))}
    rows = [at[d] for d in store.column("sha256")]
    assert np.array_equal(store.images, synthetic.images[rows])


def test_other_can_be_left_out_but_not_everything(synthetic: Store, tmp_path: Path) -> None:
    store = thin_store(synthetic, tmp_path / "known", {}, None, False)
    assert Counter(store.column("label")) == {"a": 40, "b": 20, "c": 10}
    with pytest.raises(InputError, match="nothing is left"):
        thin_store(synthetic, tmp_path / "none", {}, 0, False)
    assert not (tmp_path / "none").exists()


def test_a_ratio_counts_known_training_images(whole: Store, tmp_path: Path) -> None:
    cut(whole, tmp_path / "s", noise=0)
    real = Store.open(tmp_path / "s" / "real")
    train = 6 * 27 + 4 * 9 + 3 * 3  # less a tenth for validation
    assert ratio_of(real, 2) == 2 * train and ratio_of(real, 0) == 0
    with pytest.raises(InputError, match="ratio"):
        ratio_of(real, -1)


def test_the_commands_refuse_what_they_cannot_do(
    load_script, synthetic: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from synth.command import run

    thin, cutter = load_script("thin_store"), load_script("cut_scenario")
    line = ["--store", str(synthetic.path), "--out", str(tmp_path / "out")]
    assert run(thin.options(), thin.main, [*line, "--ratio", "1"]) == 2
    more = ["--real", str(synthetic.path), "--ratio", "2"]
    assert run(thin.options(), thin.main, [*line, *more]) == 2
    assert "70 images of known characters, wanted 140" in capsys.readouterr().err
    assert run(thin.options(), thin.main, [*line, *more[:3], "0.5"]) == 0
    words = ["--whole", str(synthetic.path), "--out", str(tmp_path / "s"), "--groups", "few:1:1"]
    assert run(cutter.options(), cutter.main, words) == 2
    assert "--test-names" in capsys.readouterr().err


def test_a_scenario_is_whole_or_not_there(
    whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between its two stores, and again after a kill that left its parts."""
    copy, calls = scenario._copy, []

    def stopped(*args: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            assert not (tmp_path / "s").exists()
            raise KeyboardInterrupt
        copy(*args)

    monkeypatch.setattr(scenario, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        cut(whole, tmp_path / "s")
    assert [p.name for p in tmp_path.iterdir()] == ["whole"]
    monkeypatch.undo()
    (tmp_path / ".s.partial" / "real").mkdir(parents=True)
    cut(whole, tmp_path / "s")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "whole"]
    with pytest.raises(InputError, match="is there already"):
        cut(whole, tmp_path / "s")
