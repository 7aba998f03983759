"""Losses for labels of which some are wrong: torch only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOISE_LOSSES = ("none", "gce", "sce", "elr")


def generalised_cross_entropy(log_prob: Tensor, q: float = 0.7) -> Tensor:
    """[B] log-probability of the given label -> [B] loss (1 - p^q) / q.

    Between cross-entropy (q -> 0) and mean absolute error (q = 1): the gradient of an improbable
    label fades with p^q (Zhang and Sabuncu 2018, eq. 6; q from their sec. 4).
    """
    return (1 - (q * log_prob).exp()) / q


def symmetric_cross_entropy(
    log_prob: Tensor,  # [B] of the given label
    cross_entropy: Tensor,  # [B] the loss that it is added to, smoothed or not
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
) -> Tensor:
    """[B] alpha CE + beta RCE, where RCE = -sum_k p_k log q_k with log 0 := log_zero, that is
    -log_zero (1 - p) for one label (Wang et al. 2019, eq. 6 and 7, constants of sec. 4.2)."""
    return alpha * cross_entropy - beta * log_zero * (1 - log_prob.exp())


class EarlyLearning(nn.Module):
    """Early-learning regularisation (Liu et al. 2020, eq. 6 and 9): what the network said of each
    image before it could learn wrong labels by heart holds it back from learning them.

    Its memory is a row an image of the real store, moving averages of the probabilities.
    """

    memory: Tensor  # [images, classes] float16

    def __init__(
        self,
        images: int,  # rows of the real store
        classes: int,  # known + 1: other characters count as one
        momentum: float = 0.7,
        strength: float = 3.0,
    ) -> None:
        super().__init__()
        self.momentum, self.strength = momentum, strength
        self.register_buffer("memory", torch.zeros(images, classes, dtype=torch.float16))

    @torch.no_grad()
    def remember(self, row: Tensor, probability: Tensor) -> None:
        """[n] rows, [n, K + 1] probabilities. One that stands there twice counts by its mean."""
        if not len(row):
            return
        p = probability.float().clamp(1e-4, 1 - 1e-4)
        p = p / p.sum(1, keepdim=True)
        rows, at = row.unique(return_inverse=True)
        mean = torch.zeros(len(rows), p.shape[1], device=p.device).index_add_(0, at, p)
        mean = mean / torch.bincount(at, minlength=len(rows))[:, None]
        after = torch.lerp(mean, self.memory[rows].float(), self.momentum)
        self.memory[rows] = after.to(self.memory.dtype)

    def forward(self, row: Tensor, probability: Tensor) -> Tensor:
        """[n] rows, [n, K + 1] probabilities -> [n] penalty, 0 or less: lambda log(1 - <p, t>)."""
        p = probability.clamp(1e-4, 1 - 1e-4)
        agree = (p * self.memory[row].float()).sum(1)
        return self.strength * torch.log1p(-agree.clamp(max=1 - 1e-4))
