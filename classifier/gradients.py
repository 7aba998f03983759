"""Gradient norms by layer: a layer that gets none, or far more than ever, is named."""

from __future__ import annotations

from collections import defaultdict, deque
from statistics import median

import pytorch_lightning as pl
import torch
from torch import nn

DEAD_AFTER = 3  # looks in a row at which a layer had no gradient at all
EXPLODED = 100.0  # times the median of the looks before
# and this at least: where a layer has had next to no gradient, a hundred times that is no explosion
NOTICEABLE = 0.1


def layer_norms(network: nn.Module) -> dict[str, float]:
    """Name of each layer that is trained -> the Euclidean norm of its gradients, NaN and infinity
    as they are; 0 where it took no part in the loss.

    Frozen layers are not in it.
    """
    norms = {}
    for name, layer in network.named_modules():
        trained = [p for p in layer.parameters(recurse=False) if p.requires_grad]
        if gradients := [p.grad for p in trained if p.grad is not None]:
            parts = torch.stack(torch._foreach_norm(gradients))
            norms[name or "network"] = float(torch.linalg.vector_norm(parts.float()))
        elif trained:
            norms[name or "network"] = 0.0
    return norms


class GradientHistory:
    """Norms seen so far, and what is wrong with new ones. Each fault of a layer is told once."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=16))
        self._zeros: dict[str, int] = defaultdict(int)
        self._told: set[tuple[str, str]] = set()

    def judge(self, norms: dict[str, float]) -> list[str]:
        """One line for each layer that died or exploded since the last call."""
        found = []
        for layer, norm in norms.items():
            self._zeros[layer] = self._zeros[layer] + 1 if norm == 0 else 0
            usual = median(self._seen[layer]) if len(self._seen[layer]) >= DEAD_AFTER else None
            if self._zeros[layer] >= DEAD_AFTER:
                found += self._once(layer, "dead", f"{layer} gets no gradient: it is dead")
            elif not norm < float("inf"):
                found += self._once(layer, "infinite", f"{layer} has a gradient of {norm}")
            elif usual and norm > max(EXPLODED * usual, NOTICEABLE):
                found += self._once(
                    layer, "exploded", f"{layer} explodes: norm {norm:.3g}, usually {usual:.3g}"
                )
            if 0 < norm < float("inf"):
                self._seen[layer].append(norm)
        return found

    def _once(self, layer: str, fault: str, line: str) -> list[str]:
        new = (layer, fault) not in self._told
        self._told.add((layer, fault))
        return [line] if new else []


class GradientCheck(pl.Callback):
    """Looks every so many steps, before clipping: norms go to the run's logger, faults on screen.

    It changes nothing about the training.
    """

    def __init__(self, every: int = 25) -> None:
        self.every = every
        self.history = GradientHistory()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step % self.every:
            return
        assert isinstance(module.network, nn.Module)
        norms = layer_norms(module.network)
        for line in self.history.judge(norms):
            trainer.print(f"gradients, step {trainer.global_step}: {line}")
        if trainer.logger is not None:
            named = {f"gradient/{layer}": norm for layer, norm in norms.items()}
            trainer.logger.log_metrics(named, trainer.global_step)
