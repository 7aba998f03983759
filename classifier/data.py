"""The Lightning data module of the classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from classifier.images import RESIDENT_BYTES, Images
from classifier.loaders import Batch, EvalLoader, TrainLoader
from classifier.mixing import Mix
from classifier.pipeline import Augment, CheckedFunction, Device
from synth.store import Store

__all__ = ["Batch", "EvalLoader", "Images", "MixData", "TrainLoader"]


class NoImages:
    """One batch, an empty dict: the validation of a run that has no images for one.

    Without any, Lightning 2.6 takes a run resumed at the end of an epoch for one that was cut off
    in a validation, trains a batch more in that epoch, and all later epochs end elsewhere.
    """

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield {}


class MixData(pl.LightningDataModule):
    """Training and validation batches for a Lightning trainer. A run is counted in steps.

    One Lightning epoch is `steps_per_epoch` steps. A resumed run gets the batches that it would
    have got.
    """

    def __init__(
        self,
        stores: Sequence[Store],  # those of mix.pools, in that order
        mix: Mix,  # batch_size is that of all processes together
        augment: Augment,
        *,
        seed: int,
        steps_per_epoch: int,
        val_stores: Sequence[Store] = (),
        val_rows: Sequence[np.ndarray] = (),  # for each [n] int64
        val_targets: Sequence[np.ndarray] = (),  # for each [N] int64, of all its rows
        val_batch_size: int = 256,
        threads: int = 2,
        user_function: CheckedFunction | None = None,
        device: Device = "cpu",
        resident_bytes: int = RESIDENT_BYTES,
        ease: Callable[[int], float] = lambda step: 1.0,  # step -> share of the augmentation
    ) -> None:
        super().__init__()
        self.mix, self.steps_per_epoch = mix, steps_per_epoch
        self._stores, self._augment, self._seed = stores, augment, seed
        self._val = (val_stores, val_rows, val_targets)
        self._val_batch_size, self._threads = val_batch_size, threads
        self._user_function, self._device, self._ease = user_function, device, ease
        self._resident_bytes = resident_bytes
        self._train: TrainLoader | None = None

    def train_dataloader(self) -> TrainLoader:
        assert self.trainer is not None
        if self.trainer.accumulate_grad_batches != 1:
            raise ValueError("a batch is a step here: use a larger batch, not accumulated ones")
        self._train = TrainLoader(
            self._stores,
            self.mix,
            self._augment,
            seed=self._seed,
            start_step=self.trainer.global_step,
            steps_per_pass=self.steps_per_epoch,
            user_function=self._user_function,
            ease=self._ease,
            resident_bytes=self._resident_bytes,
            **self._where(),
        )
        return self._train

    @property
    def images(self) -> Images:
        """Of the training stores: those that the batches are taken from, once they are."""
        if self._train is None:
            return Images(self._stores, self._resident_bytes)
        return self._train.images

    def val_dataloader(self) -> EvalLoader | NoImages:
        if not self._val[0]:
            return NoImages()
        return EvalLoader(*self._val, batch_size=self._val_batch_size, **self._where())

    def set_weights(self, weights: Sequence[np.ndarray] | None) -> None:
        """Sample weights, for each store's training rows, from the next batch on."""
        self.mix = self.mix.with_weights(weights)
        if self._train is not None:
            self._train.use(self.mix)

    def state_dict(self) -> dict[str, Any]:
        """What the batches depend on that changes while training."""
        weights = self.mix.weights
        return {"weights": None if weights is None else [torch.from_numpy(w) for w in weights]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        weights = state["weights"]
        self.set_weights(None if weights is None else [w.numpy() for w in weights])

    def _where(self) -> dict[str, Any]:
        assert self.trainer is not None
        gpu = self.trainer.strategy.root_device.index if self._device == "gpu" else None
        return {
            "threads": self._threads,
            "rank": self.trainer.global_rank,
            "world": self.trainer.world_size,
            "device": self._device,
            "device_id": gpu,
        }
