"""The generator with what it is told, the discriminator that compares, the recogniser."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan.config import GanConfig
from gan.generators import BendingGenerator, PaintingGenerator


class Generator(nn.Module):
    """Content and style -> an image. Content is a glyph, or a class number for comparison; a style
    is normal noise, or read off a real image of any class by the encoder."""

    def __init__(self, config: GanConfig, size_px: int, classes: int) -> None:
        super().__init__()
        kind = BendingGenerator if config.generator == "bend" else PaintingGenerator
        self.draw = kind(config.style_dim, config.width)
        self.content = _content(config, size_px, classes)
        self.encoder = StyleEncoder(config.style_dim) if config.style == "image" else None

    def forward(self, content: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """[B, 1, H, W] in -1..1 or [B] class numbers, [B, S], [B, 1, H, W] -> [B, 1, H, W]."""
        return self.draw(self.content(content), style, noise)


class ClassContent(nn.Module):
    """[B] class numbers -> a learned picture [B, 1, H, W] in -1..1, in place of a glyph."""

    def __init__(self, classes: int, size_px: int) -> None:
        super().__init__()
        self.side = size_px // 8
        self.start = nn.Embedding(classes, 8 * self.side**2)
        self.grow = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in ((8, 16), (16, 16), (16, 1))
        )

    def forward(self, char: Tensor) -> Tensor:
        x = self.start(char).view(-1, 8, self.side, self.side)
        for layer in self.grow:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = layer(F.leaky_relu(x, 0.2))
        return torch.tanh(x)


def _content(config: GanConfig, size_px: int, classes: int) -> nn.Module:
    return ClassContent(classes, size_px) if config.condition == "class" else nn.Identity()


class StyleEncoder(nn.Module):
    """Real image [B, 1, H, W] in -1..1 -> mean and log variance [B, S] of its style.

    The last stage is averaged over quarters of the image: it tells hands better than characters.
    """

    def __init__(self, style_dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 24, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(24, 48, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(48, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.mean, self.log_var = nn.Linear(256, style_dim), nn.Linear(256, style_dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(image)
        return self.mean(x).float(), self.log_var(x).float().clamp(-6, 2)


class Discriminator(nn.Module):
    """Image [B, 1, H, W] and what it shall show -> a score [B].

    The reference is a glyph of the same character, in another font where there is one, so that it
    judges content and style together; or the class number, where that is the generator's content.
    """

    def __init__(self, config: GanConfig, size_px: int, classes: int) -> None:
        super().__init__()
        self.content = _content(config, size_px, classes)
        channels = [config.width * c for c in (32, 64, 96, 128)]
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
        x = self.stem(torch.cat([image, self.content(reference)], 1))
        for stage in self.stages:
            x = stage(x)
        x = F.leaky_relu(x, 0.2).flatten(1)
        # scores are compared: bfloat16 has 8 bits of them, and a margin is what is left of two
        with torch.autocast(x.device.type, enabled=False):
            return self.score(x.to(self.score.weight.dtype)).squeeze(1)


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
