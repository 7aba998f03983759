"""The GAN's whole objective: torch-only functions that return the loss and what to log.

Huang, Gokaslan, Kuleshov and Tompkin 2024, "The GAN is dead; long live the GAN!" (R3GAN): the
relativistic pairing loss, eq. 2, with f(t) = softplus(-t), and zero-centred penalties on real (R1)
and generated (R2) images, eq. 4. Departures: penalties come every few steps and count as often
(lazy regularisation, Karras et al. 2020, appendix B), and a pair shares its character.
"""

from __future__ import annotations

import math
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


def rebuilding_loss(made: Tensor, real: Tensor) -> Tensor:
    """A glyph in the style read off an image of its character shall look like that image.

    Zhu et al. 2017, "Toward multimodal image-to-image translation" (BicycleGAN), eq. 2: an L1
    distance; here between pictures averaged over 2 and 4 px, since fonts differ in detail. What a
    generator must draw again it cannot leave out: this is the term for variety.
    """
    fine, coarse = (
        (F.avg_pool2d(made, px) - F.avg_pool2d(real, px)).abs().float().mean() for px in (2, 4)
    )
    return fine + coarse


def prior_loss(mean: Tensor, log_var: Tensor) -> Tensor:
    """Kullback-Leibler divergence of read styles from normal noise, the sum over their dimensions
    (Kingma and Welling 2014, appendix B), so that noise works as a style too."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()


def refuse_not_finite(terms: dict[str, Tensor], step: int) -> None:
    """Raises RuntimeError naming the first term that is no finite number. One wait for the GPU."""
    values = torch.stack([term.detach().float() for term in terms.values()])
    if not torch.isfinite(values).all():
        name, value = next(
            (n, v) for n, v in zip(terms, values.tolist(), strict=True) if not math.isfinite(v)
        )
        raise RuntimeError(f"GAN: {name} is {value} at step {step}")
