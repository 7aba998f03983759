"""A GAN run that was interrupted ends with the weights of an unbroken one, to the last bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.config import PRESETS
from gan.glyphs import Glyphs
from gan.networks import Recogniser
from gan.recogniser import Trained
from synth.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*", "ignore:.*num_workers.*")


class Stop(Exception):
    """What the test interrupts a run with."""


CONFIG = replace(
    PRESETS["small"], steps=6, batch_size=8, checkpoint_every=2, grid_every=6, penalty_every=2
)


def _inputs() -> tuple:
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(3), 6)
    images = np.zeros((18, 64, 64), np.uint8)
    for i, c in enumerate(of):
        images[i, 10 + 8 * c : 14 + 8 * c, 8:56] = 255
        images[i, 8:56, 8 + rng.integers(40)] = 255
    torch.manual_seed(0)
    glyphs = Glyphs(images, of, ("a", "b", "c"))
    recogniser = Trained(Recogniser(3).eval(), np.ones(18, np.float32))
    return images, of, glyphs, glyphs, recogniser


def _fit(out: Path) -> None:
    from gan.train import _fit

    out.mkdir(exist_ok=True)
    real, of, content, reference, recogniser = _inputs()
    _fit(out, CONFIG, real, of, content, reference, recogniser, 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("whole") / "run"
    _fit(out)
    assert (out / "grids" / "step_000006.png").exists()
    return (out / "generator.safetensors").read_bytes()


# a checkpoint comes after every second step: the first one lies before the middle of the run, the
# last one at its end, and a step that was done after a checkpoint is done again
@pytest.mark.parametrize("stop_after", [2, 5, 6])
def test_interrupted_equals_unbroken(whole, stop_after, tmp_path, monkeypatch):
    from gan import lit

    keep = lit.Keeper.on_train_batch_end

    def stop(self, trainer, module, *rest):
        keep(self, trainer, module, *rest)
        if module.steps_done == stop_after:
            raise Stop

    monkeypatch.setattr(lit.Keeper, "on_train_batch_end", stop)
    with pytest.raises(Stop):
        _fit(tmp_path / "broken")
    assert not (tmp_path / "broken" / "generator.safetensors").exists()
    monkeypatch.setattr(lit.Keeper, "on_train_batch_end", keep)
    _fit(tmp_path / "broken")
    assert (tmp_path / "broken" / "generator.safetensors").read_bytes() == whole


def test_a_loss_that_is_not_finite_names_step_and_term(tmp_path, monkeypatch):
    from gan import lit

    def broken(*_):
        return torch.tensor(float("nan"), requires_grad=True), {}

    monkeypatch.setattr(lit, "discriminator_loss", broken)
    with pytest.raises(RuntimeError, match="discriminator loss is nan at step 0"):
        _fit(tmp_path / "run")


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    from gan.lit import CheckedCheckpoints

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


def test_code_in_a_checkpoint_is_refused(tmp_path):
    import pickle

    from gan.lit import CheckedCheckpoints
    from synth.files import save_checked

    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    import io as buffers

    buffer = buffers.BytesIO()
    torch.save({"x": Evil()}, buffer)
    save_checked(tmp_path / "last.ckpt", buffer.getvalue())
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        CheckedCheckpoints().load_checkpoint(tmp_path / "last.ckpt")
