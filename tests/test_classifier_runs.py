"""What a run does with each option alone, and what a machine chooses for it."""

import contextlib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_classifier_options import train
from test_classifier_train import ALPHABET, _config, _stores

from classifier import finished, lit
from classifier import train as runs
from classifier.config import PRESETS
from classifier.data import MixData
from classifier.export import load_model
from classifier.finished import Finished
from classifier.fit import PROFILERS
from classifier.hardness import Hardness
from classifier.held_out import HeldOut, threshold_images
from classifier.losses import log_prior
from classifier.predict import predict_files
from classifier.rejection import rates_at
from classifier.setup import prepare
from classifier.suspects import Suspects
from gan.train import fast_precision
from synth import learning, processor
from synth.alphabet import Alphabet
from synth.errors import InputError
from synth.store import Store

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings(
        "ignore:.*log_every_n_steps.*", "ignore:.*workers.*", "ignore:.*lr_scheduler.step.*"
    ),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Store]:
    return _stores(tmp_path_factory.mktemp("stores"))


def test_the_adjustment_is_by_the_mix_in_force(stores, tmp_path, monkeypatch):
    """By natural shares a class that loses doubted images is shown less often."""
    step, seen = lit.ClassifierModule.training_step, []

    def training_step(self, batch, index):
        now = log_prior(torch.from_numpy(self.trainer.datamodule.mix.prior())).float()
        seen.append((torch.equal(self.adjustment.cpu(), now), self.adjustment.tolist()))
        return step(self, batch, index)

    monkeypatch.setattr(lit.ClassifierModule, "training_step", training_step)
    monkeypatch.setattr("classifier.cleaning.MOST_DOUBTED", 1.0)
    changes = {"logit_adjustment": 1.0, "sampling": "natural", "doubt_below": 1.0}
    train(stores, tmp_path / "run", clean_at=(0.3,), **changes)
    assert [same for same, _ in seen] == [True] * 12
    assert len(Suspects.read(tmp_path / "run").row) == 36
    first, last = seen[0][1], seen[-1][1]
    assert seen[3][1] == first and seen[4][1] == last != first  # an epoch has 4 steps
    # 21 images of each known class (12 real ones), 9 of each other: then the real ones are gone
    assert first[0] - first[4] > last[0] - last[4]


def test_synthetic_losses_are_weighed_and_real_ones_are_not(stores):
    setup = prepare(stores["real"], [stores["font"]], _config(), 1, None)
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, setup.mix.classes, generator=generator)
    batch = {"target": torch.arange(8) % 4, "source": torch.arange(8) % 2, "row": torch.arange(8)}
    plain, half = (
        lit.ClassifierModule(
            _config(synthetic_loss_weight=w), setup.mix.classes, 3, setup.bending
        )._losses(logits, batch)
        for w in (1.0, 0.5)
    )
    assert torch.equal(half[::2], plain[::2]) and torch.allclose(half[1::2], plain[1::2] / 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"synthetic_loss_weight": 0.3},
        {"hard_weight": 8.0},
        {"noise_loss": "gce"},
        {"noise_loss": "sce"},
        {"noise_loss": "elr"},
        {"smoothing_real": 0.3},
        {"smoothing_synthetic": 0.3},
        {"weight_decay": 5.0},
        {"warmup_share": 0.9},
        {"ema_decay": 0.0},
    ],
)
def test_each_option_alone_changes_what_a_run_learns(stores, tmp_path, plain_run, changes):
    figures = train(stores, tmp_path / "run", **changes)
    assert figures["val"]["images"] == 9
    weights = [load_model(folder).network.state_dict() for folder in (tmp_path / "run", plain_run)]
    assert not torch.equal(*(w["head.weight"] for w in weights))


@pytest.fixture(scope="module")
def plain_run(stores, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(stores, out)
    return out


def test_other_characters_as_one_class(stores, tmp_path):
    figures = train(stores, tmp_path / "run", others="one")
    model = load_model(tmp_path / "run")
    assert model.others == () and model.card.classes == 4
    assert figures["val"]["images"] == 9 and "other" in figures["mix"]


@pytest.mark.parametrize("score", ["logit", "energy", "softmax"])
def test_a_run_keeps_its_score_and_answers_by_it(stores, tmp_path, score):
    train(stores, tmp_path / "run", other_score=score)
    model = load_model(tmp_path / "run")
    assert model.card.score == score
    rows = stores["real"].rows("val")
    labels, _, others = model.predict(stores["real"].take(rows))
    answers = Finished.open(tmp_path / "run", "x").answers("val")
    assert np.allclose(others, answers.score, atol=1e-5)
    assert [ALPHABET.classes[i] for i in answers.answer] == labels
    assert ("The other score", score) in finished.facts(Finished.open(tmp_path / "run", "x"))


def test_thresholds_by_group_are_kept_and_answered_by(stores, tmp_path, monkeypatch):
    monkeypatch.setattr("classifier.rejection.ENOUGH", 1)
    figures = train(stores, tmp_path / "run", threshold_by="group", steps=24, ema_decay=0.5)
    model = load_model(tmp_path / "run")
    assert figures["thresholds"].keys() == {"rare"}  # 12 images of each
    assert np.allclose(model.card.limits, [figures["thresholds"]["rare"]] * 3)
    rows = stores["real"].rows("val")
    labels, _, _ = model.predict(stores["real"].take(rows))
    run = Finished.open(tmp_path / "run", "x")
    assert [ALPHABET.classes[i] for i in run.answers("val").answer] == labels
    told = dict(finished.facts(run))
    assert told["Thresholds by group"].startswith("rare ")
    assert "Rates at those thresholds when they were set" in told
    held = threshold_images(prepare(stores["real"], [stores["font"]], _config(), 1, None))
    p = model.probabilities(held.images)
    rates = rates_at(p, held.targets, 3, model.card.limits)
    assert figures["validation"] == pytest.approx(rates, abs=1e-6)


def test_a_group_has_its_threshold_where_no_common_one_would_do(monkeypatch, capsys):
    """Half of the known images look like others: no threshold for all keeps them. None of the
    group "few" does, and its own finds 40 others: that is what the rates are of."""
    p = np.repeat([[0.001, 0, 0.999], [0, 0.9, 0.1], [0.001, 0, 0.999], [0, 0.2, 0.8]], 40, 0)
    target = np.repeat([0, 1, 2, 2], 40)
    char = np.repeat(["A", "B", "", "Z"], 40)
    kind = np.repeat(["character", "character", "blank", "common"], 40)
    held = HeldOut(np.zeros((160, 8, 8), np.uint8), target, char, kind)
    monkeypatch.setattr(runs, "threshold_images", lambda setup: held)
    monkeypatch.setattr(runs, "real_counts", lambda real: {"A": 60, "B": 4})
    monkeypatch.setattr(runs, "others_in_training", lambda setup: frozenset())
    setup = SimpleNamespace(stores=[SimpleNamespace(alphabet=Alphabet.of("AB"))], known=2)
    model = SimpleNamespace(probabilities=lambda images: p)
    found = runs._threshold(model, setup, _config(threshold_by="group"))
    assert found.threshold == found.by_group["common"] == 1 > found.by_group["few"]
    wanted = {"known_right": 1.0, "known_lost": 0.0, "other_found": 0.5}
    assert found.rates == pytest.approx(wanted)
    # the blank ones are taken for A, which has no threshold; B's own finds those that look like it
    assert found.others == {
        "unseen": {"images": 40, "called_other": 1.0},
        "blank": {"images": 40, "called_other": 0.0},
    }
    assert "nothing will be called other" not in capsys.readouterr().out
    # with half of the known ones to lose there is one for all
    half = runs._threshold(model, setup, _config(known_lost=0.5))
    assert half.threshold < 1 and half.rates["known_lost"] == pytest.approx(0.5)
    every = runs._threshold(model, setup, _config(known_lost=1.0, threshold_by="group"))
    assert max(every.by_group.values()) < 1
    found = runs._threshold(model, setup, _config())
    assert (found.threshold, found.rates, found.by_group) == (1, {}, {})
    assert "nothing will be called other" in capsys.readouterr().out


def test_the_body_moves_once_it_is_thawed(stores, tmp_path, monkeypatch):
    """Frozen for 2 of 6 steps."""
    body, update = [], lit.ClassifierModule.on_train_batch_end

    def note(self, *given):
        body.append(self.network.body[0].first.weight.detach().clone())
        return update(self, *given)

    monkeypatch.setattr(lit.ClassifierModule, "on_train_batch_end", note)
    train(stores, tmp_path / "run", steps=6, freeze_steps=2, optimiser="sgd", lr=0.02)
    assert torch.equal(body[0], body[1])
    assert all(not torch.equal(a, b) for a, b in pairwise(body[1:]))
    assert len(body) == 6


def test_hard_images_are_shown_oftener_and_wrong_labels_are_not(stores):
    """In the mix of a run: easy ones read at 0.98, hard ones at 0.5, wrong labels at 0.02."""
    setup = prepare(stores["real"], [stores["font"]], _config(steps=400), 1, None)
    data = MixData(setup.stores, setup.mix, setup.augment, seed=1, steps_per_epoch=100)
    hard = Hardness(data, 4.0)
    module = lit.ClassifierModule(_config(), setup.mix.classes, 3, setup.bending)
    rows = setup.mix.pools[0].rows
    kind = np.arange(len(rows)) % 3
    module.given = torch.tensor([0.98, 0.5, 0.02])[torch.from_numpy(kind)]
    batch = {"store": torch.zeros(len(rows), dtype=torch.int64), "row": torch.from_numpy(rows)}
    before = shown(data, rows, kind)
    hard.on_train_batch_end(None, module, None, batch)
    hard.on_train_epoch_end(None, module)
    easy, middling, wrong = shown(data, rows, kind) / before
    assert middling / easy == pytest.approx(4 / 1.235, rel=0.1)  # 1 + 3 x 4 p (1 - p)
    assert 0.85 < wrong / easy < 1.15


def shown(data: MixData, rows: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """[3] places of the run that images of each kind have, as a share of the real ones'."""
    picks = [data.mix.batch(step) for step in range(data.mix.total_steps)]
    row = np.concatenate([p.row[p.store == 0] for p in picks])
    return np.bincount(kind[np.searchsorted(rows, row)], minlength=3) / len(row)


@pytest.mark.parametrize("model", ["resnet18", "efficientnet-b0"])
def test_a_librarys_network_is_trained_saved_and_read_back(stores, tmp_path, model):
    changes = {"steps": 4, "steps_per_epoch": 4, "clean_at": ()}
    figures = train(stores, tmp_path / "run", model=model, optimiser="adamw", **changes)
    assert figures["val"]["images"] == 9 and figures["steps"] == 4
    read, images = load_model(tmp_path / "run"), stores["real"].take(stores["real"].rows("val"))
    p = read.probabilities(images)
    assert p.shape == (9, 6) and np.allclose(p.sum(1), 1, atol=1e-5)
    answers = Finished.open(tmp_path / "run", "x").answers("val")
    assert np.allclose(p[:, :3].max(1), answers.confidence, atol=1e-5)
    out = tmp_path / "p.csv"
    assert predict_files(tmp_path / "run", [stores["real"].path], out, 1) == (45, 0)


def test_the_other_profilers_are_made_and_write_where_the_time_went(stores, tmp_path):
    assert set(PROFILERS) == {"simple", "advanced", "pytorch"}
    # of few steps PyTorch's has no whole schedule to record
    assert PROFILERS["pytorch"](tmp_path, "profile").filename == "profile"
    train(stores, tmp_path / "run", profile="advanced", steps=4, clean_at=())
    (profile,) = (tmp_path / "run").glob("*profile*.txt")
    assert "training_step" in profile.read_text("utf-8")


# ---- what a machine chooses ----


@pytest.mark.parametrize(
    ("cuda", "on_gpu", "on_cpu", "preset", "precision"),
    [
        (True, True, "AVX2", "large", "bf16-mixed"),
        (True, False, "bf16", "large", "16-mixed"),  # it only imitates bfloat16
        (False, False, "bf16", "small", "bf16-mixed"),
        (False, True, "AVX512", "lean", "32-true"),
        (False, True, "AVX2", "light", "32-true"),
    ],
)
def test_preset_and_precision_are_the_machines(
    monkeypatch, cuda, on_gpu, on_cpu, preset, precision
):
    def supported(including_emulation=True):
        return on_gpu or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: on_cpu == "bf16")
    monkeypatch.setattr(processor, "_cpuinfo", lambda: frozenset({"AuthenticAMD"}))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: on_cpu)
    name, config = runs.preset(None)
    assert (name, config.precision) == (preset, precision)
    assert config.model == PRESETS[preset].model
    assert runs.preset("demo")[1].precision == precision
    # the GAN's is by the same check; it has no scaled gradients for float16
    wanted = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    assert fast_precision() == wanted


@pytest.mark.parametrize(
    ("words", "gains"),
    [
        ("AuthenticAMD avx512f avx512_bf16", True),
        ("GenuineIntel avx512f avx512_bf16", False),  # .55 of float32's products a second
        ("GenuineIntel avx512f avx512_bf16 amx_bf16", True),
        ("bf16 asimd", True),  # ARM
        ("", True),  # no Linux: what torch says
    ],
)
def test_intels_processors_gain_by_bfloat16_only_with_amx(monkeypatch, words, gains):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(processor, "_cpuinfo", lambda: frozenset(words.split()))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert learning.gains_by_bfloat16() == gains
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not learning.gains_by_bfloat16()


def test_the_processor_is_the_one_linux_names():
    about = Path("/proc/cpuinfo").read_text("utf-8")
    assert processor._cpuinfo() <= set(about.split()) and "processor" in processor._cpuinfo()


# ---- the command's options ----


def test_options_of_the_command_reach_the_run(stores, tmp_path, load_script, monkeypatch):
    script, got = load_script("train_classifier"), []
    monkeypatch.setattr(runs, "train", lambda *a: got.append(a[3]) or {})
    given = ["--real", str(stores["real"].path), "--out", str(tmp_path / "run")]
    options = {
        "clean_at": (0.2, 0.4, 0.8),
        "doubt_below": 0.2,
        "smoothing_real": 0.15,
        "smoothing_synthetic": 0.05,
        "ema_decay": 0.99,
        "weight_decay": 0.01,
        "warmup_share": 0.3,
        "other_share": 0.2,
        "others": "one",
        "other_score": "energy",
        "threshold_by": "group",
        "known_lost": 0.02,
    }
    words = list(given)
    for name, value in options.items():
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    for line in (given, words, [*words, "--cleaning", "false"]):
        script.main(script.options().parse_args(line))
    plain, changed, uncleaned = got
    assert all(getattr(changed, n) == v for n, v in options.items())
    assert all(getattr(plain, n) == getattr(PRESETS["small"], n) for n in options)
    assert uncleaned.clean_at == () and uncleaned.doubt_below == 0.2
    told = script.options().format_help()
    assert all(f"--{name.replace('_', '-')}" in told for name in options)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"others": "some"}, "--others 'some': there are each, one"),
        ({"other_score": "x"}, "--other-score 'x': there are norms, logit, energy, softmax"),
        ({"threshold_by": "class"}, "--threshold-by 'class': there are all, group"),
        ({"known_lost": 1.5}, "--known-lost 1.5: not between 0 and 1"),
        ({"clean_at": (0.3, 1.2)}, "--clean-at 1.2: not between 0 and 1"),
        ({"doubt_below": -0.1}, "--doubt-below -0.1"),
        ({"smoothing_real": 1.5}, "--smoothing-real 1.5"),
        ({"smoothing_synthetic": -1.0}, "--smoothing-synthetic -1"),
        ({"ema_decay": 1.5}, "--ema-decay 1.5"),
        ({"weight_decay": -1.0}, "--weight-decay -1"),
        ({"warmup_share": 2.0}, "--warmup-share 2"),
        ({"other_share": 2.0}, "other_share: 2.0 is not between 0 and 1"),
        (
            {"other_share": 0.3, "group_weights": {"rare": 2, "other": 2}},
            r"--group-weights: .* --other-share \(0.3\) alone",
        ),
        (
            {"other_share": 0.0, "class_weights": {"other": 2}},
            r"--class-weights: .* --other-share \(0\) alone",
        ),
    ],
)
def test_values_out_of_range_are_one_line(stores, tmp_path, monkeypatch, changes, says):
    monkeypatch.setattr("classifier.setup.ENOUGH_OTHERS", 1)
    with pytest.raises(InputError, match=says):
        train(stores, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_weight_of_other_counts_where_no_share_of_it_is_in_force(stores):
    """There are fewer such images than ENOUGH_OTHERS."""
    real, font = stores["real"], stores["font"]
    weighed = {"other_share": 0.3, "group_weights": {"other": 2.0}}
    priors = [
        prepare(real, [font], _config(**changes), 1, None).mix.prior()
        for changes in ({"other_share": 0.3}, weighed)
    ]
    assert [p[3:].sum() for p in priors] == pytest.approx([1 / 4, 2 / 5])


def test_weights_of_digits_are_those_of_characters(stores, tmp_path, load_script, monkeypatch):
    """In YAML a 1 is a number, and no class is called so."""
    script, got = load_script("train_classifier"), []
    monkeypatch.setattr(runs, "train", lambda *a: got.append(a[3]) or {})
    words = ["--real", str(stores["real"].path), "--out", str(tmp_path / "run")]
    words += ["--class-weights", "{1: 2, '7': 3, a: 4}", "--source-weights", "{1: {font: 0}}"]
    script.main(script.options().parse_args(words))
    assert got[0].class_weights == {"1": 2.0, "7": 3.0, "a": 4.0}
    assert got[0].source_weights == {"1": {"font": 0.0}}


@pytest.mark.parametrize("name", ["train_classifier", "review_labels"])
def test_short_runs_of_the_commands_have_short_epochs(
    stores, tmp_path, load_script, monkeypatch, name
):
    script, got = load_script(name), []
    monkeypatch.setattr(runs, "train", lambda *a: got.append(a[3]) or {})
    monkeypatch.setattr("classifier.review.require", lambda *a: got.append(a[2]) or 1 / 0)
    words = f"--real {stores['real'].path} --out {tmp_path}/run --preset small --steps 200"
    with contextlib.suppress(ZeroDivisionError):
        script.main(script.options().parse_args(words.split()))
    assert [config.steps_per_epoch for config in got] == [40]


def test_the_help_tells_the_range_of_the_rate_by_depth(stores, load_script):
    told = " ".join(load_script("train_classifier").options().format_help().split())
    assert "nearer to the head, 0.001..1 (default 1)" in told
    for value, fine in ((1e-3, True), (0.9e-3, False)):
        with contextlib.nullcontext() if fine else pytest.raises(InputError, match=r"0\.001 and 1"):
            prepare(stores["real"], [], _config(lr_decay_by_depth=value), 1, None)
