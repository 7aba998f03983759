"""A classifier run from stores to a model: resume, threshold, export, prediction."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import Stop, stop_classifier_after

from synth.alphabet import Alphabet
from synth.canvas import Canvas, place
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings(
        "ignore:.*log_every_n_steps.*",
        "ignore:.*num_workers.*",
        "ignore:.*does not have many workers.*",
    ),
]


ALPHABET = Alphabet.of("ABC")
OTHERS = "XYZ"


def _picture(char: str, rng: np.random.Generator) -> np.ndarray:
    """A pattern of bars of its own for each character, jittered."""
    image = np.zeros((64, 64), np.uint8)
    code = {c: i for i, c in enumerate("ABCXYZ")}[char] + 1
    shift = rng.integers(-3, 4)
    for bit in range(3):
        if code >> bit & 1:
            at = 12 + 16 * bit + shift
            image[at : at + 6, 8:56] = 255
    image[8:56, 28 + shift : 33 + shift] = 255
    # no two alike: a test image equal to a training image would be refused
    return image - (image // 255) * rng.integers(0, 40, image.shape, dtype=np.uint8)


def _store(path: Path, source: str, chars: str, per_char: int, split: str | None = None) -> Store:
    rng = np.random.default_rng(len(chars) * per_char)
    with StoreWriter(path, Canvas(), ALPHABET, {"command": "test"}) as writer:
        for char in chars:
            label = char if char in ALPHABET else "other"
            shown = "" if source == "real" and label == "other" else char
            samples = [
                Sample(
                    label,
                    shown,
                    source,
                    split or ("val" if i % 5 == 0 or char == "Z" else "train"),
                    kind="character" if label != "other" else "common",
                )
                for i in range(per_char)
            ]
            pictures = [place(_picture(char, rng), Canvas()) for _ in samples]  # as at import
            writer.append(np.stack(pictures), samples)
    return Store.open(path)


def _stores(top: Path) -> dict[str, Store]:
    return {
        "real": _store(top / "real", "real", "ABC", 15),
        "font": _store(top / "font", "font", "ABCXYZ", 12),
    }


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Store]:
    top = tmp_path_factory.mktemp("stores")
    return _stores(top) | {"test": _store(top / "test", "real", "ABCXYZ", 6, "test")}


def _config(**changes):
    from classifier.config import PRESETS

    small = replace(
        PRESETS["small"],
        members=1,
        steps=48,
        steps_per_epoch=8,
        batch_size=16,
        lr=4e-3,
        ema_decay=0.8,
        other_share=None,
        augment_strength=0.3,
        precision="32-true",
    )
    return replace(small, **changes)


@pytest.fixture(scope="module")
def finished(stores, tmp_path_factory) -> Path:
    from classifier.train import train

    out = tmp_path_factory.mktemp("runs") / "whole"
    train(stores["real"], [stores["font"]], out, _config(), 1, {}, stores["test"])
    return out


def test_it_learns_and_tells_what_it_did(finished, stores):
    figures = json.loads((finished / "metrics.json").read_text("utf-8"))
    assert figures["test"]["images"] == 36
    assert figures["test"]["groups"]["rare"] > 0.9  # 12 training images a class: the group "rare"
    assert figures["test"]["other_auroc"] > 0.9
    assert 0 < figures["threshold"] < 1
    assert figures["held_out_others"].keys() == {"unseen"}  # the 12 of Z
    found = figures["held_out_others"]["unseen"]
    assert found["images"] == 12
    assert found["called_other"] == pytest.approx(figures["validation"]["other_found"])
    lines = [json.loads(x) for x in (finished / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert all(set(x) >= {"step", "lr"} for x in lines)
    # each validation has a line, the last one that of what is kept
    validated = [x for x in lines if "val_known" in x]
    assert [x["step"] for x in validated] == [8, 16, 24, 32, 40, 48]
    assert all("loss" not in x for x in validated) and lines[-1] is validated[-1]
    assert "real" in (finished / "mix.txt").read_text("utf-8")


def test_a_finished_run_says_so(finished, stores, capsys):
    from classifier.train import train

    before = (finished / "model.safetensors").stat().st_mtime_ns
    arguments = (stores["real"], [stores["font"]], finished, _config(), 1, {}, stores["test"])
    train(*arguments)
    assert "finished" in capsys.readouterr().out
    assert (finished / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"test: .* -> None"):  # not the call that made it
        train(*arguments[:-1])


def test_a_finished_run_says_so_first_and_stays_bound_to_its_data(
    finished, stores, tmp_path, monkeypatch, capsys
):
    """What takes long on large stores, and may refuse by now, is not looked for again."""
    from classifier import train as module

    def asked(*_):
        raise AssertionError("looked through the stores of a finished run")

    for name in ("refuse_copies", "refuse_leaks", "prepare", "fit"):
        monkeypatch.setattr(module, name, asked)
    real, font, test = stores["real"], stores["font"], stores["test"]
    found = module.train(real, [font], finished, _config(), 1, {}, test)
    assert found == json.loads((finished / "metrics.json").read_text("utf-8"))
    assert "this run is finished" in capsys.readouterr().out

    digest = real.column("sha256")[real.rows("train")[0]]
    (tmp_path / "decided.csv").write_text(f"sha256,label\n{digest},B\n", "utf-8")
    other = _store(tmp_path / "other", "font", "ABCXYZ", 11)
    for stores_of, seed, corrections, says in (
        ((real, [], test), 1, None, "stores: "),
        ((real, [other], test), 1, None, "stores: "),
        ((other, [font], test), 1, None, "stores: "),
        ((real, [font], other), 1, None, "test: "),
        ((real, [font], test), 2, None, "seed: 1 -> 2"),
        ((real, [font], test), 1, tmp_path / "decided.csv", "corrections: None -> "),
    ):
        first, synth, measured = stores_of
        with pytest.raises(InputError, match=says):
            module.train(first, synth, finished, _config(), seed, {}, measured, corrections)
    with pytest.raises(InputError, match=r"lr: 0\.004 -> 0\.001"):
        module.train(real, [font], finished, _config(lr=1e-3), 1, {}, test)


def test_interrupted_equals_unbroken(finished, stores, tmp_path):
    from classifier.train import train

    out = tmp_path / "broken"
    arguments = (stores["real"], [stores["font"]], out, _config(), 1, {}, stores["test"])
    with stop_classifier_after(8):
        train(*arguments)
    assert not (out / "model.json").exists()
    with pytest.raises(InputError, match=r"lr: 0\.004 -> 0\.001"):
        train(*arguments[:3], _config(lr=1e-3), 1, {}, None)
    train(*arguments)
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_loaded_model_answers_like_the_one_that_was_saved(finished, stores):
    from classifier.export import load_model

    model = load_model(finished)
    assert model.others == ("X", "Y")  # Z is held out: validation only
    images = np.asarray(stores["test"].images)
    p = model.probabilities(images)
    assert p.shape == (36, 6) and np.allclose(p.sum(1), 1, atol=1e-5)
    # one at a time gives the same as all at once
    one = np.concatenate([model.probabilities(images[i : i + 1]) for i in range(5)])
    assert np.allclose(one, p[:5], atol=1e-5)
    labels, confidence, score = model.predict(images)
    assert set(labels) <= {"A", "B", "C", "other"}
    assert ((score >= 0) & (score <= 1)).all() and ((confidence >= 0) & (confidence <= 1)).all()


def test_predict_files_reads_labels_and_skips_what_is_broken(finished, tmp_path):
    import csv

    from PIL import Image

    from classifier.predict import predict_files

    folder = tmp_path / "images" / "sub"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for char in "ABC":
        for i in range(3):
            Image.fromarray(255 - _picture(char, rng)).save(folder / f"{char}{i}.png")
    (folder / "broken.png").write_bytes(b"no image")
    out = tmp_path / "predictions.csv"
    assert predict_files(finished, [tmp_path / "images"], out, 1) == (9, 1)
    with out.open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == ["path", "label", "confidence", "other"]
    right = [Path(r["path"]).name[0] == r["label"] for r in rows]
    assert sum(right) >= 8
    assert "broken.png" in (tmp_path / "predictions.csv.skipped").read_text("utf-8")
    with pytest.raises(InputError, match="no such file"):
        predict_files(finished, [tmp_path / "nowhere"], out, 1)
    only_bad = tmp_path / "bad"
    only_bad.mkdir()
    (only_bad / "x.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of 1 images could be read"):
        predict_files(finished, [only_bad], tmp_path / "none.csv", 1)
    assert not (tmp_path / "none.csv").exists()


def test_a_damaged_model_is_one_clear_error(finished, tmp_path):
    import shutil

    from classifier.export import load_model

    with pytest.raises(InputError, match="no model"):
        load_model(tmp_path)
    for name, change in (
        ("model.safetensors", lambda b: b[: len(b) // 2]),
        ("model.safetensors", lambda b: b""),
        ("model.json", lambda b: b[:50]),
        ("model.json", lambda b: b.replace(b'"format": 1', b'"format": 9')),
        ("model.json", lambda b: b.replace(b'"others": [', b'"others": ["Q",')),
    ):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in ("model.safetensors", "model.json"):
            shutil.copy(finished / file, copy / file)
        (copy / name).write_bytes(change((copy / name).read_bytes()))
        with pytest.raises(InputError, match=f"^{re.escape(str(copy))}: ") as raised:
            load_model(copy)
        assert "\n" not in str(raised.value)


def test_another_alphabet_is_refused_with_both_sides(stores, tmp_path):
    from classifier.train import train

    foreign = tmp_path / "foreign"
    with StoreWriter(foreign, Canvas(), Alphabet.of("ABD"), {}) as writer:
        writer.append(np.zeros((1, 64, 64), np.uint8), [Sample("A", "A", "font")])
    with pytest.raises(InputError, match="only here: D, only there: C"):
        train(stores["real"], [Store.open(foreign)], tmp_path / "run", _config(), 1, {})
    assert not (tmp_path / "run").exists()


def test_a_test_image_that_was_trained_on_is_refused(stores, tmp_path):
    from classifier.train import train

    real = stores["real"]
    row = int(real.rows("train")[0])
    with StoreWriter(tmp_path / "leak", Canvas(), ALPHABET, {}) as writer:
        writer.append(
            np.asarray(real.images[row : row + 1]), [Sample("A", "A", "real", split="test")]
        )
    with pytest.raises(InputError, match="1 images of the test split are training images"):
        train(real, [], tmp_path / "run", _config(), 1, {}, Store.open(tmp_path / "leak"))
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_is_bound_to_its_data(stores, tmp_path, monkeypatch):
    from classifier import train as module

    def stop(*_):
        raise Stop

    monkeypatch.setattr(module, "fit", stop)
    with pytest.raises(Stop):
        module.train(stores["real"], [stores["font"]], tmp_path / "run", _config(), 1, {})
    with pytest.raises(InputError, match="stores: "):
        module.train(stores["real"], [], tmp_path / "run", _config(), 1, {})


DOUBTED = [np.array([0.01, 0.02, 0.03, 0.04, 0.01, 0.01, 0.9, 0.01]), np.ones(2)]


def _two_classes(font_of: int = 1, **settings):
    """Four real images of each of two classes and two font images of one of them."""
    from classifier.mixing import Mix, MixSettings, Pool

    real = Pool("real", np.arange(8), np.array([0] * 4 + [1] * 4), np.zeros(8, np.int64))
    font = Pool("font", np.arange(2), np.full(2, font_of), np.ones(2, np.int64))
    mixed = MixSettings(**{"skip_empty": True} | settings)
    return Mix.of([real, font], ("a", "b", "other"), mixed, seed=1, batch_size=4, total_steps=4)


def test_doubt_never_empties_a_class():
    from classifier.cleaning import believed

    weights, kept = believed(_two_classes(), DOUBTED, 0.10)
    # class 0 has nothing else: its more probable half stays; class 1 keeps what is believed
    assert weights[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 0] and kept == 1
    assert weights[1].tolist() == [1, 1]


@pytest.mark.parametrize(
    "off",
    [
        {"weights": {"real": 9, "font": 0, "gan": 0}},
        {"source_weights": {"a": {"font": 0}}},
        # it is "few" with its four real images, and "none" without
        {"source_weights": {"few": {"font": 0}, "none": {"font": 0}}},
    ],
)
def test_images_of_a_source_that_is_switched_off_are_none_that_a_class_has(off):
    """Two font images of the class are there, and never shown: it would be gone without a word."""
    from classifier.cleaning import believed

    mix = _two_classes(font_of=0, **off)
    weights, kept = believed(mix, DOUBTED, 0.10)
    assert weights[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 0] and kept == 1
    assert (mix.with_weights(weights).prior()[:2] > 0).all()


def test_a_class_that_gets_font_images_for_its_real_ones_is_not_emptied():
    """Without its four real images the class is of another group, which has font images."""
    from classifier.cleaning import believed

    mix = _two_classes(font_of=0, source_weights={"few": {"font": 0}})
    weights, kept = believed(mix, DOUBTED, 0.10)
    assert weights[0].tolist() == [0] * 6 + [1, 0] and kept == 0
    assert (mix.with_weights(weights).prior()[:2] > 0).all()


def test_threshold_images_are_held_out(stores):
    """Z is in no training split; X and Y's validation images do not set the threshold."""
    from classifier.held_out import threshold_images
    from classifier.setup import prepare

    held = threshold_images(prepare(stores["real"], [stores["font"]], _config(), 1, None))
    images, target = held.images, held.targets
    assert held.doubt.startswith("only 12 images show a character held out")  # and it is told
    font = stores["font"]
    z = font.rows("val")[font.column("char")[font.rows("val")] == "Z"]
    assert (target == 3).sum() == len(z) == 12
    shown = {image.tobytes() for image in images[target == 3]}
    assert shown == {np.asarray(font.images[r]).tobytes() for r in z}
    assert set(target[target < 3]) == {0, 1, 2}


def test_wrong_labels_are_left_out_and_right_ones_kept(stores, tmp_path):
    """Of 30 images filed under each character 4 show others: the cleaner finds them."""
    import pytorch_lightning as pl

    from classifier.bending import Bending
    from classifier.cleaning import Cleaner, given_probabilities
    from classifier.data import MixData
    from classifier.lit import ClassifierModule
    from classifier.mixing import Mix, MixSettings, Pool, training_classes
    from classifier.pipeline import Augment

    rng = np.random.default_rng(9)
    shown = "A" * 26 + "BBCC" + "B" * 26 + "AACC" + "C" * 26 + "AABB"
    given = "A" * 30 + "B" * 30 + "C" * 30
    with StoreWriter(tmp_path / "noisy", Canvas(), ALPHABET, {}) as writer:
        pictures = [place(_picture(c, rng), Canvas()) for c in shown]
        writer.append(np.stack(pictures), [Sample(c, c, "real") for c in given])
    noisy = Store.open(tmp_path / "noisy")
    config = _config(steps=120, steps_per_epoch=60, clean_at=(0.5,))
    all_stores = [noisy, stores["font"]]
    others, targets = training_classes(ALPHABET, all_stores)
    pools = [Pool.of(s, t) for s, t in zip(all_stores, targets, strict=True)]
    names = (*ALPHABET.classes, *others)
    mix = Mix.of(pools, names, MixSettings(), seed=1, batch_size=16, total_steps=120)
    data = MixData(all_stores, mix, Augment.none(), seed=1, steps_per_epoch=60)
    steady = np.asarray(noisy.images)
    module = ClassifierModule(config, len(names), 3, Bending(), 1, steady=steady)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=120,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Cleaner(data, config)],
    )
    trainer.fit(module, data)
    weights = data.mix.weights
    assert weights is not None
    wrong = np.array([s != g for s, g in zip(shown, given, strict=True)])
    left_out = weights[0] == 0
    assert left_out[wrong].mean() > 0.7 and left_out[~wrong].mean() < 0.05
    assert (weights[1] == 1).all()  # synthetic labels are never doubted
    p = given_probabilities(module, data)[0]
    assert np.median(p[~wrong]) > 0.5 > np.median(p[wrong])
    assert torch.isfinite(torch.from_numpy(p)).all()


def _cleaned_at(config) -> list[int]:
    """The steps after which labels are doubted."""
    from types import SimpleNamespace

    from classifier.cleaning import Cleaner

    data = SimpleNamespace(mix=SimpleNamespace(pools=[]))
    return sorted(epoch * config.steps_per_epoch for epoch in Cleaner(data, config).epochs)


def test_short_runs_doubt_labels_about_where_long_ones_do():
    from classifier.config import PRESETS, ClassifierConfig

    short = replace(PRESETS["demo"], steps=400)  # scripts/demo.py on a CPU without bfloat16
    for config in (*PRESETS.values(), short):
        assert config.with_epochs() is config
    assert _cleaned_at(PRESETS["demo"]) == [200, 350] and _cleaned_at(short) == [150, 250]
    small = PRESETS["small"]
    wanted = {
        5000: [1750, 3000],
        1700: [500, 1000],
        1000: [250, 500],
        300: [120, 180],
        250: [100, 150],
        5: [2, 3],
    }
    for steps, at in wanted.items():
        config = replace(small, steps=steps).with_epochs()
        assert _cleaned_at(config) == at
    assert replace(small, steps=1).with_epochs().steps_per_epoch == 1
    assert ClassifierConfig(steps=2).with_epochs().steps_per_epoch == 1


def test_labels_are_not_doubted_when_nothing_is_trained_any_more():
    assert _cleaned_at(_config(steps=250, steps_per_epoch=250)) == []
    assert _cleaned_at(_config(steps=12, steps_per_epoch=4, clean_at=(0.3, 0.99, 1.0))) == [4, 8]
    # the last epoch is a short one
    assert _cleaned_at(_config(steps=17, steps_per_epoch=16, clean_at=(1.0,))) == [16]


def test_a_known_label_is_doubted_among_the_known_characters_only(tmp_path):
    """That an image looks like something outside does not make its label wrong."""
    from types import SimpleNamespace

    from classifier.bending import Bending
    from classifier.cleaning import given_probabilities
    from classifier.lit import ClassifierModule
    from classifier.mixing import Pool

    logits = np.random.default_rng(3).normal(0, 3, (4, 6)).astype(np.float32)
    target = np.array([0, 2, 3, 3])  # two known ones, two others

    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(logits)

    module = ClassifierModule(_config(), 6, 3, Bending(), 1)
    module.average.module = Fixed()
    pool = Pool("real", np.arange(4), target, np.zeros(4, np.int64))
    images = SimpleNamespace(fetch=lambda store, row: np.zeros((len(row), 64, 64), np.uint8))
    data = SimpleNamespace(mix=SimpleNamespace(pools=[pool]), images=images)
    (p,) = given_probabilities(module, data)
    e = np.exp(logits.astype(np.float64))
    wanted = [
        e[0, 0] / e[0, :3].sum(),
        e[1, 2] / e[1, :3].sum(),
        e[2, 3:].sum() / e[2].sum(),
        e[3, 3:].sum() / e[3].sum(),
    ]
    assert np.allclose(p, wanted, rtol=1e-5)


def test_the_threshold_is_set_on_blanks_too_where_a_gan_draws_the_others(stores, tmp_path):
    from classifier.held_out import threshold_images
    from classifier.setup import prepare

    gan = _store(tmp_path / "gan", "gan", "ABCXYZ", 12)
    rng = np.random.default_rng(8)
    pictures = rng.integers(0, 256, (6, 64, 64), np.uint8)
    samples = [
        Sample("other", "", "font", "val" if i % 2 else "train", kind="blank") for i in range(6)
    ]
    with StoreWriter(tmp_path / "blanks", Canvas(), ALPHABET, {}) as writer:
        writer.append(pictures, samples)
    synth = [stores["font"], gan, Store.open(tmp_path / "blanks")]
    held = threshold_images(prepare(stores["real"], synth, _config(), 1, None))
    images, target = held.images, held.targets
    z = gan.rows("val")[gan.column("char")[gan.rows("val")] == "Z"]
    wanted = {np.asarray(gan.images[r]).tobytes() for r in z} | {
        p.tobytes() for p in pictures[1::2]
    }
    assert {image.tobytes() for image in images[target == 3]} == wanted
