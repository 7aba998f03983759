"""The only augmentation in front of the discriminator: a shift. Differentiable, with its gradient.

A mirrored or turned character is another character, and thicker or paler ink is the style that the
discriminator shall judge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT_PX = 3


def shifts(count: int, draws: torch.Generator) -> Tensor:
    """[count, 2] whole pixels down and right, each up to SHIFT_PX in either direction."""
    return torch.randint(-SHIFT_PX, SHIFT_PX + 1, (count, 2), generator=draws)


def shifted(images: Tensor, move: Tensor) -> Tensor:
    """[B, 1, H, W] moved by [B, 2] pixels, paper (-1) comes in (Zhao et al. 2020, DiffAugment)."""
    n, _, height, width = images.shape
    padded = F.pad(images, [SHIFT_PX] * 4, value=-1.0)
    rows = torch.arange(height, device=images.device) + SHIFT_PX - move[:, :1]  # [B, H]
    columns = torch.arange(width, device=images.device) + SHIFT_PX - move[:, 1:]
    which = torch.arange(n, device=images.device)[:, None, None]
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
