"""Batch norms that keep real and synthetic images apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from synth.canvas import to_float

STEADY_IMAGES = 2048  # that the final statistics are of
_LEAST = 8  # images of a part with statistics of its own


@dataclass
class Parts:
    """How the batch that is being trained on falls in two."""

    first: int | None = None  # images of the first part; None: the batch is one

    @contextmanager
    def of(self, first: int) -> Iterator[None]:
        """While this lasts the first images of a batch are real, the others are not."""
        self.first = first
        try:
            yield
        finally:
            self.first = None


class SplitBatchNorm2d(nn.BatchNorm2d):
    """Each part of a training batch is normalised by its own mean and variance, with weights and
    biases in common; the running statistics are those of the first part.

    What tells rendered images from scanned ones in the mean is gone before anything is learned of
    it: Chang et al. 2019, "Domain-specific batch normalization", with the affine part shared (Xie
    et al. 2020 do so for adversarial images). A batch with fewer than `_LEAST` images in one part
    is taken as one. Otherwise it is torch's.
    """

    parts: Parts | None = None

    def forward(self, x: Tensor) -> Tensor:
        first = self.parts.first if self.parts is not None and self.training else None
        if first is None or not _LEAST <= first <= len(x) - _LEAST:
            return super().forward(x)
        rest = F.batch_norm(x[first:], None, None, self.weight, self.bias, True, 0.0, self.eps)
        return torch.cat([super().forward(x[:first]), rest])


def split_norms(network: nn.Module) -> Parts:
    """Makes every plain `BatchNorm2d` in it split; returns what says where. State stays as it is.

    Norms of a library's own class (timm has some, with the activation inside) stay whole.
    """
    parts = Parts()
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                split = SplitBatchNorm2d(
                    child.num_features,
                    child.eps,
                    child.momentum,
                    child.affine,
                    child.track_running_stats,
                )
                split.load_state_dict(child.state_dict())
                split.train(child.training)
                split.parts = parts
                setattr(module, name, split)
    return parts


def compile_split(network: nn.Module, **options: Any) -> None:
    """torch.compile, in place, for batches with any number of real images.

    That number stands at a module, where torch takes it for a constant: it would compile the
    network anew for each number, eight times, and from then on not at all.
    """
    import torch._dynamo.config as dynamo

    dynamo.allow_unspec_int_on_nn_module = True
    network.compile(**options)


def steady_rows(rows: np.ndarray, seed: int) -> np.ndarray:
    """At most STEADY_IMAGES of [n] rows, in an order of their own."""
    return np.random.default_rng([seed, len(rows)]).permutation(rows)[:STEADY_IMAGES]


@torch.no_grad()
def measure_norms(network: nn.Module, images: np.ndarray, batch_size: int = 128) -> None:
    """Sets the running statistics of all batch norms to those of [n, H, W] uint8 images as they are
    read, not augmented, and puts the network into evaluation mode.

    Averages of running statistics belong to no one set of weights: at the height of the learning
    rate they read 10 % of what fresh ones read 79 % of (Izmailov et al. 2018, sec. 3.2, say why).
    Those of augmented or synthetic images are not those of what will be read: on development data
    statistics of real images read 1 to 3 more in a hundred of rare characters (docs/LOG.md).

    All else stands in evaluation mode meanwhile, for torch's `update_bn` would let blocks drop out
    by chance (stochastic depth): the statistics would be those of images that are never so read.
    """
    network.eval()
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean of all batches
        norm.training = True  # and nothing that may be inside of it
    device = next(network.parameters()).device
    for part in np.array_split(images, max(1, round(len(images) / batch_size))):
        x = torch.from_numpy(to_float(part))[:, None].contiguous(memory_format=torch.channels_last)
        network(x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
