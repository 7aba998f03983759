"""Schedules against their definitions, learning rates by depth, gradients that are judged."""

import warnings
from dataclasses import replace

import pytest
import torch

from classifier.config import ClassifierConfig
from classifier.gradients import GradientHistory, layer_norms
from classifier.layers import blocks
from classifier.networks import build_network
from classifier.schedules import optimiser, parameter_groups, schedule

CONFIG = ClassifierConfig(steps=200, lr=0.1, warmup_share=0.1, optimiser="adamw")


def rates(config: ClassifierConfig) -> list[float]:
    network = torch.nn.Linear(3, 2)
    rate = optimiser(network, config)
    (plan,) = schedule(rate, config)
    assert plan["interval"] == "step"
    found = []
    for _ in range(config.steps):
        found.append(rate.param_groups[0]["lr"])
        rate.step()
        plan["scheduler"].step()
    return found


def test_each_schedule_has_its_shape():
    cycle = rates(CONFIG)
    reference = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), 0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(reference, 0.1, total_steps=201, pct_start=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in cycle:
            assert value == reference.param_groups[0]["lr"]
            theirs.step()
    cosine = rates(replace(CONFIG, schedule="cosine"))
    assert cosine[:20] == pytest.approx([0.1 * (i + 1) / 20 for i in range(20)])
    assert cosine[110] == pytest.approx(0.05) and cosine[-1] < 1e-4
    step = rates(replace(CONFIG, schedule="step"))
    assert [step[i] for i in (0, 50, 99, 100, 149, 150)] == pytest.approx(
        [0.005, 0.1, 0.1, 0.01, 0.01, 0.001]
    )


@pytest.mark.parametrize(("steps", "share"), [(9, 0.1), (19, 0.05), (99, 0.01), (1, 0.5)])
def test_a_cycle_that_would_rise_for_a_single_step_begins_at_its_height(steps, share):
    found = rates(replace(CONFIG, steps=steps, warmup_share=share))
    assert len(found) == steps and found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(CONFIG.lr, rel=0.05 if steps > 1 else 1)


def test_plateau_rises_then_falls_when_nothing_gets_better():
    config = replace(CONFIG, schedule="plateau", optimiser="sgd", monitor="val_macro")
    rate = optimiser(torch.nn.Linear(3, 2), config)
    rise, fall = schedule(rate, config)
    assert fall["monitor"] == "val_macro" and fall["interval"] == "epoch"
    for _ in range(60):
        rate.step()
        rise["scheduler"].step()
    assert rate.param_groups[0]["lr"] == pytest.approx(0.1)
    for value in (0.5, 0.6, 0.6, 0.6):
        fall["scheduler"].step(value)
    assert rate.param_groups[0]["lr"] == pytest.approx(0.1)
    fall["scheduler"].step(0.59)  # the third in a row
    assert rate.param_groups[0]["lr"] == pytest.approx(0.03)
    rise["scheduler"].step()  # which leaves it alone
    assert rate.param_groups[0]["lr"] == pytest.approx(0.03)


def test_learning_rates_go_by_depth():
    network = build_network("compact", 7)
    config = replace(CONFIG, lr_decay_by_depth=0.5)
    of = {id(p): g["lr"] for g in parameter_groups(network, config) for p in g["params"]}
    assert len(of) == len(list(network.parameters()))
    for up, block in enumerate(reversed(blocks(network))):
        assert {of[id(p)] for p in block} == {0.1 * 0.5**up}
    assert all(
        (g.get("weight_decay") == 0) == (p.ndim <= 1)
        for g in parameter_groups(network, config)
        for p in g["params"]
    )
    # hidden convolutions, which Muon would turn, other weights, biases and norms
    assert len(parameter_groups(network, CONFIG)) == 3
    muon = parameter_groups(network, replace(config, optimiser="muon", muon_lr=0.4))
    turned = [g["lr"] for g in muon if g.get("orthogonal")]
    assert turned == [4 * g["lr"] for g in parameter_groups(network, config) if "orthogonal" in g]
    (plan,) = schedule(optimiser(network, config), config)  # one-cycle, each to its own height
    assert plan["scheduler"].optimizer.param_groups[-1]["max_lr"] == 0.1


def test_layer_norms_are_those_of_autograd():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    network[2].weight.requires_grad_(False)
    network(torch.randn(8, 4)).square().sum().backward()
    norms = layer_norms(network)
    assert set(norms) == {"0", "2"}
    whole = torch.cat([network[0].weight.grad.flatten(), network[0].bias.grad])
    assert norms["0"] == pytest.approx(float(whole.norm()))
    assert norms["2"] == pytest.approx(float(network[2].bias.grad.norm()))


def test_a_layer_that_takes_no_part_is_named():
    """As one that a user's layer left aside: it has no gradient at all, not one of 0."""
    network = torch.nn.ModuleDict({"used": torch.nn.Linear(4, 2), "aside": torch.nn.Linear(4, 2)})
    history, told = GradientHistory(), []
    for _ in range(3):
        network["used"](torch.randn(8, 4)).square().sum().backward()
        norms = layer_norms(network)
        assert norms["aside"] == 0 < norms["used"]
        told += history.judge(norms)
    assert told == ["aside gets no gradient: it is dead"]
    network["aside"].requires_grad_(False)
    assert set(layer_norms(network)) == {"used"}


def test_a_dead_and_an_exploding_layer_are_named_once():
    history = GradientHistory()
    for _ in range(2):
        assert history.judge({"a": 1.0, "b": 0.0, "c": 2.0}) == []
    (line,) = history.judge({"a": 1.0, "b": 0.0, "c": 2.0})
    assert line.startswith("b ") and "dead" in line
    assert history.judge({"a": 50.0, "b": 0.0, "c": 2.0}) == []  # a rise, no explosion
    (line,) = history.judge({"a": 900.0, "b": 0.0, "c": 2.0})
    assert line.startswith("a ") and "explodes" in line
    (line,) = history.judge({"a": 900.0, "b": 0.0, "c": float("nan")})
    assert line.startswith("c ") and "nan" in line


def test_next_to_nothing_does_not_explode():
    history = GradientHistory()
    for _ in range(4):
        assert history.judge({"a": 1e-7}) == []
    assert history.judge({"a": 1e-4}) == []  # a thousand times as much
    (line,) = history.judge({"a": 0.2})
    assert line.startswith("a explodes")


def test_a_really_dead_layer_is_found():
    """A ReLU that never opens lets no gradient through."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias.fill_(-100)
    history, told = GradientHistory(), []
    for _ in range(5):
        network.zero_grad()
        network(torch.randn(8, 4)).square().sum().backward()
        told += history.judge(layer_norms(network))
    assert len(told) == 1 and told[0].startswith("0 gets no gradient")
