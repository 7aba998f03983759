"""The auxiliary loss: its formula, and where its heads hang."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_classifier_options import runs_bending
from torch import nn

from classifier.config import PRESETS
from classifier.lit import ClassifierModule
from classifier.networks import build_network
from classifier.one_vs_rest import OneVsRest, one_vs_rest_loss

KNOWN, CLASSES = 5, 9


def test_the_loss_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (12, KNOWN))
    target = np.array([0, 1, 2, 3, 4, 5, 6, 8, 0, 3, 3, 5])
    probability = 1 / (1 + np.exp(-logits))
    wanted = []
    for p, t in zip(probability, target, strict=True):
        rest = [-np.log(1 - p[k]) for k in range(KNOWN) if k != t]
        wanted.append(max(rest) + (-np.log(p[t]) if t < KNOWN else 0))
    got = one_vs_rest_loss(torch.from_numpy(logits), torch.from_numpy(target))
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9)


def test_one_character_and_far_logits_have_a_loss_and_a_gradient() -> None:
    for target in (0, 1):
        logits = torch.tensor([[-500.0]], requires_grad=True)
        loss = one_vs_rest_loss(logits, torch.tensor([target])).sum()
        loss.backward()
        assert loss.item() == pytest.approx(500 if target == 0 else 0)
        assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["compact", "resnet18", "efficientnet-b0"])
def test_the_heads_read_what_the_last_layer_reads(name: str) -> None:
    network = build_network(name, CLASSES).train()
    heads = OneVsRest(network, CLASSES, KNOWN).train()
    assert heads.heads is not None
    last = next(m for m in network.modules() if getattr(m, "out_features", 0) == CLASSES)
    logits = network(torch.randn(4, 1, 64, 64))
    with torch.no_grad():  # then one matrix gives both
        heads.heads.weight.copy_(last.weight[:KNOWN])
        heads.heads.bias.copy_(last.bias[:KNOWN])
    assert torch.allclose(heads(), logits[:, :KNOWN], atol=1e-5)
    with pytest.raises(RuntimeError, match="has read nothing"):
        heads()


def test_a_network_without_a_linear_last_layer_has_none() -> None:
    heads = OneVsRest(nn.Sequential(nn.Conv2d(1, CLASSES, 3)), CLASSES, KNOWN)
    assert heads() is None and not list(heads.parameters())


@pytest.mark.parametrize("noise_loss", ["none", "gce", "sce", "elr"])
def test_a_loss_against_wrong_labels_is_not_undone(noise_loss: str) -> None:
    """It would teach a doubtable label whole, beside what holds it back."""
    config = replace(PRESETS["small"], noise_loss=noise_loss)
    module = ClassifierModule(config, CLASSES, KNOWN, runs_bending(), 1, real_images=9)
    module._trainer = SimpleNamespace(world_size=1)
    target = torch.tensor([0, 1, KNOWN, 2])
    source = torch.tensor([0, 0, 0, 1])  # real, real, real other, font
    batch = {"target": target, "source": source, "row": torch.arange(4)}
    logits, apart = torch.randn(4, CLASSES), torch.randn(4, KNOWN)
    module._losses(logits, batch)  # early-learning remembers: the same answer leaves it as it is
    if module.early is not None:
        module.early.remember = lambda rows, told: None
    added = module._losses(logits, batch, apart) - module._losses(logits, batch)
    wanted = config.one_vs_rest * one_vs_rest_loss(apart, target)
    if noise_loss != "none":
        wanted[:2] = 0
    assert torch.allclose(added, wanted, atol=1e-5)


def test_their_parameters_are_trained_and_clipped_with_the_rest() -> None:
    module = ClassifierModule(PRESETS["small"], CLASSES, KNOWN, runs_bending(), 1)
    assert module.one_vs_rest is not None
    [[rate], _] = module.configure_optimizers()
    held = {id(p) for group in rate.param_groups for p in group["params"]}
    assert {id(p) for p in module.one_vs_rest.parameters()} <= held
    parameters = [*module.network.parameters(), *module.one_vs_rest.parameters()]
    assert len(held) == len(parameters)
    for p in parameters:
        p.grad = torch.full_like(p, 3.0)
    module.log = lambda *_, **__: None
    module.configure_gradient_clipping(rate)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    assert norm == pytest.approx(module.config.clip_norm, rel=1e-3)
    assert len({float(p.grad.flatten()[0]) for p in parameters}) == 1  # all by one factor
    module.config = replace(module.config, clip_norm=0.0)
    module.configure_gradient_clipping(rate)  # nothing is changed then
    assert torch.nn.utils.get_total_norm([p.grad for p in parameters]) == norm
