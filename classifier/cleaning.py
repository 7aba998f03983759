"""Real images whose label is doubted are left out while a run trains."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytorch_lightning as pl
import torch

from classifier.config import ClassifierConfig
from classifier.data import MixData
from classifier.lit import ClassifierModule
from classifier.losses import folded_log_prob
from classifier.mixing import REAL, Mix
from classifier.shares import class_groups, source_weights
from synth.canvas import to_float

# A network that doubts more than this share of the real images has not learned enough to judge.
MOST_DOUBTED = 0.5


class Cleaner(pl.Callback):
    """Leaves out real images whose given label the network finds improbable.

    Synthetic images carry right labels and hold the classes apart, so early in the run the network
    disagrees with wrong real labels that it has not learned by heart yet. It is asked at ends of
    epochs, never at the end of the run: there is nothing left to leave an image out of.
    """

    def __init__(
        self,
        data: MixData,
        config: ClassifierConfig,
        trusted: np.ndarray | None = None,  # rows of the first store whose labels a person gave
    ) -> None:
        self.data, self.config = data, config
        self.trusted = np.zeros(0, np.int64) if trusted is None else trusted
        self.pools = data.mix.pools
        epochs = max(1, round(config.steps / config.steps_per_epoch))
        last = math.ceil(config.steps / config.steps_per_epoch) - 1  # that others come after
        at = (max(1, round(share * epochs)) for share in config.clean_at)
        self.epochs = {min(epoch, last) for epoch in at if last}

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ClassifierModule)
        if trainer.current_epoch + 1 not in self.epochs:
            return
        given = given_probabilities(module, self.data)
        given[0][np.isin(self.pools[0].rows, self.trusted)] = np.inf
        weights, kept = believed(self.data.mix, given, self.config.doubt_below)
        weights, kept = trainer.strategy.broadcast((weights, kept))  # one opinion in all processes
        doubted = sum(int((w == 0).sum()) for w in weights)
        real = sum(
            int(((p.sources == REAL) & (p.targets < module.known)).sum()) for p in self.pools
        )
        if doubted > MOST_DOUBTED * real:
            trainer.print(
                f"labels: {doubted} of {real} real images look doubtful, more than "
                f"{MOST_DOUBTED:.0%}: the network is not to be trusted yet, all stays as it is"
            )
            return
        self.data.set_weights(weights)
        trainer.print(f"labels: {doubted} of {real} real images left out as doubtful")
        if kept:
            trainer.print(f"labels: {kept} classes would have lost every image and keep half")


def believed(
    mix: Mix,
    given: list[np.ndarray],  # for each pool [n]: probability of each image's label
    doubt_below: float,
) -> tuple[list[np.ndarray], int]:
    """Sample weights for each pool, 0 for a real image of a known class whose label is doubted.

    A class is never emptied: where no image would be left of any source that is in use for it, it
    keeps the more probable half of its real ones. Returns the weights, and how many classes that
    concerned.
    """
    pools, weights = mix.pools, []
    for pool, p in zip(pools, given, strict=True):
        doubted = (pool.sources == REAL) & (pool.targets < mix.known) & (p < doubt_below)
        weights.append(np.where(doubted, 0.0, 1.0))
    there = _shown(mix, [np.ones(len(pool.rows)) for pool in pools])
    emptied = np.flatnonzero((there > 0) & (_shown(mix, weights) == 0))
    for label in emptied:
        for pool, p, weight in zip(pools, given, weights, strict=True):
            mine = np.flatnonzero((pool.targets == label) & (pool.sources == REAL))
            if len(mine):
                weight[mine[p[mine] >= np.median(p[mine])]] = 1.0
    return weights, len(emptied)


def _shown(mix: Mix, weights: Sequence[np.ndarray]) -> np.ndarray:
    """[K]: how many images of each known class the mix would show with such sample weights."""
    used = np.concatenate(weights) > 0
    target = np.concatenate([pool.targets for pool in mix.pools])[used]
    source = np.concatenate([pool.sources for pool in mix.pools])[used]
    # without some of its real images a class may be of another group, which has other sources
    real = np.bincount(target[source == REAL], minlength=mix.classes)
    groups = class_groups(real, mix.known)
    in_force = source_weights(mix.settings, groups, mix.known, mix.names)[target, source] > 0
    return np.bincount(target[in_force], minlength=mix.classes)[: mix.known]


@torch.no_grad()
def given_probabilities(module: ClassifierModule, data: MixData) -> list[np.ndarray]:
    """For each pool [n] float: the moving average's probability of each image's given class.

    That of a known character is among the known ones alone: how much an image looks like something
    outside the alphabet says nothing about which of its characters it shows.
    """
    known, images = module.known, data.images
    module.refresh_average()
    network = module.average.module
    result = []
    for number, pool in enumerate(data.mix.pools):
        out = np.ones(len(pool.rows))
        at = np.flatnonzero(pool.sources == 0)
        for i in range(0, len(at), 512):
            part = at[i : i + 512]
            pixels = images.fetch(np.full(len(part), number), pool.rows[part])
            x = torch.from_numpy(to_float(pixels))[:, None].to(module.device)
            logits = network(x.contiguous(memory_format=torch.channels_last)).float()
            target = torch.from_numpy(pool.targets[part]).to(module.device)
            among = torch.log_softmax(logits[:, :known], 1)
            single = among.gather(1, target.clamp(max=known - 1)[:, None])[:, 0]
            rest = folded_log_prob(logits, target, known)
            out[part] = torch.where(target < known, single, rest).exp().cpu().numpy()
        result.append(out)
    return result
