"""The GAN's terms against values that can be worked out by hand."""

import math

import torch

from gan.losses import discriminator_loss, diversity_loss, generator_loss, gradient_penalty


def _linear(weight: torch.Tensor):
    return lambda image, reference: (image * weight).flatten(1).sum(1)


def test_relativistic_pairing_loss_is_softplus_of_the_margin():
    weight = torch.zeros(1, 1, 4, 4)
    weight[0, 0, 0, 0] = 1
    real, fake = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    real[:, 0, 0, 0] = torch.tensor([2.0, -1.0])
    fake[:, 0, 0, 0] = torch.tensor([0.5, 1.0])
    loss, log = discriminator_loss(_linear(weight), real, fake, real)
    wanted = (math.log1p(math.exp(-1.5)) + math.log1p(math.exp(2.0))) / 2
    assert math.isclose(loss.item(), wanted, rel_tol=1e-5)
    assert math.isclose(log["margin"].item(), (1.5 - 2.0) / 2, rel_tol=1e-5)
    assert log["d_right"].item() == 0.5
    other = generator_loss(_linear(weight), real, fake, real)
    wanted = (math.log1p(math.exp(1.5)) + math.log1p(math.exp(-2.0))) / 2
    assert math.isclose(other.item(), wanted, rel_tol=1e-5)


def test_penalty_of_a_linear_score_is_its_squared_weight():
    torch.manual_seed(0)
    weight = torch.randn(1, 1, 8, 8)
    images = torch.randn(5, 1, 8, 8)
    penalty = gradient_penalty(_linear(weight), images, images)
    assert math.isclose(penalty.item(), weight.square().sum().item(), rel_tol=1e-5)


def test_penalty_reaches_the_weights():
    weight = torch.randn(1, 1, 8, 8, requires_grad=True)
    images = torch.randn(5, 1, 8, 8)
    gradient_penalty(_linear(weight), images, images).backward()
    assert torch.allclose(weight.grad, 2 * weight, rtol=1e-5)


def test_diversity_is_worst_when_styles_do_nothing():
    torch.manual_seed(0)
    a, styles = torch.rand(4, 1, 16, 16), torch.randn(2, 4, 8)
    collapsed = diversity_loss(a, a, *styles)
    varied = diversity_loss(a, torch.flip(a, [3]).roll(5, 2), *styles)
    assert collapsed > varied > 0
    # grain is no variety: noise that averages out over 4 pixels changes next to nothing
    grain = a + 0.05 * torch.randn_like(a)
    assert abs(diversity_loss(a, grain, *styles) - collapsed) < 0.25 * (collapsed - 0)
