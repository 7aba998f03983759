"""The weights that were best in validation, and the end of a run that gets no better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from classifier.lit import ClassifierModule
from synth.learning import load_checkpoint, save_checkpoint

MONITORED = ("val_known", "val_macro", "val_other")  # validation figures, more is better


class Best(pl.Callback):
    """Keeps the moving average of the best validation in a file; the earlier of two equal ones."""

    def __init__(self, path: Path, monitor: str, patience: int | None) -> None:
        self.path, self.monitor, self.patience = path, monitor, patience
        self.value, self.step, self.waited = -1.0, 0, 0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.should_stop |= self.enough  # it had stopped, and only the model was not written

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        if value > self.value:
            self.value, self.step, self.waited = value, trainer.global_step, 0
            if trainer.is_global_zero:
                assert isinstance(module, ClassifierModule)
                weights = module.average.module.state_dict()
                kept = {"weights": weights, "value": value, "step": self.step}
                save_checkpoint(kept, self.path)
        else:
            self.waited += 1
        trainer.should_stop |= self.enough

    def restore(self, module: pl.LightningModule) -> None:
        """Puts the best weights in the place of the moving average's last ones. Where their file is
        damaged these are the best before them, and so are the value and the step."""
        assert isinstance(module, ClassifierModule)
        kept = load_checkpoint(self.path)
        module.average.module.load_state_dict(kept["weights"])
        self.value, self.step = kept["value"], kept["step"]

    @property
    def enough(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "step": self.step, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.step, self.waited = state["value"], state["step"], state["waited"]
