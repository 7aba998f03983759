"""Checkpoints that are whole or not there, every so many steps."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from gan.config import GanConfig
from synth.files import load_checked, save_checked


class CheckedCheckpoints(CheckpointIO):
    """Lightning's checkpoints, whole or not there, with a checksum and the one before kept."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        save_checked(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        data, found = load_checked(Path(path))
        if found != Path(path):
            print(f"{path} is damaged or missing: going on from {found.name}")
        return torch.load(io.BytesIO(data), map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class Keeper(pl.Callback):
    """Saves a checkpoint every so many steps and after the last one."""

    def __init__(self, run: Path, config: GanConfig) -> None:
        self.run, self.config = run, config

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        done = module.steps_done
        if done % self.config.checkpoint_every == 0 or done == self.config.steps:
            module.refuse_broken_weights()
            trainer.save_checkpoint(self.run / "checkpoints" / "last.ckpt")
