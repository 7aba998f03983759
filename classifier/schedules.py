"""Optimisers and schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedulers

from classifier.config import ClassifierConfig
from classifier.layers import blocks
from synth.learning import Muon, groups_for_muon

OPTIMISERS = ("muon", "adamw", "sgd")
SCHEDULES = ("one-cycle", "cosine", "step", "plateau")
_PLATEAU_FACTOR, _PLATEAU_PATIENCE = 0.3, 2  # validations


def parameter_groups(
    network: nn.Module, config: ClassifierConfig, also: Iterable[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Of the network, and of more heads beside its own (`also`). Weights decay; biases and norms do
    not. With `lr_decay_by_depth` each block has a learning rate of its own: the head the full one,
    each block before it that share of the next (discriminative fine-tuning, Howard and Ruder 2018,
    sec. 3.2)."""
    decay = config.lr_decay_by_depth
    ordered = blocks(network)
    if decay == 1:
        ordered = [list(network.parameters())]
    ordered[-1] = [*ordered[-1], *also]
    hidden_lr = config.muon_lr if config.optimiser == "muon" else config.lr
    hidden_decay = config.weight_decay * config.lr / hidden_lr  # what decays is lr times this
    groups = []
    for number, parameters in enumerate(ordered):
        share = decay ** (len(ordered) - 1 - number)
        groups += groups_for_muon(
            parameters, config.lr * share, hidden_lr * share, config.weight_decay, hidden_decay
        )
    return groups


def optimiser(
    network: nn.Module, config: ClassifierConfig, also: Iterable[nn.Parameter] = ()
) -> Optimizer:
    """See `parameter_groups`."""
    groups = parameter_groups(network, config, also)
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            groups, config.lr, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    kind = Muon if config.optimiser == "muon" else torch.optim.AdamW
    return kind(groups, config.lr, weight_decay=config.weight_decay)


def schedule(rate: Optimizer, config: ClassifierConfig) -> list[dict[str, Any]]:
    """As Lightning takes them.

    one-cycle: up, then down to nothing by a cosine (Smith and Topin 2019). cosine: a line up, then
    half a cosine to nothing. step: a line up, then a tenth from half of the run and a hundredth
    from three quarters (He et al. 2015, sec. 4.2). plateau: a line up, then 0.3 times the rate
    whenever three validations in a row bring nothing better (`Plateau` steps it). All rise over
    `warmup_share`.
    """
    warm = max(1, round(config.warmup_share * config.steps))
    if config.schedule == "one-cycle":
        cycle = schedulers.OneCycleLR(
            rate,
            max_lr=[group["lr"] for group in rate.param_groups],
            total_steps=config.steps + 1,
            pct_start=_rise(config.warmup_share, config.steps + 1),
        )
        return [{"scheduler": cycle, "interval": "step"}]
    if config.schedule == "plateau":
        # LinearLR multiplies what is there and leaves it alone when it is through
        rise = schedulers.LinearLR(rate, 1 / warm, 1.0, total_iters=warm)
        fall = schedulers.ReduceLROnPlateau(
            rate, mode="max", factor=_PLATEAU_FACTOR, patience=_PLATEAU_PATIENCE
        )
        watched = {"interval": "epoch", "monitor": config.monitor or "val_known"}
        return [{"scheduler": rise, "interval": "step"}, {"scheduler": fall, **watched}]
    shape = _cosine if config.schedule == "cosine" else _step
    by_step = schedulers.LambdaLR(rate, partial(shape, warm, config.steps))
    return [{"scheduler": by_step, "interval": "step"}]


class Plateau(pl.Callback):
    """Steps what falls on a plateau, after each validation.

    Lightning does it at the end of the epoch, behind all callbacks: the checkpoint of that epoch
    would lack it, and a resumed run, which does not validate again, would never hear of it.
    """

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        for plan in trainer.lr_scheduler_configs:
            if isinstance(plan.scheduler, schedulers.ReduceLROnPlateau):
                assert plan.monitor is not None
                plan.scheduler.step(float(trainer.callback_metrics[plan.monitor]))


def _rise(share: float, steps: int) -> float:
    """The part of a cycle that rises: none where it is a single step, whose length less one
    OneCycleLR divides by."""
    return 0.0 if share * steps == 1 else share


def _cosine(warm: int, steps: int, step: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))


def _step(warm: int, steps: int, step: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 1.0 if step < steps / 2 else 0.1 if step < 3 * steps / 4 else 0.01
