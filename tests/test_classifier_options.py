"""Each option of a training run through the run itself, resumed runs equal to unbroken ones."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupting import stop_classifier_after
from test_classifier_train import _config, _store, _stores

from classifier import train as runs
from classifier.config import PRESETS
from classifier.gradients import DEAD_AFTER, GradientCheck
from classifier.lit import ClassifierModule
from classifier.suspects import Suspects
from gan.config import PRESETS as GAN_PRESETS
from synth.errors import InputError
from synth.store import Store

pytestmark = [
    pytest.mark.usefixtures("alike_images"),
    pytest.mark.filterwarnings(
        "ignore:.*log_every_n_steps.*",
        "ignore:.*num_workers.*",
        "ignore:.*does not have many workers.*",
        "ignore:.*lr_scheduler.step.*optimizer.step.*",
    ),
]


class Group(torch.nn.Module):
    """In the place of a batch norm: normalises each image by itself."""

    def __init__(self, old: torch.nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = torch.nn.GroupNorm(4, old.num_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class Muted(torch.nn.Module):
    """In the place of any layer: nothing of it gets through, and no gradient gets back."""

    def __init__(self, old: torch.nn.Module) -> None:
        super().__init__()
        self.old = old

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.old(x) * 0


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> dict[str, Store]:
    return _stores(tmp_path_factory.mktemp("stores"))


def train(stores, out: Path, corrections: Path | None = None, profile=None, **changes) -> dict:
    real, font = stores["real"], [stores["font"]]
    config = _config(**{"steps": 12, "steps_per_epoch": 4} | changes)
    return runs.train(real, font, out, config, 1, {}, None, corrections, profile)


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def plain(stores, tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("plain") / "run"
    train(stores, out)
    return weights(out)


ALL_AT_ONCE = {  # each of them has state, or depends on the step, or draws random numbers
    "hard_weight": 4.0,
    "noise_loss": "elr",
    "monitor": "val_macro",
    "schedule": "plateau",
    "optimiser": "sgd",
    "lr": 0.02,
    "lr_decay_by_depth": 0.8,
    "freeze_steps": 2,
    "logit_adjustment": 1.0,
    "synthetic_loss_weight": 0.5,
}


@pytest.mark.parametrize(
    "changes",
    [
        ALL_AT_ONCE,
        # no validation is better than the first: the rate falls at the end of the fourth epoch
        {"schedule": "plateau", "flat": True},
        {"mixup": 0.4, "cutmix": 1.0, "schedule": "cosine"},
        # the shares of the classes change with the first epoch, and the adjustment with them
        {
            "logit_adjustment": 1.0,
            "sampling": "natural",
            "doubt_below": 1.0,
            "clean_at": (0.3,),
            "steps_per_epoch": 4,
        },
    ],
)
def test_interrupted_equals_unbroken_with_all_options(
    stores, tmp_path, monkeypatch, plain, changes
):
    changes = {"steps_per_epoch": 2} | changes
    if changes.pop("flat", False):
        monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", flat)
    monkeypatch.setattr("classifier.cleaning.MOST_DOUBTED", 1.0)
    train(stores, tmp_path / "whole", **changes)
    assert weights(tmp_path / "whole") != plain
    for step in (4, 8):
        with stop_classifier_after(step):
            train(stores, tmp_path / "broken", **changes)
    train(stores, tmp_path / "broken", **changes)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    whole, broken = (rates(tmp_path / name) for name in ("whole", "broken"))
    assert broken == whole


def test_interrupted_equals_unbroken_in_bfloat16(stores, tmp_path):
    """Where a machine computes in it, every preset trains in it. Here it may be emulated, which
    takes many times as long: as little of it as there can be."""
    exact = {"steps": 2, "steps_per_epoch": 1, "batch_size": 4}
    short = exact | {"precision": "bf16-mixed"}
    train(stores, tmp_path / "exact", **exact)
    train(stores, tmp_path / "whole", **short)
    with stop_classifier_after(1):
        train(stores, tmp_path / "broken", **short)
    train(stores, tmp_path / "broken", **short)
    assert weights(tmp_path / "exact") != weights(tmp_path / "whole")
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def flat(self) -> None:
    self.log("val_known", 0.5)


def rates(out: Path) -> list[float]:
    """The learning rate at each validation."""
    lines = (out / "metrics.jsonl").read_text("utf-8").splitlines()
    return [row["lr"] for row in map(json.loads, lines) if "val_known" in row]


def test_the_rate_falls_once_on_a_plateau(stores, tmp_path, monkeypatch):
    """After the fourth validation, the third without a better one. The steps of the fifth epoch
    have it, and it stays: Lightning must not count each validation again."""
    monkeypatch.setattr(ClassifierModule, "on_validation_epoch_end", flat)
    train(stores, tmp_path / "run", schedule="plateau", steps_per_epoch=2)
    found = rates(tmp_path / "run")
    assert found == pytest.approx([found[0]] * 4 + [0.3 * found[0]] * 2, abs=1e-5)


@pytest.mark.parametrize("changes", [{}, {"monitor": "val_macro"}])
def test_a_run_stopped_with_only_its_model_unwritten_writes_the_same(stores, tmp_path, changes):
    """No hook of training comes any more: without it the network would drop out and measure its
    norms on the images that set the threshold."""
    whole = train(stores, tmp_path / "whole", **changes)
    with stop_classifier_after(12):
        train(stores, tmp_path / "broken", **changes)
    broken = train(stores, tmp_path / "broken", **changes)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    for name in ("threshold", "validation", "val", "best"):
        assert broken[name] == whole[name]
    assert (whole["since_step"], broken["since_step"]) == (0, 12)


def test_a_run_without_validation_images_resumes_as_well(stores, tmp_path):
    """Lightning would train one batch more in the epoch that had ended, and shift all others."""
    real, font = (
        _store(tmp_path / s.path.name, s.path.name, chars, 12, "train")
        for s, chars in ((stores["real"], "ABC"), (stores["font"], "ABCXYZ"))
    )
    trained = {"real": real, "font": font}
    train(trained, tmp_path / "whole")
    with stop_classifier_after(4):
        train(trained, tmp_path / "broken")
    train(trained, tmp_path / "broken")
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_a_run_of_any_length_ends_with_a_validation(stores, tmp_path, monkeypatch):
    """17 steps at 16 an epoch: the last one is an epoch of its own, validated as well."""
    from classifier import lit

    steps, ended = [], lit.ClassifierModule.on_validation_epoch_end

    def note(self):
        ended(self)
        steps.append(self.global_step)

    monkeypatch.setattr(lit.ClassifierModule, "on_validation_epoch_end", note)
    train(stores, tmp_path / "run", steps=17, steps_per_epoch=16)
    assert steps == [16, 17]


def test_the_norms_are_measured_once_an_epoch_and_the_stores_read_once(
    stores, tmp_path, monkeypatch
):
    """Validation, the cleaner, the checkpoint and the end of the run all want the average."""
    from classifier import images, lit

    counts = {"norms": 0, "reads": 0}
    measure, read = lit.measure_norms, images._read

    def norms(network, given):
        counts["norms"] += 1
        measure(network, given)

    def reads(store, out):
        counts["reads"] += 1
        read(store, out)

    monkeypatch.setattr(lit, "measure_norms", norms)
    monkeypatch.setattr(images, "_read", reads)
    train(stores, tmp_path / "run", clean_at=(0.3, 0.6, 1.0))
    assert counts == {"norms": 3, "reads": 2}  # the two stores to train on


@pytest.mark.parametrize("blend", [{"mixup": 0.5}, {"cutmix": 1.0}])
def test_blended_images_get_their_own_probability(stores, tmp_path, monkeypatch, blend):
    """The probability of each label stands in for its row here: it must be the image's own,
    whichever of the two parts was the larger."""
    from classifier import hardness, lit

    whole, seen = lit.ClassifierModule._losses, []

    def losses(self, logits, batch, apart):
        out = whole(self, logits, batch, apart)
        self.given = batch["row"].float()
        return out

    def check(self, trainer, module, outputs, batch, *_):
        seen.append(torch.equal(module.given, batch["row"].float()))

    monkeypatch.setattr(lit.ClassifierModule, "_losses", losses)
    monkeypatch.setattr(hardness.Hardness, "on_train_batch_end", check)
    train(stores, tmp_path / "run", hard_weight=4.0, **blend)
    assert seen == [True] * 12


def test_a_network_that_doubts_most_images_is_not_believed(stores, tmp_path, capsys, plain):
    train(stores, tmp_path / "run", doubt_below=1.0, clean_at=(0.3,))
    assert "36 of 36 real images look doubtful, more than 50%" in capsys.readouterr().out
    assert len(Suspects.read(tmp_path / "run").row) == 0
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert figures["mix_at_end"] is None  # it is as it was planned
    assert weights(tmp_path / "run") == plain


def test_started_weights_are_trained_by_adamw_unless_an_optimiser_is_named(
    stores, tmp_path, load_script, monkeypatch
):
    script, got = load_script("train_classifier"), []
    monkeypatch.setattr(runs, "train", lambda *a: got.append(a[3].optimiser) or {})
    given = ["--real", str(stores["real"].path), "--out", str(tmp_path / "run")]
    for more in ([], ["--pretrained", "x"], ["--pretrained", "x", "--optimiser", "muon"]):
        script.main(script.options().parse_args([*given, *more]))
    assert got == ["muon", "adamw", "muon"]


def test_one_against_the_rest_changes_the_network_and_not_what_it_consists_of(
    stores, tmp_path, plain
):
    from safetensors.torch import load, load_file

    train(stores, tmp_path / "without", one_vs_rest=0.0)
    assert weights(tmp_path / "without") != plain
    without = load_file(tmp_path / "without" / "model.safetensors")
    with_it = load(plain)
    assert {k: v.shape for k, v in with_it.items()} == {k: v.shape for k, v in without.items()}


def test_more_characters_take_more_steps():
    small = PRESETS["small"]
    assert small.for_classes(3) == small.for_classes(100) == small
    assert small.for_classes(474).steps == 16062  # 5,000 x 4.74 ** 0.75
    gan = GAN_PRESETS["small"]
    assert gan.for_classes(70) == gan
    assert gan.for_classes(400) == replace(gan, recogniser_steps=2000)  # 1,000 x 4 ** 0.5


def test_the_head_alone_is_trained_while_the_rest_is_frozen(stores, tmp_path):
    start = ClassifierModule(_config(), 6, 3, runs_bending(), 1).network.state_dict()
    train(stores, tmp_path / "run", steps=4, freeze_steps=4, ema_decay=0.0)
    from safetensors.torch import load_file

    end = load_file(tmp_path / "run" / "model.safetensors")
    moved = {k for k, v in end.items() if not torch.equal(v, start[k]) and "running" not in k}
    assert {k for k in moved if "num_batches" not in k} == {"head.weight", "head.bias"}


def runs_bending():
    from classifier.bending import Bending

    return Bending()


def test_the_best_weights_are_kept_and_patience_ends_the_run(stores, tmp_path, capsys):
    """From the second validation on nothing is learned any more: the rate is nothing."""
    figures = train(stores, tmp_path / "run", steps=40, lr=1e-9, monitor="val_macro", patience=2)
    assert figures["steps"] == 12 and figures["best"]["step"] == 4
    assert "stopped at 12" in capsys.readouterr().out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8")
    assert "nan" not in lines.lower()
    # a run that was killed before its model was written does not train on
    for name in ("metrics.json", "model.json", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    again = train(stores, tmp_path / "run", steps=40, lr=1e-9, monitor="val_macro", patience=2)
    assert again["steps"] == 12 and again["best"] == figures["best"]


def test_replaced_layers_are_trained_and_measured(stores, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = "test_classifier_options:Group"
    figures = train(stores, tmp_path / "run", replace=(f"*norm?={spec}", f"stem.1={spec}"))
    assert figures["val"]["images"] == 9
    from safetensors.torch import load_file

    names = load_file(tmp_path / "run" / "model.safetensors")
    assert "stem.1.norm.weight" in names and not [n for n in names if "norm1.running" in n]
    from classifier.export import load_model

    with pytest.raises(InputError, match=r"test_classifier_options:Group.*--own-code"):
        load_model(tmp_path / "run")
    image = np.zeros((1, 64, 64), np.uint8)
    p = load_model(tmp_path / "run", own_code=True).probabilities(image)
    assert np.isclose(p.sum(), 1)


def test_profiles_and_norms_by_layer_are_written(stores, tmp_path):
    train(stores, tmp_path / "run", profile="simple")
    (profile,) = (tmp_path / "run").glob("*profile*.txt")
    assert "run_training_batch" in profile.read_text("utf-8")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert "gradient/head" in tags and "gradient/body.0.first" in tags
    with pytest.raises(InputError, match="--profile 'x': there are simple"):
        train(stores, tmp_path / "none", profile="x")


def test_corrections_change_real_training_labels_only(stores, tmp_path, plain):
    real = stores["real"]
    rows = real.rows("train")
    digests, labels = real.column("sha256"), real.column("label")
    a, b, c = (int(rows[labels[rows] == x][0]) for x in "ABC")
    path = tmp_path / "decided.csv"
    path.write_text(
        "note,sha256,label\n"
        f"x,{digests[a]},B\nx,{digests[b]},remove\nx,{digests[c]},C\nx,{digests[rows[3]]},\n",
        "utf-8",
    )
    from classifier.setup import prepare

    setup = prepare(real, [stores["font"]], _config(), 1, None, path)
    assert setup.corrections.told() == "1 labels changed, 1 removed, 1 confirmed"
    pool = setup.mix.pools[0]
    assert b not in pool.rows and len(pool.rows) == len(rows) - 1
    assert pool.targets[pool.rows == a] == [1]
    same = ~np.isin(np.arange(len(real)), [a])
    assert (setup.targets[0][same] == real.classes()[same]).all()
    assert setup.corrections.trusted.tolist() == sorted([a, c])
    assert real.column("label")[a] == "A"  # on disk it stays
    train(stores, tmp_path / "run", path)
    assert weights(tmp_path / "run") != plain
    info = json.loads((tmp_path / "run" / "model.json").read_text("utf-8"))["info"]
    assert info["corrections"].startswith("1 labels changed")
    path.write_text(f"sha256,label\n{digests[a]},B\n", "utf-8")
    with pytest.raises(InputError, match="corrections: "):
        train(stores, tmp_path / "run", path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sha,label\n", "needs the columns sha256 and label"),
        ("sha256,label\n{val},A\n", "line 2: .* no training image .*validation"),
        ("sha256,label\n{font},A\n", "line 2: .* no training image"),
        ("sha256,label\n{a},A\n{a},Q\n", "line 3: 'Q' is not in the alphabet"),
        ("sha256,label\n{a},A\n{a},B\n", "line 3: .* decided otherwise before"),
    ],
)
def test_corrections_that_cannot_be_meant_are_refused(stores, tmp_path, text, says):
    from classifier.corrections import Corrections

    real = stores["real"]
    digests = real.column("sha256")
    path = tmp_path / "c.csv"
    values = {"val": digests[real.rows("val")[0]], "a": digests[real.rows("train")[0]]}
    path.write_text(text.format(font=stores["font"].column("sha256")[0], **values), "utf-8")
    with pytest.raises(InputError, match=says):
        Corrections.read(path, real)


def test_a_trusted_label_is_never_doubted(stores, tmp_path, monkeypatch):
    """With everything doubted, what a person confirmed stays in."""
    real = stores["real"]
    row = int(real.rows("train")[0])
    path = tmp_path / "c.csv"
    path.write_text(f"sha256,label\n{real.column('sha256')[row]},A\n", "utf-8")
    monkeypatch.setattr("classifier.cleaning.MOST_DOUBTED", 1.0)
    train(stores, tmp_path / "run", path, doubt_below=1.0, clean_at=(0.3,))
    found = Suspects.read(tmp_path / "run")
    assert row not in found.row and len(found.row) > 20
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    images = [
        sum(int(line.split()[3]) for line in figures[name].splitlines() if line.startswith("real"))
        for name in ("mix", "mix_at_end")
    ]
    assert images == [36, 36 - len(found.row)]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "as planned at the start" in page and "left out as doubtful when the run ended" in page
    assert (found.likely != found.target).all() and (np.diff(found.probability) >= 0).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimiser": "adam"}, "--optimiser 'adam': there are muon, adamw, sgd"),
        ({"schedule": "x"}, "--schedule 'x'"),
        ({"noise_loss": "x"}, "none, gce, sce, elr"),
        ({"monitor": "loss"}, "--monitor 'loss': there are val_known"),
        ({"lr_decay_by_depth": 0.0}, "--lr-decay-by-depth 0.0"),
        ({"hard_weight": 0.5}, "--hard-weight 0.5: not between 1 and 100"),
        ({"patience": 0}, "--patience 0"),
        ({"steps": -5}, "--steps -5: not between 1 and inf"),
        ({"steps": 0}, "--steps 0: "),
        ({"batch_size": 0}, "--batch-size 0: "),
        ({"lr": 0.0}, "--lr 0.0: not between 1e-12 and 1000"),
        ({"lr": -1.0}, "--lr -1.0: "),
        ({"lr": float("nan")}, "--lr nan: "),
        ({"muon_lr": 0.0}, "--muon-lr 0.0: "),
        ({"precision": "64-true"}, "there are 32-true, bf16-mixed, 16-mixed"),
        ({"precision": "16-mixed"}, "a GPU alone"),
        ({"mixup": -1.0}, "--mixup -1"),
        ({"noise_loss": "elr", "mixup": 0.2}, "without mixup"),
        ({"replace": ("x=y:Z",)}, "no module 'y'"),
    ],
)
def test_values_out_of_range_are_one_line_and_leave_nothing(stores, tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        train(stores, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_real_store_among_the_synthetic_ones_is_refused(stores, tmp_path):
    """Its labels would be doubted, and its rows taken for those of the first store."""
    from classifier.setup import prepare

    more = _store(tmp_path / "more", "real", "ABC", 14)
    with pytest.raises(InputError, match="more: holds real images, and --synth takes font and GAN"):
        prepare(stores["real"], [stores["font"], more], _config(), 1, None)


def test_the_rate_of_the_hidden_convolutions_is_an_option(
    stores, tmp_path, load_script, monkeypatch
):
    script, got = load_script("train_classifier"), []
    monkeypatch.setattr(runs, "train", lambda *a: got.append((a[3].lr, a[3].muon_lr)) or {})
    given = ["--real", str(stores["real"].path), "--out", str(tmp_path / "run")]
    for more in ([], ["--lr", "0.1"], ["--muon-lr", "0.2"]):
        script.main(script.options().parse_args([*given, *more]))
    assert got == [(0.003, 0.02), (0.1, 0.02), (0.003, 0.2)]


def test_an_infinite_gradient_names_its_layer(stores, tmp_path, monkeypatch):
    from classifier import lit

    whole = lit.ClassifierModule._losses

    def losses(self, logits, batch, apart):
        self.network.body[1].first.weight.register_hook(lambda g: g * float("inf"))
        return whole(self, logits, batch, apart)

    monkeypatch.setattr(lit.ClassifierModule, "_losses", losses)
    with pytest.raises(RuntimeError, match=r"not finite in body\.1\.first"):
        train(stores, tmp_path / "run")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(
    value, stores, tmp_path, monkeypatch
):
    whole = ClassifierModule._losses

    def losses(self, logits, batch, apart):
        found = whole(self, logits, batch, apart)
        if self.global_step == 5:
            found[2] = value
        return found

    monkeypatch.setattr(ClassifierModule, "_losses", losses)
    with pytest.raises(RuntimeError, match=rf"classifier: loss of the batch is {value} at step 5$"):
        train(stores, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()  # of step 4, to go on from
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_layer_that_gets_no_gradient_is_told(stores, tmp_path, monkeypatch, capsys):
    """Once, after as many looks as make it dead; and none of the layers that learn."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr("classifier.fit.GradientCheck", partial(GradientCheck, every=2))
    # a convolution that a gate is computed from: all other layers have another way to the loss
    train(stores, tmp_path / "run", replace=("body.1.gate.1=test_classifier_options:Muted",))
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gradients,")]
    step = 2 * (DEAD_AFTER - 1)  # looks are at 0, 2, 4 ...
    assert said == [f"gradients, step {step}: body.1.gate.1.old gets no gradient: it is dead"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_network_learns_the_same(stores, tmp_path, monkeypatch):
    """By SGD: Muon makes gradients orthogonal, and blows up what rounding leaves of a small one."""
    import torch._inductor.config
    from safetensors.torch import load_file
    from torch._dynamo.utils import counters

    # compiled dropout draws other numbers than eager dropout, unless asked for the same
    monkeypatch.setattr(torch._inductor.config, "fallback_random", True)
    torch._dynamo.reset()
    counters.clear()
    for name, compiled in (("eager", False), ("compiled", True)):
        changes = {"steps": 12, "batch_size": 32, "optimiser": "sgd", "lr": 0.02}
        train(stores, tmp_path / name, compile=compiled, **changes)
    # 12 batches with other numbers of real images: one graph for one number, one for all others
    assert 0 < counters["stats"]["unique_graphs"] <= 3
    a, b = (load_file(tmp_path / n / "model.safetensors") for n in ("eager", "compiled"))
    assert a.keys() == b.keys()
    assert max(float((a[k].float() - b[k].float()).abs().max()) for k in a) < 1e-2
