"""Shapes, gradients and budgets of the networks, and what each is told."""

from dataclasses import replace

import pytest
import torch

from gan.config import PRESETS
from gan.networks import ClassContent, Discriminator, Generator, Recogniser, StyleEncoder

SMALL = PRESETS["small"]


def _count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("kind", ["bend", "paint"])
@pytest.mark.parametrize("condition", ["glyph", "class"])
def test_style_and_content_reach_the_picture_and_gradients_every_weight(kind, condition):
    torch.manual_seed(0)
    config = replace(SMALL, generator=kind, condition=condition, style_dim=16)
    network = Generator(config, 64, 5)
    glyphs = torch.where(torch.rand(6, 1, 64, 64) > 0.7, 1.0, -1.0)
    content = torch.arange(6) % 5 if condition == "class" else glyphs
    style, noise = torch.randn(6, 16, requires_grad=True), torch.randn(6, 1, 64, 64)
    with torch.no_grad():
        for p in network.parameters():  # past the zeros that layers start with
            p.add_(0.02 * torch.randn_like(p))
    out = network(content, style, noise)
    assert out.shape == (6, 1, 64, 64) and out.abs().max() <= 1.05
    out.square().sum().backward()
    assert (style.grad.abs().sum(1) > 0).all()
    for name, p in network.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_the_two_generators_have_one_budget():
    bend, paint = (_count(Generator(replace(SMALL, generator=g), 64, 9)) for g in ("bend", "paint"))
    assert abs(bend - paint) < 0.1 * bend


def test_a_discriminator_of_class_numbers_reads_the_class():
    torch.manual_seed(0)
    network = Discriminator(replace(SMALL, condition="class"), 64, 3)
    image = torch.randn(1, 1, 64, 64).expand(3, -1, -1, -1)
    scores = network(image, torch.arange(3))
    assert scores.shape == (3,) and len(set(scores.tolist())) == 3


def test_class_contents_differ_and_lie_in_range():
    torch.manual_seed(0)
    pictures = ClassContent(4, 48)(torch.arange(4))
    assert pictures.shape == (4, 1, 48, 48) and pictures.abs().max() <= 1
    assert (torch.cdist(pictures.flatten(1), pictures.flatten(1)) + torch.eye(4) > 0).all()


def test_the_encoder_cannot_be_sure_beyond_all_bounds():
    mean, log_var = StyleEncoder(8)(1e4 * torch.randn(3, 1, 64, 64))
    assert mean.shape == log_var.shape == (3, 8)
    assert (log_var >= -6).all() and (log_var <= 2).all()


def test_discriminator_and_recogniser_shapes():
    for size in (64, 48):
        images = torch.randn(3, 1, size, size)
        assert Discriminator(SMALL, size, 9)(images, images).shape == (3,)
        network = Recogniser(7).eval()
        assert network(images).shape == (3, 7) and network.features(images).shape == (3, 192)


def test_scores_are_compared_in_full_precision_under_autocast():
    """In bfloat16 a score of 100 is one of 99.5, 100 and 100.5: a margin would be lost in it."""
    torch.manual_seed(0)
    network = Discriminator(SMALL, 64, 3)
    image, reference = torch.randn(2, 8, 1, 64, 64).unbind()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = network(image, reference)
        network.score.bias += 100
        lifted = network(image, reference)
    assert lifted.dtype == torch.float32
    margins = plain[:, None] - plain[None]
    assert margins.abs().max() > 1e-3
    assert torch.allclose(lifted[:, None] - lifted[None], margins, atol=1e-4)
