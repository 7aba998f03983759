"""The classifier's loss: torch-only functions."""

from __future__ import annotations

import torch
from torch import Tensor


def folded_log_prob(logits: Tensor, target: Tensor, known: int) -> Tensor:
    """[B, C] logits, [B] classes -> [B] log-probability of the target.

    Class `known` is "other, unspecified": its probability is that of all classes from `known` on
    together, so that an image labelled only "other" may be any of the other characters.
    """
    total = torch.logsumexp(logits, 1)
    single = logits.gather(1, target[:, None])[:, 0]
    folded = torch.logsumexp(logits[:, known:], 1)
    return torch.where(target == known, folded, single) - total


def folded(logits: Tensor, known: int) -> Tensor:
    """[N, C] -> [N, known + 1]: all classes from `known` on as one."""
    rest = torch.logsumexp(logits[:, known:], 1, keepdim=True)
    return torch.cat([logits[:, :known], rest], 1)


def smoothed_loss(
    logits: Tensor,  # [B, C] float32
    target: Tensor,  # [B] int64
    known: int,
    smoothing: Tensor,  # [B] probability given to all classes alike
) -> Tensor:
    """[B] cross-entropy with label smoothing of its own strength for each image."""
    log_prob = folded_log_prob(logits, target, known)
    uniform = torch.log_softmax(logits, 1).mean(1)
    return -(1 - smoothing) * log_prob - smoothing * uniform


def log_prior(prior: Tensor) -> Tensor:
    """[C] shares -> [C] logarithms, what logit adjustment adds to the logits while training.

    A network trained on logits + log prior answers as if all classes were equally frequent (Menon
    et al. 2021, eq. 10). Departs from it for a class that is never shown: it has no logarithm and
    gets 0, the most there is, so that training pushes it down.
    """
    return torch.where(prior > 0, prior.clamp_min(1e-12).log(), torch.zeros_like(prior))
