"""The GAN's terms against values that can be worked out by hand."""

import math

import pytest
import torch

from gan.losses import (
    discriminator_loss,
    diversity_loss,
    generator_loss,
    gradient_penalty,
    prior_loss,
    rebuilding_loss,
    refuse_not_finite,
)


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


def test_rebuilding_is_zero_for_the_image_and_grows_with_the_distance():
    torch.manual_seed(0)
    real = torch.zeros(2, 1, 32, 32)
    real[..., 8:24, 14:18] = 1
    assert rebuilding_loss(real, real) == 0
    near, far = real.roll(1, 3), real.roll(8, 3)
    assert 0 < rebuilding_loss(near, real) < rebuilding_loss(far, real)


def test_prior_is_the_divergence_from_normal_noise():
    torch.manual_seed(0)
    mean, log_var = torch.randn(5, 7), torch.randn(5, 7)
    read = torch.distributions.Normal(mean, (log_var / 2).exp())
    wanted = torch.distributions.kl_divergence(read, torch.distributions.Normal(0.0, 1.0))
    assert torch.allclose(prior_loss(mean, log_var), wanted.sum(1).mean(), rtol=1e-5)
    assert prior_loss(torch.zeros(3, 4), torch.zeros(3, 4)) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_named_with_its_step(value):
    terms = {"R1": torch.tensor(1.0), "R2": torch.tensor(value), "diversity": torch.tensor(value)}
    with pytest.raises(RuntimeError, match=f"R2 is {value} at step 17"):
        refuse_not_finite(terms, 17)
    refuse_not_finite({"R1": torch.tensor(1.0)}, 17)
