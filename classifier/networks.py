"""The networks: a compact one of our own for small gray characters, and those of libraries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synth.errors import InputError

MODELS = ("compact", "resnet18", "resnet50", *(f"efficientnet-b{i}" for i in range(8)))


class WeightedPooling(nn.Module):
    """[B, C, h, w] -> [B, C]: a mean in which every place of `side` x `side` has a weight of its
    own in each channel, equal at first (Li et al. 2018, "Building efficient CNN architecture for
    offline handwritten Chinese character recognition", call it global weighted average pooling).

    Characters are centred, and two that look alike differ in one place.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, side, side), 1 / side**2))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.weight.shape[1:]:  # of another canvas
            x = F.interpolate(x, self.weight.shape[1:], mode="bilinear", align_corners=False)
        return (x * self.weight).sum((2, 3))


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015, fig. 2), with a channel gate
    (squeeze-and-excitation, Hu et al. 2018) before the sum."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(after, after // 8, 1),
            nn.ReLU(),
            nn.Conv2d(after // 8, after, 1),
            nn.Sigmoid(),
        )
        self.shortcut = (
            nn.Identity()
            if before == after and stride == 1
            else nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(before, after, 1, bias=False),
                nn.BatchNorm2d(after),
            )
        )
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.first(x)))
        y = self.norm2(self.second(y))
        return F.relu(self.shortcut(x) + y * self.gate(y))


class Compact(nn.Module):
    """[B, 1, H, W] -> logits [B, C]. For 64 px: 32x32 after the stem, 4x4 before pooling.

    Few channels where the picture is large, many where it is small: the cost is spread evenly, and
    two CPU cores train 1.7 times as many images a second as with an 8x8 last stage (docs/LOG.md).
    """

    def __init__(self, classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 32, 5, 2, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.body = nn.Sequential(
            Residual(32, 32, 1), Residual(32, 64, 2), Residual(64, 128, 2), Residual(128, 256, 2)
        )
        self.pool = WeightedPooling(256, 4)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(256, classes)

    def features(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, 256]."""
        return self.pool(self.body(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x)))


class Ensemble(nn.Module):
    """[B, 1, H, W] -> [B, C]: logarithms of the mean of the members' probabilities.

    Networks from different random starts err in different places (Lakshminarayanan et al. 2017,
    "Simple and scalable predictive uncertainty estimation using deep ensembles").
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        each = torch.stack([F.log_softmax(member(x).float(), 1) for member in self.members])
        return torch.logsumexp(each, 0) - math.log(len(self.members))


def require_model(name: str) -> None:
    """Raises InputError for a name that `build_network` does not know."""
    if name not in MODELS and timm_name(name) is None:
        missing = "" if find_spec("timm") else " (pip install timm)"
        raise InputError(
            f"--model {name!r}: there are {', '.join(MODELS)}, and every network of timm by its "
            f"name, or by timm/NAME where both have it{missing}"
        )


def timm_name(name: str) -> str | None:
    """The name that timm knows a network by; None: not one of its, or timm is not installed."""
    plain = name.removeprefix("timm/")
    if name in MODELS or find_spec("timm") is None:
        return None
    import timm

    return plain if timm.is_model(plain) else None


def build_network(name: str, classes: int) -> nn.Module:
    """A network for [B, 1, H, W] float -1..1 by its name (`MODELS`, or one of timm's)."""
    require_model(name)
    if name == "compact":
        return Compact(classes)
    if name.startswith("efficientnet-"):
        from efficientnet_pytorch import EfficientNet

        return EfficientNet.from_name(name, in_channels=1, num_classes=classes, image_size=None)
    if known := timm_name(name):
        return _timm(known, classes)
    import torchvision

    network = getattr(torchvision.models, name)(num_classes=classes)
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network


def _timm(name: str, classes: int) -> nn.Module:
    import timm

    about = timm.get_pretrained_cfg(name)
    if about is None or not about.fixed_input_size:
        return timm.create_model(name, in_chans=1, num_classes=classes)
    try:
        return timm.create_model(name, in_chans=1, num_classes=classes, dynamic_img_size=True)
    except TypeError:
        raise InputError(
            f"--model {name}: it reads images of one fixed size only; take another"
        ) from None
