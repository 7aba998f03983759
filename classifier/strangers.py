"""Real ink that shows no known character: mirrored, turned and recombined real training images.

Nearly all real training images are of known characters, so a network learns that real ink means
"known", and lets real images of unknown characters pass. These have real ink and are "other",
whatever their labels say, so wrong labels do no harm.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Likeness of coarse pictures. A mirrored 中 is 中: what is nearly as before is left alone. Two
# characters with the same left part make, joined, one of the two: only unlike halves are joined.
SAME_WHOLE, SAME_HALF = 0.75, 0.45


def with_strangers(
    images: Tensor,  # [B, 1, H, W] float -1..1
    target: Tensor,  # [B] int64
    source: Tensor,  # [B] int64, 0 is real
    known: int,  # characters of the alphabet; class `known` is "other, unspecified"
    share: float,  # of the real images of known characters
    seed: int,
    step: int,
    rank: int = 0,
) -> tuple[Tensor, Tensor]:
    """Images and targets with some real ones made into others. A pure function of its arguments."""
    mixed = np.random.SeedSequence([seed, step, rank, 77]).generate_state(1, np.uint64)[0]
    draws = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
    u = torch.rand(len(images), 2, generator=draws)
    order = torch.randperm(len(images), generator=draws).to(images.device)
    usable = (source == 0) & (target < known)
    picked = usable & (u[:, 0] < share).to(images.device)
    kind = (u[:, 1] * 6).long().to(images.device)
    turned = torch.stack(
        [images.flip(3), images.flip(2), images.rot90(1, (2, 3)), images.rot90(3, (2, 3))]
    )
    half = images.shape[2] // 2
    partner = images[order]
    stacked = torch.cat([images[:, :, :half], partner[:, :, half:]], 2)
    joined = torch.cat([images[..., :half], partner[..., half:]], 3)
    made = torch.cat([turned, stacked[None], joined[None]])
    made = made[kind, torch.arange(len(images), device=images.device)]

    coarse, coarse_partner = _coarse(images), _coarse(partner)
    rows = coarse.shape[2] // 2
    unlike_parts = (
        (_likeness(coarse[:, :, :rows], coarse_partner[:, :, :rows]) < SAME_HALF)
        & (_likeness(coarse[:, :, rows:], coarse_partner[:, :, rows:]) < SAME_HALF),
        (_likeness(coarse[..., :rows], coarse_partner[..., :rows]) < SAME_HALF)
        & (_likeness(coarse[..., rows:], coarse_partner[..., rows:]) < SAME_HALF),
    )
    good = torch.where(
        kind < 4,
        _likeness(coarse, _coarse(made)) < SAME_WHOLE,
        torch.where(kind == 4, unlike_parts[0], unlike_parts[1]) & usable[order],
    )
    change = picked & good
    images = torch.where(change[:, None, None, None], made, images)
    return images, torch.where(change, torch.full_like(target, known), target)


def _coarse(images: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, 1, H/4, W/4] ink from 0."""
    return F.avg_pool2d(images + 1, 4)


def _likeness(a: Tensor, b: Tensor) -> Tensor:
    """[B, ...], [B, ...] -> [B] cosine."""
    return F.cosine_similarity(a.flatten(1), b.flatten(1), dim=1)
