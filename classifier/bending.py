"""What DALI has on no CPU: elastic bending and a change of pen weight, on a batch in torch.

Both on the device that the batch is on, and a pure function of (seed, step).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bending:
    """Ranges; 0 leaves a part out."""

    elastic_px: float = 2.2  # standard deviation of the displacement of a coarse grid's nodes
    nodes: int = 5  # of that grid, each way
    pen: float = 0.7  # up to this share of a stroke one pixel wider or thinner on each side

    def apply(
        self,
        images: Tensor,  # [B, 1, H, W] float -1..1
        seed: int,
        step: int,
        rank: int = 0,
        world: int = 1,
        share: Tensor | float = 1.0,  # of the ranges; [B, 1, 1, 1] for each image its own
    ) -> Tensor:
        """-> [B, 1, H, W] float -1..1.

        A process of several draws for the whole batch and takes every `world`-th, as it does of the
        images: together they bend as one process would.
        """
        mixed = np.random.SeedSequence([seed, step, 0]).generate_state(1, np.uint64)[0]
        draws = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
        count, _, height, width = images.shape
        whole = count * world
        if self.elastic_px:
            nodes = torch.randn(whole, 2, self.nodes, self.nodes, generator=draws)[rank::world]
            strength = torch.rand(whole, 1, 1, 1, generator=draws)[rank::world]  # neat, wild hands
            nodes, strength = nodes.to(images.device), strength.to(images.device) * share
            scale = torch.tensor([2 / width, 2 / height], device=images.device).view(1, 2, 1, 1)
            field = F.interpolate(
                nodes * strength * scale * self.elastic_px,
                size=(height, width),
                mode="bicubic",
                align_corners=True,
            )
            identity = torch.eye(2, 3, device=images.device).expand(count, 2, 3)
            grid = F.affine_grid(identity, list(images.shape), align_corners=False)
            grid = grid + field.permute(0, 2, 3, 1)
            images = F.grid_sample(images + 1, grid, align_corners=False) - 1
        if self.pen:
            amount = (torch.rand(whole, 1, 1, 1, generator=draws) * 2 - 1)[rank::world]
            amount = amount.to(images.device) * self.pen * share
            wider = F.max_pool2d(images, 3, 1, 1)
            thinner = -F.max_pool2d(-images, 3, 1, 1)
            other = torch.where(amount > 0, wider, thinner)
            images = torch.lerp(images, other, amount.abs())
        return images
