"""The generator that bends and inks a glyph, the discriminator that compares, the recogniser.

The generator cannot paint: it moves the glyph's ink by a smooth field, makes it thicker, thinner,
paler or grainier, and so cannot lose a stroke or invent one. That is what keeps the label right for
characters it has never seen, and what lets it learn from few images.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FIELD_LIMIT = 0.16  # largest displacement of the field, in half image widths (5 px of 64)
AFFINE_LIMIT = 0.16  # largest change of an entry of the affine matrix


class StyledBlock(nn.Module):
    """Two convolutions whose channels are scaled and shifted by the style."""

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(style_dim, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # [B, C, h, w], [B, S]
        scale, shift = self.film(style)[:, :, None, None].chunk(2, 1)
        hidden = F.leaky_relu(self.first(x) * (1 + scale) + shift, 0.2)
        return x + self.second(hidden)


class BendingGenerator(nn.Module):
    """Glyph [B, 1, H, W] in -1..1 and style [B, S] -> image [B, 1, H, W] in -1..1."""

    def __init__(self, style_dim: int, width: int = 1) -> None:
        super().__init__()
        low, high = 64 * width, 24 * width
        self.style = nn.Sequential(
            nn.Linear(style_dim, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2)
        )
        self.stem = nn.Conv2d(1, high, 4, stride=2, padding=1)
        self.down = nn.Conv2d(high, low, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(StyledBlock(low, 64) for _ in range(2))
        self.field = nn.Conv2d(low, 2, 3, padding=1)
        self.affine = nn.Linear(64, 6)
        self.lift = nn.Conv2d(low, high, 1)
        self.join = nn.Conv2d(2 * high, 32 * width, 3, padding=1)
        self.pen = nn.Conv2d(32 * width, 5, 3, padding=1)  # thinner, same, thicker; gain, grain
        self.grain = nn.Sequential(
            nn.Conv2d(3, 8 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8 * width, 1, 3, padding=1),
        )
        for layer in (self.field, self.affine, self.pen, self.grain[-1]):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, glyph: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """`noise` [B, 1, H, W] is the grain of paper and pen."""
        w = self.style(style)
        at_half = F.leaky_relu(self.stem(glyph), 0.2)
        x = F.leaky_relu(self.down(at_half), 0.2)
        for block in self.blocks:
            x = block(x, w)
        field = FIELD_LIMIT * torch.tanh(self.field(x))  # [B, 2, h/4, w/4]
        up = F.interpolate(self.lift(x), scale_factor=2, mode="bilinear", align_corners=False)
        pen = self.pen(F.leaky_relu(self.join(torch.cat([up, at_half], 1)), 0.2))
        pen = F.interpolate(pen, scale_factor=2, mode="bilinear", align_corners=False)

        ink = bend((glyph + 1) / 2, AFFINE_LIMIT * torch.tanh(self.affine(w)), field)
        weights = torch.softmax(pen[:, :3], 1)
        ink = (torch.cat([thinner(ink), ink, thicker(ink)], 1) * weights).sum(1, keepdim=True)
        grain = self.grain(torch.cat([ink, noise, pen[:, 4:]], 1))
        # a soft ceiling at full ink, so that gradients pass where the stroke is black
        ink = ink * (1 + 0.5 * torch.tanh(pen[:, 3:4]) + 0.5 * torch.tanh(grain))
        return 2 * (ink - F.softplus(12 * (ink - 1)) / 12) - 1


def bend(ink: Tensor, affine: Tensor, field: Tensor) -> Tensor:
    """[B, 1, H, W] moved by a change of the identity matrix [B, 6] and a field [B, 2, h, w]."""
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0], device=ink.device)
    grid = F.affine_grid(
        (affine + identity).view(-1, 2, 3).float(), list(ink.shape), align_corners=False
    )
    fine = F.interpolate(field.float(), size=ink.shape[2:], mode="bicubic", align_corners=False)
    return F.grid_sample(
        ink.float(), grid + fine.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=False
    )


def thicker(ink: Tensor) -> Tensor:
    return F.max_pool2d(ink, 3, stride=1, padding=1)


def thinner(ink: Tensor) -> Tensor:
    return -F.max_pool2d(-ink, 3, stride=1, padding=1)


class Discriminator(nn.Module):
    """Image and reference glyph of the same character, both [B, 1, H, W] -> a score [B].

    The reference, drawn in another font, lets it judge content and style together.
    """

    def __init__(self, size_px: int, width: int = 1) -> None:
        super().__init__()
        channels = [32 * width, 64 * width, 96 * width, 128 * width]
        self.stem = nn.Conv2d(2, channels[0], 4, stride=2, padding=1)
        self.stages = nn.ModuleList()
        for before, after in itertools.pairwise(channels):
            self.stages.append(
                nn.Sequential(
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(before, before, 3, padding=1),
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(before, after, 4, stride=2, padding=1),
                )
            )
        self.score = nn.Linear(channels[-1] * (size_px // 16) ** 2, 1)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        x = self.stem(torch.cat([image, reference], 1))
        for stage in self.stages:
            x = stage(x)
        return self.score(F.leaky_relu(x, 0.2).flatten(1)).squeeze(1)


class Recogniser(nn.Module):
    """[B, 1, H, W] in -1..1 -> logits [B, C]. Apart from the classifier that is measured: another
    network, trained on other draws, so that what it lets pass is not what the classifier likes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # a stride in front: at full size the norms and activations cost more than all convolutions
        layers: list[nn.Module] = [
            nn.Conv2d(1, 32, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        ]
        before = 32
        for channels in (64, 128, 192):
            layers += [
                nn.Conv2d(before, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            before = channels
        self.body = nn.Sequential(*layers)
        self.neck = nn.Sequential(
            nn.Conv2d(before, 192, 3, padding=1, bias=False), nn.BatchNorm2d(192), nn.ReLU()
        )
        self.head = nn.Linear(192, classes)

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, 192]."""
        return self.neck(self.body(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
