"""What a run shows and keeps while it trains: a bar, a line of JSON a while, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from classifier.config import ClassifierConfig

_SHOWN = ("loss", "val_known", "val_other")


class Progress(pl.Callback):
    """Images/s and time left over the whole run."""

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        size = self.config.batch_size
        self.bar = tqdm(
            total=self.config.steps * size,
            initial=trainer.global_step * size,
            unit="image",
            desc="classifier",
            mininterval=1.0,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        assert self.bar is not None
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
    """metrics.jsonl: a line each 25 steps. A resumed run drops the lines past its checkpoint."""

    def __init__(self, path: Path, every: int = 25) -> None:
        self.path, self.every = path, every

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the last line of a killed process
                    continue
                if row["step"] <= trainer.global_step:
                    kept.append(line)
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            row = {"step": trainer.global_step, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
            row |= {k: round(float(v), 5) for k, v in trainer.callback_metrics.items()}
            with self.path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")


class Saver(pl.Callback):
    """A checkpoint at the end of every epoch, after everything else that ends with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.path)
