"""Losses against wrong labels, logit adjustment, emphasis: against their formulas and their aim."""

import numpy as np
import pytest
import torch

from classifier.blending import Blend
from classifier.config import PRESETS
from classifier.hardness import emphasis
from classifier.losses import log_prior, smoothed_loss
from classifier.noise import (
    EarlyLearning,
    generalised_cross_entropy,
    symmetric_cross_entropy,
)


def test_generalised_cross_entropy_lies_between_two_losses():
    p = torch.tensor([0.01, 0.3, 0.9], dtype=torch.float64)
    assert torch.allclose(generalised_cross_entropy(p.log(), 1.0), 1 - p)
    assert torch.allclose(generalised_cross_entropy(p.log(), 1e-6), -p.log(), atol=1e-4)
    assert torch.allclose(generalised_cross_entropy(p.log(), 0.7), (1 - p**0.7) / 0.7)


def test_symmetric_cross_entropy_is_the_sum_of_both_directions():
    """Reference: KL-like sums over all classes with log 0 = -4."""
    p = torch.softmax(torch.randn(5, 4, dtype=torch.float64), 1)
    q = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 3, 0]), 4).double()
    ce = -(q * p.log()).sum(1)
    rce = -(p * torch.where(q > 0, torch.zeros(()).double(), torch.tensor(-4.0).double())).sum(1)
    ours = symmetric_cross_entropy((q * p.log()).sum(1), ce)
    assert torch.allclose(ours, 0.1 * ce + rce)


@pytest.mark.parametrize("loss", [generalised_cross_entropy, None])
def test_an_improbable_label_pulls_less_than_in_cross_entropy(loss):
    """What makes them robust: the gradient of the logits fades as the label gets improbable."""
    pulls = []
    for p in (0.5, 0.02):
        z = torch.tensor([np.log(p / (1 - p)), 0.0], requires_grad=True)
        log_prob = torch.log_softmax(z, 0)[:1]
        value = loss(log_prob) if loss else symmetric_cross_entropy(log_prob, -log_prob)
        value.sum().backward()
        pulls.append(float(z.grad[0].abs()))
    assert pulls[1] < 0.5 * pulls[0]  # cross-entropy: 0.98 against 0.5


def test_early_learning_remembers_by_moving_average_and_holds_back():
    early = EarlyLearning(4, 3)
    first = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]])
    early.remember(torch.tensor([2, 0]), first)
    assert torch.allclose(early.memory[2].float(), 0.3 * first[0], atol=1e-3)
    assert (early.memory[[1, 3]] == 0).all()
    early.remember(torch.tensor([2, 2]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    wanted = 0.7 * 0.3 * first[0] + 0.3 * torch.tensor([0.5, 0.5, 0.0])
    assert torch.allclose(early.memory[2].float(), wanted, atol=1e-3)
    # the gradient goes towards what was remembered (its eq. 7)
    z = torch.zeros(1, 3, requires_grad=True)
    penalty = early(torch.tensor([2]), torch.softmax(z, 1))
    reference = 3 * np.log(1 - float((early.memory[2].float() / 3).sum()))
    assert penalty.item() == pytest.approx(reference, abs=1e-3)
    penalty.sum().backward()
    assert z.grad[0, 0] < 0 < z.grad[0, 2]
    early.remember(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3))


@pytest.fixture(scope="module")
def undeceived() -> dict[str, list[float]]:
    """Loss -> at steps 50 and 300 the share of the wrongly labelled images whose true class is
    answered. Four blobs, 30 % wrong labels, a network that can learn all by heart."""
    return {loss: _undeceived(loss) for loss in ("plain", "smoothed", "gce", "sce", "elr")}


def _undeceived(loss: str) -> list[float]:
    torch.manual_seed(1)
    true = torch.arange(240) % 4
    x = torch.eye(4).repeat(1, 8)[true] * 2 + torch.randn(240, 32)
    wrong = torch.rand(240) < 0.3
    given = torch.where(wrong, (true + torch.randint(1, 4, (240,))) % 4, true)
    network = torch.nn.Sequential(
        torch.nn.Linear(32, 128), torch.nn.ReLU(), torch.nn.Linear(128, 4)
    )
    early = EarlyLearning(240, 4)
    rate = torch.optim.Adam(network.parameters(), 1e-2)
    rows = torch.arange(240)
    smoothing = torch.full((240,), 0.0 if loss == "plain" else PRESETS["small"].smoothing_real)
    shares = []
    for step in range(1, 301):
        logits = network(x)
        log_prob = torch.log_softmax(logits, 1)
        mine = log_prob[rows, given]
        losses = smoothed_loss(logits, given, 4, smoothing)  # what a run has under all of them
        if loss == "gce":
            losses = generalised_cross_entropy(mine)
        elif loss == "sce":
            losses = symmetric_cross_entropy(mine, losses)
        elif loss == "elr":
            early.remember(rows, log_prob.exp().detach())
            losses = losses + early(rows, log_prob.exp())
        rate.zero_grad()
        losses.mean().backward()
        rate.step()
        if step in (50, 300):
            shares.append(float((network(x).argmax(1) == true)[wrong].float().mean()))
    return shares


@pytest.mark.parametrize("loss", ["gce", "sce", "elr"])
def test_they_learn_fewer_wrong_labels_by_heart_than_smoothing(undeceived, loss):
    assert undeceived["plain"][1] < 0.2  # the wrong labels are known by heart
    early, late = undeceived[loss]
    assert early > undeceived["smoothed"][0] + 0.2
    if loss != "sce":  # that one only learns them later: cross-entropy is a part of it
        assert late > undeceived["smoothed"][1] + 0.4


def test_logit_adjustment_is_bayes_rule():
    """Softmax of balanced scores + log prior is the posterior under that prior."""
    prior = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64)
    balanced = torch.softmax(torch.randn(4, dtype=torch.float64), 0)
    adjusted = torch.softmax(balanced.log()[:3] + log_prior(prior)[:3], 0)
    assert torch.allclose(adjusted, balanced[:3] * prior[:3] / (balanced * prior).sum())
    assert log_prior(prior)[3] == 0  # never shown: pushed down as the most frequent would be


def test_emphasis_is_on_a_band_and_not_on_the_largest_losses():
    p = np.array([0.0, 0.01, 0.5, 0.99, 1.0, np.nan])
    weight = emphasis(p, 3.0)
    assert weight[2] == 3.0 and weight[[0, 4, 5]].tolist() == [1, 1, 1]
    assert weight[1] == pytest.approx(weight[3]) and weight[1] < 1.1
    assert (emphasis(p, 1.0) == 1).all()


def test_blends_keep_the_share_they_state():
    images = torch.stack([torch.full((1, 16, 16), float(i)) for i in range(8)])
    kinds = set()
    for step in range(60):
        blend = Blend.draw(8, 16, 0.4, 1.0, seed=3, step=step)
        again = Blend.draw(8, 16, 0.4, 1.0, seed=3, step=step)
        assert torch.equal(blend.partner, again.partner) and blend.share == again.share
        out = blend.apply(images)
        own, other = torch.arange(8.0), blend.partner.float()
        wanted = blend.share * own + (1 - blend.share) * other
        assert torch.allclose(out.mean((1, 2, 3)), wanted, atol=1e-5)
        assert 0 <= blend.share <= 1
        kinds.add(blend.box is None)
    assert kinds == {True, False}
    # cutmix alone with Beta(1, 1): the mean share, with what is cut off at the edges, is known to
    # be above 1/2; mixup alone is symmetric about 1/2
    shares = [Blend.draw(8, 64, 0.4, 0.0, 1, s).share for s in range(600)]
    assert abs(np.mean(shares) - 0.5) < 3 * np.std(shares) / np.sqrt(600)
