"""The benchmark of a training step runs, counts and judges."""

import importlib.util
import sys

import pytest
import torch
from conftest import ROOT


@pytest.fixture(scope="module")
def gan_step():
    spec = importlib.util.spec_from_file_location("gan_step", ROOT / "benchmarks" / "gan_step.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gan_step"] = module  # where its dataclass looks for its annotations
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gan_step"]


def test_it_prints_rates_ratio_and_share_of_the_peak(gan_step, capsys):
    line = f"--preset demo --rounds 2 --batch-size 2 --threads {torch.get_num_threads()}"
    assert gan_step.main(line.split()) == 1
    out = capsys.readouterr().out
    for what in ("preset demo", "A/A: ", "ours: ", "plain: ", "share of that peak: ", "ratio: "):
        assert what in out
    assert "2 rounds are no claim" in out


@pytest.mark.filterwarnings("ignore")  # Lightning's, about loaders and loggers
def test_operations_are_those_of_the_timed_steps(gan_step):
    """Twice the images cost twice as many, and so do twice the cycles; the convolution that is
    easiest to count by hand is within it."""
    from dataclasses import replace

    from gan.config import PRESETS

    config = replace(PRESETS["demo"], batch_size=2, penalty_every=2, steps=gan_step.WARM_UP + 2)
    data = gan_step.glyphs()
    one = gan_step.operations(config, data)
    wide = gan_step.operations(replace(config, batch_size=4), data)
    long = gan_step.operations(replace(config, steps=gan_step.WARM_UP + 4), data)
    assert wide == pytest.approx(2 * one, rel=0.05) and long == pytest.approx(2 * one, rel=0.01)
    # the second convolution of the discriminator's last stage, forward, four times a step: 96 to
    # 128 channels, 4 x 4, on 4 x 4 places
    assert one > 2 * 2 * 4 * 2 * 96 * 128 * 16 * 16


@pytest.mark.filterwarnings("ignore")
def test_a_penalty_at_every_step_costs_more_operations(gan_step):
    from dataclasses import replace

    from gan.config import PRESETS

    lazy = replace(PRESETS["demo"], batch_size=2, penalty_every=4, steps=gan_step.WARM_UP + 4)
    data = gan_step.glyphs()
    eager = gan_step.operations(replace(lazy, penalty_every=1), data)
    assert eager > 1.2 * gan_step.operations(lazy, data)


def test_the_peak_is_a_rate(gan_step):
    assert 1e8 < gan_step.peak("32-true") < 1e16
