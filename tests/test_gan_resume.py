"""A GAN run that was interrupted ends with the weights of an unbroken one, to the last bit."""

import json
from dataclasses import replace

import pytest
import torch
from interrupting import Evil, stop_gan_after
from tiny_gan import CONFIG, train

from synth.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    assert (out / "grids" / "step_000006.png").exists()
    return (out / "generator.safetensors").read_bytes()


# a checkpoint comes after every second step: the first one lies before the middle of the run, the
# last one at its end, and a step that was done after a checkpoint is done again
@pytest.mark.parametrize("step", [2, 5, 6])
def test_interrupted_equals_unbroken(whole, step, tmp_path):
    with stop_gan_after(step):
        train(tmp_path / "broken")
    assert not (tmp_path / "broken" / "generator.safetensors").exists()
    train(tmp_path / "broken")
    assert (tmp_path / "broken" / "generator.safetensors").read_bytes() == whole


def test_interrupted_equals_unbroken_in_bfloat16(tmp_path):
    """Where a machine computes in it, every preset trains in it. Here it may be emulated, which
    takes many times as long: as little of it as there can be."""
    exact = replace(CONFIG, steps=2, batch_size=2, checkpoint_every=1, grid_every=9)
    short = replace(exact, precision="bf16-mixed")
    train(tmp_path / "exact", exact)
    train(tmp_path / "whole", short)
    with stop_gan_after(1):
        train(tmp_path / "broken", short)
    train(tmp_path / "broken", short)
    names = ("exact", "whole", "broken")
    ended = [(tmp_path / name / "generator.safetensors").read_bytes() for name in names]
    assert ended[0] != ended[1] == ended[2]


def test_what_a_step_shows_is_there_before_its_checkpoint(tmp_path):
    """A run that is killed just after a checkpoint does not come back to the step."""
    with stop_gan_after(10):
        train(tmp_path / "run", replace(CONFIG, steps=12, grid_every=10))
    assert (tmp_path / "run" / "grids" / "step_000010.png").is_file()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10]


# every term of the objective, under the name that the error gives it
TERMS = {
    "discriminator_loss": "discriminator loss",
    "gradient_penalty": "R1",
    "generator_loss": "generator loss",
    "diversity_loss": "diversity",
    "rebuilding_loss": "rebuilding",
    "prior_loss": "style prior",
}


@pytest.mark.parametrize("function", TERMS)
def test_a_loss_that_is_not_finite_names_step_and_term(function, tmp_path, monkeypatch):
    from gan import lit

    real, calls = getattr(lit, function), []

    def broken(*arguments):
        calls.append(function)
        value = real(*arguments)
        if len(calls) <= (2 if function == "gradient_penalty" else 1):  # right in step 0
            return value
        nan = torch.tensor(float("nan"), requires_grad=True)
        return (nan, value[1]) if isinstance(value, tuple) else nan

    monkeypatch.setattr(lit, function, broken)
    step = 2 if function == "gradient_penalty" else 1  # penalties come every second step
    with pytest.raises(RuntimeError, match=f"{TERMS[function]} is nan at step {step}"):
        train(tmp_path / "run", replace(CONFIG, style="image"))
    assert not (tmp_path / "run" / "generator.safetensors").exists()


@pytest.mark.parametrize(
    ("broken_call", "term"),
    [(3, "R1"), (4, "R2")],  # the first two are right: those of step 0
)
def test_each_of_the_two_penalties_is_named(broken_call, term, tmp_path, monkeypatch):
    from gan import lit

    penalty, calls = lit.gradient_penalty, []

    def broken(*arguments):
        calls.append(arguments)
        value = penalty(*arguments)
        return value * float("inf") if len(calls) == broken_call else value

    monkeypatch.setattr(lit, "gradient_penalty", broken)
    with pytest.raises(RuntimeError, match=f"{term} is inf at step 2"):
        train(tmp_path / "run")


def test_the_recognisers_term_is_named(tmp_path, monkeypatch):
    from gan.networks import Recogniser

    forward, calls = Recogniser.forward, []

    def broken(self, x):
        calls.append(x)
        return forward(self, x) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(Recogniser, "forward", broken)
    with pytest.raises(RuntimeError, match="recogniser is nan at step 3"):
        train(tmp_path / "run")
    assert not (tmp_path / "run" / "generator.safetensors").exists()


def test_a_weight_that_is_not_finite_reaches_no_file(tmp_path, monkeypatch):
    from gan.lit import GanModule

    step, calls = GanModule._step, []

    def broken(self, optimiser, loss):
        step(self, optimiser, loss)
        calls.append(loss)
        if len(calls) == 8:  # a gradient may overflow where no loss does: here in the fourth step
            next(self.discriminator.parameters()).data[0] = float("inf")

    monkeypatch.setattr(GanModule, "_step", broken)
    with pytest.raises(RuntimeError, match=r"weight discriminator.* is not finite after step 4"):
        train(tmp_path / "run")
    assert not (tmp_path / "run" / "generator.safetensors").exists()


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    from gan.checkpoints import CheckedCheckpoints

    path, io = tmp_path / "last.ckpt", CheckedCheckpoints()
    for step in (1, 2):
        io.save_checkpoint({"step": step}, path)
    assert io.load_checkpoint(path)["step"] == 2
    path.write_bytes(path.read_bytes()[:-7])
    assert io.load_checkpoint(path)["step"] == 1
    assert "going on from last.ckpt.previous" in capsys.readouterr().out
    (tmp_path / "last.ckpt.previous").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        io.load_checkpoint(path)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    import io

    from gan.checkpoints import CheckedCheckpoints
    from synth.files import save_checked

    mark, buffer = tmp_path / "it ran", io.BytesIO()
    torch.save({"x": Evil(mark)}, buffer)
    save_checked(tmp_path / "last.ckpt", buffer.getvalue())
    with pytest.raises(InputError, match=r"last.ckpt: refused.*Weights only load failed"):
        CheckedCheckpoints().load_checkpoint(tmp_path / "last.ckpt")
    assert not mark.exists()
    buffer.seek(0)
    torch.load(buffer, weights_only=False)  # it would have
    assert mark.exists()
