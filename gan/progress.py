"""What a run shows while it trains: a bar with rate and time left, and lines of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from gan.config import GanConfig
from synth.command import progress
from synth.runs import MetricsFile

_SHOWN = ("d_loss", "g_loss", "read", "d_right")


class Progress(pl.Callback):
    def __init__(self, config: GanConfig) -> None:
        self.config = config

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        done, per_step = module.steps_done, self.config.batch_size
        self.bar = progress(self.config.steps * per_step, "image", "GAN", done * per_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.bar.update(self.config.batch_size)
        values = trainer.callback_metrics
        self.bar.set_postfix(
            {k: f"{float(values[k]):.2f}" for k in _SHOWN if k in values}, refresh=False
        )

    def on_train_end(self, *_: Any) -> None:
        self.bar.close()

    def on_exception(self, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


class Metrics(pl.Callback):
    """metrics.jsonl: a line every 10 steps."""

    def __init__(self, path: Path, every: int = 10) -> None:
        self.file, self.every = MetricsFile(path), every

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.file.start(module.steps_done)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if module.steps_done % self.every == 0:
            self.file.add(module.steps_done, trainer.callback_metrics)
