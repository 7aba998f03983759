"""The GAN's whole objective: torch-only functions that return the loss and what to log.

Huang, Gokaslan, Kuleshov and Tompkin 2024, "The GAN is dead; long live the GAN!" (R3GAN): the
relativistic pairing loss, eq. 2, with f(t) = softplus(-t), and zero-centred penalties on real (R1)
and generated (R2) images, eq. 4. Departures: penalties come every few steps and count as often
(lazy regularisation, Karras et al. 2020, appendix B), and a pair shares its character.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]  # image, reference -> [B]


def discriminator_loss(
    score: Score, real: Tensor, fake: Tensor, reference: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Real above generated, pair by pair."""
    margin = (score(real, reference) - score(fake, reference)).float()
    loss = F.softplus(-margin).mean()
    return loss, {"margin": margin.detach().mean(), "d_right": (margin.detach() > 0).float().mean()}


def generator_loss(score: Score, real: Tensor, fake: Tensor, reference: Tensor) -> Tensor:
    """Generated above real, pair by pair."""
    margin = (score(fake, reference) - score(real, reference).detach()).float()
    return F.softplus(-margin).mean()


def gradient_penalty(score: Score, images: Tensor, reference: Tensor) -> Tensor:
    """Mean squared norm of the score's gradient in the images; R1 on real, R2 on generated ones."""
    images = images.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(images, reference).sum(), images, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def diversity_loss(first: Tensor, second: Tensor, style_a: Tensor, style_b: Tensor) -> Tensor:
    """Two styles on one glyph shall differ: the ratio of style distance to image distance.

    Mao et al. 2019, "Mode seeking GANs", eq. 4; the image distance is taken after a blur of 4 px,
    so that grain does not count as variety, and the ratio is bounded.
    """
    images = F.avg_pool2d(first - second, 4).abs().mean((1, 2, 3))
    styles = (style_a - style_b).abs().mean(1)
    return (styles / (images + 0.05)).mean() * 0.05
