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
from synth.groups import Group, deal, parse_groups, read_groups, read_labels, read_truth
from synth.near_copies import refuse_copies, told_copies
from synth.provenance import origins
from synth.scenario import cut_scenario, split_by_name
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


def learnt(out: Path) -> set[str]:
    """sha256 of the images that are trained on."""
    store = Store.open(out / "real")
    return set(store.column("sha256")[store.rows("train")])


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
    # what is put aside in the larger one was not trained on in the smaller one
    assert learnt(tmp_path / "small") < learnt(tmp_path / "large")
    tests = [Store.open(tmp_path / n / "test").content for n in ("small", "large")]
    assert tests[0] == tests[1]


def test_wrong_labels_have_their_share_and_grow(whole: Store, tmp_path: Path) -> None:
    truth = dict(zip(whole.column("sha256"), whole.column("label"), strict=True))
    wrong, trained = {}, set()
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
        trained.add(frozenset(learnt(tmp_path / str(noise))))
        # told by group: means of its characters, of the images that are trained on
        real = Store.open(tmp_path / str(noise) / "real")
        filed = [(labels[d], d in wrong[noise]) for d in real.column("sha256")[real.rows("train")]]
        for group in ("common", "rare", "few"):
            mine = [bad for label, bad in filed if of.get(label) == group]
            classes = sum(g == group for g in of.values())
            expected = (mine.count(False) / classes, mine.count(True) / classes)
            assert read_labels(tmp_path / str(noise))[group] == pytest.approx(expected)
    assert wrong[0.0] == {} and wrong[0.1].items() <= wrong[0.3].items()
    assert len(trained) == 1  # only the labels differ


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


def two_characters(path: Path, ones: np.ndarray, others: np.ndarray) -> Store:
    """[n, 64, 64] of each, the first one of each for testing."""
    rows = [
        Sample(c, c, "real", origin=f"{'test' if i == 0 else 'train'}_{i}.png")
        for c, images in (("a", ones), ("b", others))
        for i in range(len(images))
    ]
    with StoreWriter(path, Canvas(), Alphabet.of("ab"), {}) as writer:
        writer.append(np.concatenate([ones, others]), rows)
    return Store.open(path)


def cut_two(whole: Store, out: Path, images: int) -> dict:
    """`images` of each character, as a trainer takes them: with no copy of what is measured on."""
    train, test = split_by_name(whole, "test_")
    args = (parse_groups("few:2:3"), {"few": images}, 0.0, None, 0.1, 1, {})
    told = cut_scenario(whole, train, whole, test, out, *args)
    real = Store.open(out / "real")
    refuse_copies(real)
    assert told_copies(real, Store.open(out / "test")) == ""
    return told


def test_copies_are_looked_for_among_the_chosen_images(tmp_path: Path) -> None:
    """40 upright strokes are a crowd, in which none is a copy; of three each is one."""
    rng = np.random.default_rng(0)
    strokes = np.zeros((40, 64, 64), np.uint8)
    strokes[:, 5:59, 30:34] = 255
    strokes -= (strokes // 255) * rng.integers(0, 120, strokes.shape, dtype=np.uint8)
    noise = rng.integers(0, 255, strokes.shape, dtype=np.uint8)
    whole = two_characters(tmp_path / "whole", strokes, noise)
    few, all_ = (cut_two(whole, tmp_path / str(n), images=n) for n in (3, 39))
    assert few["copies"] == 3 and set(Store.open(tmp_path / "3/real").column("label")) == {"b"}
    assert all_["copies"] == 0 and all_["training_images"] == 78


def test_training_keeps_what_a_larger_cut_puts_a_copy_of_aside(tmp_path: Path) -> None:
    """Each image twice but for a few gray levels: one of a pair is soon put aside."""
    rng = np.random.default_rng(0)
    half = rng.integers(20, 235, (40, 64, 64), dtype=np.uint8)
    pairs = np.concatenate([half, half + rng.integers(0, 9, half.shape, dtype=np.uint8)])
    order = [0, *range(1, 40), *range(41, 80)]  # the test image's copy is not in training
    whole = two_characters(tmp_path / "whole", pairs[order], rng.permuted(half, axis=2))
    left_out, trained = [], []
    for images in (5, 20, 60, 78):
        told = cut_two(whole, tmp_path / str(images), images=images)
        left_out.append(told["copies"])
        trained.append(learnt(tmp_path / str(images)))
    assert trained[0] < trained[1] < trained[2] < trained[3]
    assert left_out[0] == 0 < left_out[3]
    assert len(trained[3]) == 78 - 8 + 39 - 4  # a tenth of each put aside, in the larger cut


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


def test_the_command_cuts_what_it_is_told(
    load_script, whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a test store of its own, a list of known characters, and more images."""
    from synth.command import run

    script = load_script("cut_scenario")
    tests = [Sample(c, c, "real", origin=f"{c}.png") for c in CHARS for _ in range(2)]
    test = write(tmp_path / "test", tests, seed=7)
    (tmp_path / "known.txt").write_text("\n".join(CHARS[:7]), "utf-8")
    line = ["--whole", str(whole.path), "--test", str(test.path), "--noise", "0", "--groups"]
    line += ["common:3:40,few:3:5,other_unseen:4:0", "--known", str(tmp_path / "known.txt")]
    for name, more in (("small", []), ("large", ["--images", '{"few": 20}'])):
        out = tmp_path / name
        assert run(script.options(), script.main, [*line, *more, "--out", str(out)]) == 0
        real, of = Store.open(out / "real"), read_groups(out)
        known = {c for c, g in of.items() if not g.startswith("other")}
        assert known == set(real.alphabet.chars) and len(known) == 6 and known < set(CHARS[:7])
        few = [c for c, g in of.items() if g == "few"]
        count = Counter(real.column("label"))
        assert [count[c] for c in few] == [20 if more else 5] * 3
        assert set(Store.open(out / "test").column("sha256")) < set(test.column("sha256"))
        assert Counter(Store.open(out / "test").column("char")) == dict.fromkeys(of, 2)
        assert f"{len(real)} training images, 0 of them" in capsys.readouterr().out
    assert learnt(tmp_path / "small") < learnt(tmp_path / "large")


def test_the_command_takes_what_images_show_from_a_list(
    load_script, whole: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where labels are partly wrong, and those of other characters all the same."""
    from synth.command import run

    script = load_script("cut_scenario")
    table = whole.table.drop_columns(["score"]).to_pylist()
    names = [f"{'test' if i % 9 == 0 else 'train'}_{i}.png" for i in range(len(table))]
    labels = [OTHER if i % 4 == 0 else CHARS[0] for i in range(len(table))]
    rows = [Sample(c, CHARS[0], "real", origin=n) for c, n in zip(labels, names, strict=True)]
    filed = write(tmp_path / "filed", rows)
    lines = [f"set/x/{n},{row['label']}" for n, row in zip(names, table, strict=True)]
    truth = tmp_path / "truth.csv"
    truth.write_text("\n".join(["path,char", *lines]), "utf-8")
    words = ["--whole", str(filed.path), "--test-names", "test_", "--noise", "0", "--groups"]
    words += ["common:2:9,other_unseen:1:0", "--truth", str(truth), "--out", str(tmp_path / "s")]
    assert run(script.options(), script.main, words) == 0
    real = Store.open(tmp_path / "s" / "real")
    shown = {d: row["label"] for d, row in zip(filed.column("sha256"), table, strict=True)}
    assert Counter(real.column("label")) == dict.fromkeys(real.alphabet.chars, 9)
    assert all(shown[d] == label for d, label in given(tmp_path / "s").items())

    truth.write_text("\n".join(["path,char", *lines[1:]]), "utf-8")
    assert run(script.options(), script.main, [*words[:-1], str(tmp_path / "t")]) == 2
    assert "nothing says what 'test_0.png' shows" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ("path,label\na.png,x", "line 2: wanted the columns path and char"),
        ("path,char\na.png", "line 2: wanted"),
        ("path,char\na/1.png,x\nb/1.png,y", "line 3: a second file called 1.png"),
        ("path,char\na.png,xy", "'xy' is not one character"),
        (None, "cannot be read"),
    ],
)
def test_a_list_of_what_images_show_that_makes_no_sense(
    text: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "truth.csv"
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        read_truth(path)


def test_a_scenario_of_an_earlier_version_tells_no_labels_and_a_damaged_one_is_an_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "groups.json").write_text('{"groups": {}}')
    assert read_labels(tmp_path) == {}
    (tmp_path / "groups.json").write_text('{"labels": {"few": 3}}')
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path)


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
