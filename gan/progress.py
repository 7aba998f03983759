"""What a run shows while it trains: a bar with rate and time left, and lines of JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from gan.config import GanConfig

_SHOWN = ("d_loss", "g_loss", "read", "d_right")


class Progress(pl.Callback):
    def __init__(self, config: GanConfig) -> None:
        self.config = config

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        done, per_step = module.steps_done, self.config.batch_size
        self.bar = tqdm(
            total=self.config.steps * per_step,
            initial=done * per_step,
            unit="image",
            desc="GAN",
            mininterval=1.0,
        )

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
    """metrics.jsonl: a line every 10 steps. A resumed run drops the lines past its checkpoint."""

    def __init__(self, path: Path, every: int = 10) -> None:
        self.path, self.every = path, every

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        kept = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the last line of a killed process
                    continue
                if row["step"] <= module.steps_done:
                    kept.append(line)
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        if module.steps_done % self.every == 0:
            row = {"step": module.steps_done}
            row |= {k: round(float(v), 5) for k, v in trainer.callback_metrics.items()}
            with self.path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
