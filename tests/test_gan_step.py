"""The benchmark of a training step runs, counts and judges."""

import importlib.util
import sys
from itertools import cycle

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


@pytest.fixture(scope="module")
def gan_step():
    spec = importlib.util.spec_from_file_location("gan_step", ROOT / "benchmarks" / "gan_step.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gan_step"] = module  # where its dataclass looks for its annotations
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as when it is run
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    yield module
    del sys.modules["gan_step"]


def test_it_prints_rates_ratio_and_share_of_the_peak(gan_step, capsys):
    line = f"--preset demo --rounds 2 --batch-size 2 --threads {torch.get_num_threads()}"
    assert gan_step.main(line.split()) == 2
    out = capsys.readouterr().out
    for what in ("preset demo", "A/A: ", "ours: ", "plain: ", "share of that peak: ", "ratio: "):
        assert what in out
    assert "2 rounds are no claim" in out


@pytest.mark.parametrize(
    ("again", "plain", "code"),
    # ours takes 1 s the first time
    [(1.02, 1.6, 0), (1.02, 1.4, 1), (1.2, 9.0, 2), (0.8, 1.0, 2)],
)
def test_the_step_is_worth_something_only_where_ours_equals_itself(
    gan_step, monkeypatch, again, plain, code
):
    """In the exit code: a missed limit, and a machine that is too busy, are told apart."""

    class Contender:
        def __init__(self, *seconds):
            self.seconds = cycle(seconds)

        def measured(self, data, read):
            return next(self.seconds)

    # each is measured once before; every second round goes the other way round
    ours, peer = Contender(9.0, *(1.0, again, again, 1.0) * 3), Contender(9.0, *[plain] * 9)
    made = iter([ours, peer])
    monkeypatch.setattr(gan_step.Contender, "of", lambda *_, **__: next(made))
    monkeypatch.setattr(gan_step, "operations", lambda *_: 1.0)
    monkeypatch.setattr(gan_step, "peak", lambda *_: 1.0)
    line = f"--preset demo --rounds 5 --threads {torch.get_num_threads()}"
    assert gan_step.main(line.split()) == code


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


def test_a_penalty_at_every_step_costs_more_operations(gan_step):
    from dataclasses import replace

    from gan.config import PRESETS

    lazy = replace(PRESETS["demo"], batch_size=2, penalty_every=4, steps=gan_step.WARM_UP + 4)
    data = gan_step.glyphs()
    eager = gan_step.operations(replace(lazy, penalty_every=1), data)
    assert eager > 1.2 * gan_step.operations(lazy, data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="larger matrices on a GPU")
def test_the_peak_is_the_operations_of_its_products_by_their_time(gan_step, monkeypatch):
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(gan_step, "now", lambda: next(clock))
    with FlopCounterMode(display=False) as counter:
        found = gan_step.peak("32-true")
    in_all = counter.get_total_flops()  # of one product more, which is not timed
    assert found == in_all * gan_step.PRODUCTS / (gan_step.PRODUCTS + 1) / 0.5
