"""Images that are neither easy nor hopeless are shown oftener."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from classifier.data import Batch, MixData
from classifier.lit import ClassifierModule


def emphasis(probability: np.ndarray, most: float) -> np.ndarray:
    """[n] mean probability of the given label, NaN where never seen -> [n] weight 1 to `most`.

    Proportional to p (1 - p): closeness to the threshold (Chang et al. 2017, "Active Bias", sec.
    3.2). Loss-proportional sampling would show wrong labels most of all, since nothing has a higher
    loss; here they, at p near 0, have the weight of the easiest.
    """
    return 1 + (most - 1) * np.nan_to_num(4 * probability * (1 - probability))


class Hardness(pl.Callback):
    """Sample weights from what the network says while it trains, without a further pass.

    At the end of each epoch: the mean over its looks at an image, half of it from this epoch. As
    all sample weights they act within (class, source); what is left out stays out.
    """

    def __init__(self, data: MixData, most: float) -> None:
        self.data, self.most = data, most
        self.mean = [np.full(len(pool.rows), np.nan) for pool in data.mix.pools]
        self._sums = [np.zeros((2, len(m))) for m in self.mean]
        self._place = []
        for pool in data.mix.pools:
            place = np.zeros(pool.rows.max() + 1, np.int64)
            place[pool.rows] = np.arange(len(pool.rows))
            self._place.append(place)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any
    ) -> None:
        assert isinstance(module, ClassifierModule) and module.given is not None
        given = module.given.float().cpu().numpy()
        store, row = batch["store"].cpu().numpy(), batch["row"].cpu().numpy()
        for number, (place, sums) in enumerate(zip(self._place, self._sums, strict=True)):
            mine = store == number
            np.add.at(sums[0], place[row[mine]], given[mine])
            np.add.at(sums[1], place[row[mine]], 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        weights = []
        before = self.data.mix.weights or [np.ones(len(m)) for m in self.mean]
        for number, sums in enumerate(self._sums):
            total, count = _over_processes(sums, module.device)
            seen, old = count > 0, self.mean[number]
            new = total / np.maximum(count, 1)
            self.mean[number] = np.where(seen, np.where(np.isnan(old), new, (old + new) / 2), old)
            sums[:] = 0
            weight = emphasis(self.mean[number], self.most)
            weights.append(np.where(before[number] == 0, 0.0, weight))
        self.data.set_weights(weights)

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        return {"mean": [torch.from_numpy(m) for m in self.mean]}

    def load_state_dict(self, state: dict[str, Sequence[torch.Tensor]]) -> None:
        self.mean = [m.numpy() for m in state["mean"]]


def _over_processes(sums: np.ndarray, device: torch.device) -> np.ndarray:
    if not torch.distributed.is_initialized():
        return sums
    total = torch.from_numpy(sums).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
