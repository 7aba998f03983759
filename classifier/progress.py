"""What a run shows and keeps while it trains: a bar, a line of JSON a while, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from classifier.config import ClassifierConfig
from classifier.lit import ClassifierModule
from synth.command import progress
from synth.runs import MetricsFile

_SHOWN = ("loss", "val_known", "val_other")


class Progress(pl.Callback):
    """Images/s and time left over the whole run."""

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        size = self.config.batch_size
        self.bar = progress(
            self.config.steps * size, "image", "classifier", trainer.global_step * size
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.bar is None:
            return
        self.bar.update(self.config.batch_size)
        values = trainer.callback_metrics
        self.bar.set_postfix(
            {k: f"{float(values[k]):.3f}" for k in _SHOWN if k in values}, refresh=False
        )

    def on_train_end(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()

    def on_exception(self, *_: Any) -> None:
        if self.bar is not None:
            self.bar.close()


class Metrics(pl.Callback):
    """metrics.jsonl: a line each 25 steps, and one of each validation."""

    def __init__(self, path: Path, every: int = 25) -> None:
        self.file, self.every = MetricsFile(path), every

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self.file.start(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and trainer.is_global_zero:
            self._add(trainer, validation=False)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._add(trainer, validation=True)

    def _add(self, trainer: pl.Trainer, validation: bool) -> None:
        """The figures of training, or those of a validation: a step has its own alone."""
        values = trainer.callback_metrics.items()
        if found := {k: v for k, v in values if k.startswith("val_") == validation}:
            rate = {"lr": trainer.optimizers[0].param_groups[0]["lr"]}
            self.file.add(trainer.global_step, rate | found)


class Saver(pl.Callback):
    """A checkpoint at the end of every epoch, after everything else that ends with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, ClassifierModule)
        module.refresh_average()  # a run resumed at its end has no batch to do it with
        trainer.save_checkpoint(self.path)
