"""Checkpoints that are whole or not there, every so many steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import CheckpointIO

from gan.config import GanConfig
from gan.lit import GanModule
from synth.learning import load_checkpoint, save_checkpoint


class CheckedCheckpoints(CheckpointIO):
    """Lightning's checkpoints, whole or not there, with a checksum and the one before kept."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class Keeper(pl.Callback):
    """Saves a checkpoint every so many steps and after the last one."""

    def __init__(self, run: Path, config: GanConfig) -> None:
        self.run, self.config = run, config

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, GanModule)
        done = module.steps_done
        if done % self.config.checkpoint_every == 0 or done == self.config.steps:
            module.refuse_broken_weights()
            trainer.save_checkpoint(self.run / "checkpoints" / "last.ckpt")
