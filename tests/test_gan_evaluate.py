"""The evaluation compares like with like, on images that nothing was trained on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage
from test_classifier_train import _config

import gan.evaluate
import gan.gap
import gan.page
from gan.evaluate import (
    classification_accuracy,
    domain_gap,
    memorised,
    reading,
    train_independent_reader,
)
from gan.gap import auroc, logistic
from gan.pictures import Pictures, halves, matched
from gan.sets import prepare
from gan.verdict import shown, table
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

ALPHABET = Alphabet.of("ABC")


def letters(chars: str, seed: int, blur: float = 0.0) -> np.ndarray:
    """[n, 64, 64] uint8: a bar for each bit of the character's number, moved a little,
    and blots."""
    rng = np.random.default_rng(seed)
    images = np.zeros((len(chars), 64, 64), np.uint8)
    for image, c in zip(images, chars, strict=True):
        for bit in range(5):
            if ord(c) >> bit & 1:
                y, x = 8 + 10 * bit + rng.integers(-2, 3), 8 + rng.integers(0, 6)
                image[y : y + 4, x : x + 40 + rng.integers(0, 8)] = 255
        for y, x in rng.integers(0, 60, (3, 2)):  # blots: no two are copies
            image[y : y + 5, x : x + 5] = 255
        image -= (image * 0.3 * rng.random(image.shape)).astype(np.uint8)
    return np.stack([ndimage.gaussian_filter(i, blur) for i in images]) if blur else images


def store(
    path: Path,
    source: str,
    train: str,
    val: str = "",
    seed: int = 0,
    alphabet: Alphabet = ALPHABET,
    blur: float = 0.0,
    split: str = "train",
    notes: dict | None = None,
) -> Store:
    """Characters outside the alphabet are "other", named."""
    rows = [(c, split) for c in train] + [(c, "val") for c in val]
    samples = [
        Sample(
            c if c in alphabet else "other",
            c,
            source,
            split=where,
            kind="character" if c in alphabet else "common",
        )
        for c, where in rows
    ]
    with StoreWriter(path, Canvas(), alphabet, {}, notes) as writer:
        writer.append(letters(train + val, seed, blur), samples)
    return Store.open(path)


@pytest.fixture
def stores(tmp_path):
    return {
        "real": store(tmp_path / "real", "real", "A" * 20 + "B" * 12 + "C" * 3, "ABC" * 8, 1),
        "test": store(tmp_path / "test", "real", "ABC" * 12, seed=2, split="test"),
        "font": store(tmp_path / "font", "font", "ABCDEF" * 15, seed=3, blur=1.5),
        "gan": store(tmp_path / "gan", "gan", "ABCDE" * 15, seed=4),
        "clean": store(
            tmp_path / "clean", "real", "ABCDE" * 10, "ABCDE" * 6, 5, Alphabet.of("ABCDE")
        ),
    }


def sets_of(stores, test="test", readers=("clean",)):
    return prepare(
        stores["real"],
        stores[test] if test else None,
        stores["font"],
        [stores["gan"]],
        [stores[n] for n in readers],
    )


def test_who_is_seen_and_what_is_held_out(stores):
    sets = sets_of(stores)
    assert sets.seen == set("ABC") and sets.never == set("DE")
    assert len(sets.real) == 35 and sets.counts["C"] == 3
    # the test images, and named real images of what the GAN never saw: not those of what it saw
    found = dict(zip(*np.unique(sets.held_out.char, return_counts=True), strict=True))
    assert found == {"A": 12, "B": 12, "C": 12, "D": 6, "E": 6}
    assert len(sets.clean) == 50
    without = sets_of(stores, test=None, readers=())
    assert len(without.held_out) == 24 and without.by_fonts and not sets.by_fonts


def test_nothing_is_measured_on_what_was_trained_on(stores, tmp_path, capsys):
    stores["leak"] = store(tmp_path / "leak", "real", "A" * 20, seed=1, split="test")
    with pytest.raises(InputError, match="20 of its images are training images"):
        sets_of(stores, test="leak")
    # a clean store that shows images of the test: the reader does not get them
    stores["same"] = store(tmp_path / "same", "real", "ABC" * 12, seed=2)
    assert len(sets_of(stores, readers=("clean", "same")).clean) == 50
    assert "36 images are left out" in capsys.readouterr().out


def test_too_few_held_out_images_are_refused_by_name(stores, tmp_path):
    """Before a reader is trained for them."""
    stores["few"] = store(tmp_path / "few", "real", "ABC", seed=9, split="test")
    with pytest.raises(InputError, match=r"0 images to compare, 5 are the least.*few holds out"):
        sets_of(stores, test="few")


def test_one_image_of_each_character_leaves_no_gap_to_measure(stores):
    sets = sets_of(stores)
    one = [p.rows(np.unique(p.char, return_index=True)[1]) for p in (sets.font, sets.gan)]
    sets = replace(sets, font=one[0], gan=one[1])
    nothing = {"features": None, "pixels": None}
    found = domain_gap(sets, None, 1, torch.device("cpu"), torch.float32)
    assert found == {"font": nothing, "gan": nothing}
    text = table(figures(gap=found))
    assert re.search(r"told from real, AUROC, pixels +- +-\n", text)


def lighter(path: Path, of: Store, rows: np.ndarray, split: str) -> Store:
    """Some images of a store in lighter ink, as another store of its alphabet."""
    labels, chars, kinds = (of.column(n) for n in ("label", "char", "kind"))
    with StoreWriter(path, Canvas(), of.alphabet, {}) as writer:
        samples = [Sample(labels[r], chars[r], "real", split=split, kind=kinds[r]) for r in rows]
        writer.append((of.take(rows) * 0.9).astype(np.uint8), samples)
    return Store.open(path)


def test_near_copies_are_trained_on_as_little(stores, tmp_path, capsys):
    stores["near"] = lighter(
        tmp_path / "near", stores["real"], stores["real"].rows("train"), "test"
    )
    with pytest.raises(InputError, match=r"near: \d+ of its images are training .* or nearly"):
        sets_of(stores, test="near")
    # what one clean store holds out of characters never seen, another one has for training
    out = [r for r in stores["clean"].rows("val") if stores["clean"].column("char")[r] in "DE"]
    stores["more"] = lighter(tmp_path / "more", stores["clean"], np.array(out), "train")
    sets = sets_of(stores, readers=("clean", "more"))
    assert len(sets.held_out.only("DE")) == len(out) == 12 and len(sets.clean) == 50
    assert "more: 12 images are left out" in capsys.readouterr().out
    # and the test images, lighter
    stores["near_test"] = lighter(tmp_path / "n", stores["test"], np.arange(36), "train")
    assert len(sets_of(stores, readers=("clean", "near_test")).clean) == 50


def test_a_generator_of_another_real_store_is_refused(stores):
    notes = stores["gan"].info["notes"]
    notes["trained_on"] = stores["real"].content
    sets_of(stores)
    notes["trained_on"] = stores["clean"].content
    with pytest.raises(InputError, match=r"gan: its generator was not trained on .*real; give"):
        sets_of(stores)


def test_stores_that_do_not_fit_or_show_nothing(stores, tmp_path):
    blank = store(tmp_path / "blank", "real", "DD", seed=2, split="test")
    with pytest.raises(InputError, match="no held-out image of a known character"):
        sets_of(stores | {"test": blank})
    other = store(tmp_path / "other", "font", "AB", alphabet=Alphabet.of("AB"))
    with pytest.raises(InputError, match="alphabet"):
        sets_of(stores | {"font": other})


def test_halves_and_matched_samples_hold_as_many_of_each_character():
    char = np.repeat(list("abcd"), [9, 4, 1, 2])
    all_of_them = Pictures(np.arange(16)[:, None, None].astype(np.uint8), char)
    first, second = halves(all_of_them, 1)
    assert sorted([*first.images.ravel(), *second.images.ravel()]) == list(range(16))
    assert [int((p.char == "a").sum()) for p in (first, second)] == [4, 5]
    other = Pictures(np.zeros((7, 1, 1), np.uint8), np.repeat(list("abx"), [3, 3, 1]))
    one, two = matched([all_of_them, other], 1)
    assert one.char.tolist() == two.char.tolist() == list("aaabbb")
    assert len(set(one.images.ravel().tolist())) == 6  # no image twice
    assert (one.images == matched([all_of_them, other], 1)[0].images).all()
    assert matched([all_of_them, other], 1, most=2)[0].char.tolist() == list("aabb")


def test_what_is_read_is_compared_over_the_same_characters(stores, tmp_path):
    """Of C and E, hard to read, there are generated images and no held-out real ones; F is one that
    the reader knows and the GAN did not draw."""
    stores["test"] = store(tmp_path / "some", "real", "AB" * 12, seed=2, split="test")
    named = store(tmp_path / "named", "real", "ABCDEF" * 9, "DF" * 6, 5, Alphabet.of("ABCDEF"))
    stores["clean"] = named
    sets = sets_of(stores)
    right = {
        "real": {"A": 1.0, "B": 0.9, "D": 0.8, "F": 0.7},
        "font": {"A": 0.5, "B": 0.5, "C": 0.2, "D": 0.5, "E": 0.1, "F": 0.1},
        "gan": {"A": 0.9, "B": 0.8, "C": 0.1, "D": 0.7, "E": 0.3},
    }
    of = {id(sets.held_out): "real", id(sets.font): "font", id(sets.gan): "gan"}
    assert all(
        set(getattr(sets, n).char.tolist()) == right[source].keys()
        for n, source in (("held_out", "real"), ("font", "font"), ("gan", "gan"))
    )
    reader = SimpleNamespace(
        chars=tuple("ABCDEF"), accuracy=lambda pictures: right[of[id(pictures)]]
    )
    found = reading(sets, reader)
    seen, never = found["seen"], found["never"]
    assert (seen["characters"], never["characters"]) == (2, 1)
    assert [seen["real"], seen["gan"]] == pytest.approx([0.95, 0.85])
    assert [never["real"], never["gan"]] == pytest.approx([0.8, 0.7])
    # and over all that each has
    assert {s: v["characters"] for s, v in seen["all"].items()} == {"real": 2, "font": 3, "gan": 3}
    assert never["all"]["gan"] == {"characters": 2, "read": pytest.approx(0.5)}
    assert never["all"]["real"] == {"characters": 1, "read": pytest.approx(0.8)}
    assert found["gan_by_group"]["few"] == pytest.approx(0.1)


def test_copies_are_counted(stores, tmp_path):
    copied = store(tmp_path / "copied", "gan", "A" * 20 + "B" * 5, seed=1)
    stores["gan"] = copied  # the first twenty images are those of the real store
    found = memorised(sets_of(stores))
    assert found["gan"]["images"] == 25 and found["classes"]["A"]["gan"]["copies"] == 20
    assert found["classes"]["A"]["gan"]["median"] < 0.05 < found["held_out"]["median"]


def test_classification_accuracy_reads_known_characters_only():
    real = Pictures(np.zeros((4, 2, 2), np.uint8), np.array(list("AABC")))

    def read(images):  # the fourth class is "other": it is no answer here
        return np.array([[9, 1, 0, 99], [0, 9, 1, 0], [1, 9, 0, 0], [0, 0, 1, 0]])

    found = classification_accuracy(read, real, "ABC")
    assert found["accuracy"] == 0.75 and found["mean"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert found["classes"] == {"A": 0.5, "B": 1.0, "C": 1.0}


def test_auroc_counts_pairs_and_the_regression_finds_a_direction():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40), rng.integers(0, 4, 30)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert auroc(a, b) == pytest.approx(pairs)
    x = rng.normal(size=(400, 6))
    positive = (x[:, 2] - x[:, 4] + 0.3 * rng.normal(size=400) > 0).astype(float)
    score = logistic(x[:200], positive[:200])(x[200:])
    truth = positive[200:] > 0
    assert auroc(score[truth], score[~truth]) > 0.95
    noise = logistic(x[:200], rng.integers(0, 2, 200).astype(float))(x[200:])
    assert abs(auroc(noise[truth], noise[~truth]) - 0.5) < 0.35


def bars(count: int, seed: int, mark: bool) -> Pictures:
    """[n, 32, 32]: bars of any place and length, perhaps with a dot in a corner."""
    rng = np.random.default_rng(seed)
    images = np.zeros((count, 32, 32), np.uint8)
    for image in images:
        row, length = rng.integers(4, 20), rng.integers(10, 25)
        image[row : row + 3, 3 : 3 + length] = rng.integers(150, 256)
    if mark:
        images[:, 26:30, 26:30] = 200
    return Pictures(images, np.repeat("a", count))


def test_a_network_tells_marked_pictures_and_not_two_halves_of_one_kind(monkeypatch):
    monkeypatch.setattr(gan.gap, "STEPS", 40)
    where = {"device": torch.device("cpu"), "precision": torch.float32}
    real = (bars(120, 1, False), bars(120, 2, False))
    marked = (bars(120, 3, True), bars(120, 4, True))
    assert gan.gap.gap_in_pixels(real, marked, 1, **where) > 0.98
    alike = (bars(120, 5, False), bars(120, 6, False))
    # 120 and 120 scores without a difference: a standard deviation of .037
    assert abs(gan.gap.gap_in_pixels(real, alike, 1, **where) - 0.5) < 0.13


def test_features_tell_a_shift_and_not_two_halves_of_one_kind():
    def drawn(seed: int, shift: float = 0.0) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(200, 8)) + shift * np.eye(8)[2]

    reader = SimpleNamespace(features=lambda rows: rows)
    real = [SimpleNamespace(images=drawn(s)) for s in (1, 2)]
    moved = [SimpleNamespace(images=drawn(s, 2.0)) for s in (3, 4)]
    alike = [SimpleNamespace(images=drawn(s)) for s in (5, 6)]
    # two normal distributions two standard deviations apart: Phi(2 / sqrt 2)
    assert gan.gap.gap_in_features(real, moved, reader) == pytest.approx(0.921, abs=0.04)
    # without a difference: a standard deviation of .029
    assert abs(gan.gap.gap_in_features(real, alike, reader) - 0.5) < 0.1


def test_the_reader_learns_from_font_images_that_are_not_judged(stores, monkeypatch):
    sets = sets_of(stores, readers=())
    taught, judged = ({i.tobytes() for i in p.images} for p in (sets.clean, sets.font))
    assert len(taught) == 6 * 7 and len(judged) == 6 * 8 and not taught & judged
    counts = dict(zip(*np.unique(sets.font.char, return_counts=True), strict=True))
    assert counts == dict.fromkeys("ABCDEF", 8)
    given = []
    monkeypatch.setattr(gan.evaluate, "train_reader", lambda clean, real, *_: given.append(clean))
    train_independent_reader(sets, 4, 1, torch.device("cpu"), torch.float32)
    shown = {i.tobytes() for i in given[0].images}
    assert shown <= taught and set(given[0].char) == set("ABCDE")  # F is none of the GAN's
    # with a store for the reader all font images are judged
    assert len(sets_of(stores).font) == 90


def test_the_scores_classifier_sees_no_real_image(stores, tmp_path, load_script, monkeypatch):
    """Neither in its batches nor in the statistics that its norms end with."""
    import classifier.train
    from classifier.setup import prepare as set_up
    from classifier.setup import steady_images
    from synth.store import SOURCES

    shown: list[str] = []
    steady = []

    class Seen(Exception):
        pass

    def train(real, synth, out, config, seed, arguments):
        setup = set_up(real, synth, config, seed, None)
        for step in range(config.steps):
            shown.extend(SOURCES[s] for s in setup.mix.batch(step).source)
        steady.extend(i.tobytes() for i in steady_images(setup, seed))
        raise Seen

    monkeypatch.setattr(classifier.train, "train", train)
    script = load_script("evaluate_gan")
    args = SimpleNamespace(score_steps=30, out=tmp_path / "out", seed=1)
    with pytest.raises(Seen):
        script._trainer(stores["real"], args)(stores["gan"], "gan")
    assert set(shown) == {"gan"} and len(shown) >= 30
    assert set(steady) <= {i.tobytes() for i in stores["gan"].images} and steady


def read_of(characters: int, real: float | None, gan: float | None, more: float = 0.91) -> dict:
    """Means of the same characters; over three more of them that only the GAN has, `more`."""
    own = {"real": real, "font": 0.9, "gan": more}
    counts = {"real": characters, "font": characters, "gan": characters + 3}
    every = {source: {"characters": counts[source], "read": own[source]} for source in own}
    return {"characters": characters, "real": real, "gan": gan, "all": every}


def figures(**changes) -> dict:
    near = {"median": 1.0, "nearest": 0.7, "copies": 0, "images": 9}
    base = {
        "reading": {
            "seen": read_of(99, 0.95, 0.94),
            "never": read_of(29, 0.9, 0.8),
        },
        "features": {
            "real": {"kid": 0.0, "kid_std": 0.1, "precision": 0.8, "recall": 0.8},
            "font": {"kid": 0.2, "kid_std": 0.1, "precision": 0.3, "recall": 0.4},
            "gan": {"kid": 0.09, "kid_std": 0.1, "precision": 0.7, "recall": 0.5},
        },
        "gap": {n: {"features": 0.9, "pixels": 0.99} for n in ("font", "gan")},
        "memorised": {"copy_below": 0.6, "gan": near, "held_out": near},
        "score": {"font": {"accuracy": 0.6}, "gan": {"accuracy": 0.7}},
    }
    return base | changes


def test_each_figure_is_held_against_its_bound():
    assert [row.reached for row in shown(figures())] == [True, False, False, True, True]
    ratios = [row.ratio for row in shown(figures())]
    assert ratios == pytest.approx([0.94 / 0.95, 0.8 / 0.9, 0.5 / 0.8, 0.45, 0.7 / 0.6])
    # no real images of characters never seen: they are compared with the seen ones
    unnamed = figures()["reading"] | {"never": read_of(0, None, None)}
    row = shown(figures(reading=unnamed))[1]
    assert row.ratio == pytest.approx(0.91 / 0.95) and row.of == "real, seen ones" and row.reached
    assert row.what == "read, never seen characters (3)"
    text = table(figures(score={}))
    assert text.count("reached") == 2 and text.count("missed") == 2
    assert text.count("not measured") == 1 and "reader itself" not in text
    # of how many characters each figure is
    assert "read, seen characters (99)" in text and "read, never seen characters (29)" in text
    assert "read, never, each over all characters it has: real 0.9000 (29)" in text
    assert "GAN 0.9100 (32)" in text
    weak = {"seen": read_of(99, 0.5, 0.5), "never": unnamed["never"]}
    assert "the reader itself reads only 0.500" in table(figures(reading=weak))


@pytest.mark.parametrize("font_kid", [0.0, -0.002])
def test_a_figure_without_a_ratio_is_not_called_unmeasured(font_kid):
    """KID is unbiased: of fonts that nobody tells from real images it may come out below 0."""
    features = figures()["features"]
    features["font"]["kid"] = font_kid
    row = shown(figures(features=features))[3]
    assert (row.gan, row.other, row.ratio, row.reached) == (0.09, font_kid, None, None)
    assert row.verdict == "no ratio, the other one is not above 0"
    text = table(figures(features=features))
    assert row.verdict in text and "not measured" not in text


def test_the_command_from_stores_to_the_page(stores, tmp_path, load_script, monkeypatch, capsys):
    monkeypatch.setattr(gan.gap, "STEPS", 4)
    script = load_script("evaluate_gan")
    names = {n: stores[n].path for n in stores}
    line = (
        f"--real {names['real']} --test {names['test']} --font {names['font']} "
        f"--gan {names['gan']} --reader {names['clean']} --out {tmp_path / 'out'} "
        "--reader-steps 30 --score-steps 0"
    ).split()
    assert run(script.options(), script.main, line) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert "read, never seen characters" in out and "not measured" in out
    assert found["reading"]["reader_characters"] == 5
    assert found["reading"]["seen"]["real"] > 0.7  # bars are easily read
    # the real split and the GAN's images are drawn alike here, the font's are blurred
    features = found["features"]
    assert features["gan"]["kid"] < features["font"]["kid"]
    assert found["gap"]["font"]["features"] > 0.9
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("<img") == 5 * 3  # five characters in three sources
    assert 'lang="zh"' not in page  # Latin letters
    assert (tmp_path / "out" / "contact_sheet.png").stat().st_size > 1000
    # a second call measures nothing again, with the same table
    assert run(script.options(), script.main, line) == 0
    assert "measured already" in (again := capsys.readouterr().out)
    assert table(found) in out and table(found) in again
    # other settings in the same folder are refused
    assert run(script.options(), script.main, [*line, "--seed", "2"]) == 2


@pytest.mark.filterwarnings(
    "ignore:.*log_every_n_steps.*",
    "ignore:.*num_workers.*",
    "ignore:.*does not have many workers.*",
)
def test_the_accuracy_score_is_that_of_two_trained_classifiers(
    stores, tmp_path, load_script, monkeypatch, capsys
):
    """Small ones, of a few steps: what they read of the held-out images is in the figures."""
    import classifier.train
    from classifier.export import load_model

    monkeypatch.setattr(gan.gap, "STEPS", 4)
    small = _config(batch_size=32)
    monkeypatch.setattr(classifier.train, "preset", lambda name: ("small", small))
    about = {"trained_on": stores["real"].content}
    made = store(tmp_path / "samples", "gan", "ABCDE" * 15, seed=4, notes=about)
    script, out = load_script("evaluate_gan"), tmp_path / "out"
    line = (
        f"--real {stores['real'].path} --test {stores['test'].path} --font {stores['font'].path} "
        f"--gan {made.path} --reader {stores['clean'].path} --out {out} "
        "--reader-steps 4 --score-steps 10"
    )
    assert run(script.options(), script.main, line.split()) == 0
    told = [row for row in capsys.readouterr().out.splitlines() if row.startswith("classification")]
    assert len(told) == 1 and "not measured" not in told[0]
    found = json.loads((out / "metrics.json").read_text("utf-8"))["score"]
    assert found.keys() == {"font", "gan"}
    test = stores["test"]
    labels = test.column("label")
    for name, score in found.items():
        read = load_model(out / f"trained_on_{name}").probabilities(np.asarray(test.images))
        right = np.array(list("ABC"))[read[:, :3].argmax(1)] == labels
        assert score["accuracy"] == pytest.approx(right.mean())
        trained = json.loads((out / f"trained_on_{name}" / "metrics.json").read_text("utf-8"))
        assert trained["steps"] == 10


def test_only_ideographs_are_said_to_be_chinese():
    rows = [{"char": c, "real": 1, "strips": [], "values": []} for c in "A國あ한"]
    page = gan.page._PAGE.render(table="", rows=rows, classes=rows)
    assert page.count('<td lang="zh">國</td>') == page.count('lang="zh"') == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--font {0}/none", "no store"),
        ("--inception {0}/none.pth", "no such file"),
        ("--reader-steps 1", "must be at least 4"),
        ("--test {0}/real", "are training images of"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    arguments, says, stores, tmp_path, load_script, capsys
):
    script = load_script("evaluate_gan")
    line = (
        f"--real {tmp_path}/real --font {tmp_path}/font --gan {tmp_path}/gan --out {tmp_path}/out "
        + arguments.format(tmp_path)
    )
    assert run(script.options(), script.main, line.split()) == 2
    error = capsys.readouterr().err.strip()
    assert says in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()
