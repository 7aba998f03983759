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
