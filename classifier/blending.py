"""Mixup and cutmix: each image of a batch with a part of another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Blend:
    """One batch's draw. The loss is `share` times that of the image's own target and the rest that
    of its partner's."""

    partner: Tensor  # [B] int64
    share: float  # of the image's own, 0..1
    box: tuple[int, int, int, int] | None  # y0, y1, x0, x1 that the partner fills; None: mixup

    @classmethod
    def draw(
        cls,
        count: int,
        size_px: int,
        mixup: float,  # parameter of the Beta distribution; 0: never
        cutmix: float,
        seed: int,
        step: int,
        rank: int = 0,
    ) -> Blend:
        """A pure function of its arguments. Where both are on, each has half of the batches.

        Mixup: Zhang et al. 2018, eq. 1. Cutmix: Yun et al. 2019, eq. 2 and sec. 3.1: the box has
        the batch's share of the area and a centre anywhere, and what is cut off at the edge counts
        as not taken.
        """
        rng = np.random.default_rng([seed, step, rank, 0xB1E2D])
        partner = torch.from_numpy(rng.permutation(count))
        cuts = bool(cutmix) and (not mixup or rng.random() < 0.5)
        alpha = cutmix if cuts else mixup
        share = float(rng.beta(alpha, alpha))
        if not cuts:
            return cls(partner, share, None)
        half = size_px * (1 - share) ** 0.5 / 2
        y, x = rng.uniform(0, size_px, 2)
        y0, y1, x0, x1 = (
            int(np.clip(round(v), 0, size_px)) for v in (y - half, y + half, x - half, x + half)
        )
        return cls(partner, 1 - (y1 - y0) * (x1 - x0) / size_px**2, (y0, y1, x0, x1))

    def apply(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] -> a new one."""
        others = images[self.partner.to(images.device)]
        if self.box is None:
            return torch.lerp(others, images, self.share)
        y0, y1, x0, x1 = self.box
        out = images.clone()
        out[:, :, y0:y1, x0:x1] = others[:, :, y0:y1, x0:x1]
        return out

    def larger(self, own: Tensor, partners: Tensor) -> Tensor:
        """[B] values of each place's own target, [B] of its partner's -> [B] for each image that of
        the place where it is the larger part. It stands at two: its own, and one as a partner."""
        if self.share >= 0.5:
            return own
        result = torch.empty_like(partners)
        result[self.partner.to(partners.device)] = partners
        return result
