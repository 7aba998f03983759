"""One network, trained to its end: Lightning's trainer around the module and the mix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.profilers import (
    AdvancedProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from pytorch_lightning.strategies import DDPStrategy

from classifier.best import Best
from classifier.cleaning import Cleaner
from classifier.config import ClassifierConfig
from classifier.data import MixData
from classifier.gradients import GradientCheck
from classifier.hardness import Hardness
from classifier.lit import CheckedCheckpoints, ClassifierModule
from classifier.pipeline import Device
from classifier.processes import Processes
from classifier.progress import Metrics, Progress, Saver
from classifier.schedules import Plateau
from classifier.setup import Setup, steady_images
from synth.files import has_checkpoint
from synth.learning import quiet_lightning

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


@dataclass(frozen=True)
class Fitted:
    """A network at the end of its training, its moving average ready to be measured."""

    module: ClassifierModule
    first: int  # step at which this process began
    steps: int  # at its end
    stopped: bool  # before its time, since it got no better
    best: dict[str, Any] | None  # monitored figure, its value and step
    weights: tuple[np.ndarray, ...] | None  # of the samples, at the end


def fit(
    setup: Setup,
    out: Path,  # the run's folder
    config: ClassifierConfig,
    seed: int,
    processes: Processes | None = None,  # None: this one alone
    profile: str | None = None,
    bar: bool = True,  # a progress bar
) -> Fitted:
    """Trains to the end, from the last checkpoint where there is one."""
    processes = processes or Processes()
    data = MixData(
        setup.stores,
        setup.mix,
        setup.augment,
        seed=seed,
        steps_per_epoch=config.steps_per_epoch,
        val_stores=setup.stores if sum(map(len, setup.val_rows)) else (),
        val_rows=setup.val_rows,
        val_targets=setup.targets,
        threads=config.threads,
        user_function=setup.user_function,
        device=_batches_device(setup),
        resident_bytes=int(config.resident_gib * 2**30),
        ease=config.ease,
    )
    module = ClassifierModule(
        config,
        setup.mix.classes,
        setup.known,
        setup.bending,
        seed,
        lambda: data.mix.prior(),  # the one in force: cleaning changes it
        len(setup.stores[0]),
        steady_images(setup, seed),
    )
    if module.started_from and processes.first:
        print(f"pretrained: {module.started_from}")
    last = out / "checkpoints" / "last.ckpt"
    resume = last if has_checkpoint(last) else None
    best = None
    if config.monitor or config.patience:
        monitor = config.monitor or "val_known"
        best = Best(out / "checkpoints" / "best.pt", monitor, config.patience)
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator="auto",
        devices=processes.of_a_node,
        num_nodes=processes.nodes,
        strategy=_strategy(config, processes),
        precision=config.precision,
        max_steps=config.steps,
        max_epochs=-1,
        plugins=[CheckedCheckpoints()],
        callbacks=[
            Cleaner(data, config, setup.corrections.trusted),
            *([Hardness(data, config.hard_weight)] if config.hard_weight > 1 else []),
            *([best] if best else []),
            GradientCheck(),
            Saver(last),
            *([Progress(config)] if bar else []),
            Metrics(out / "metrics.jsonl"),
            Plateau(),  # the rate that a validation is noted with is the one before it
        ],
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        profiler=PROFILERS[profile](out, "profile") if profile else None,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=25,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=0,
        use_distributed_sampler=False,  # each process takes its own part of a batch
    )
    first = 0
    if resume:
        first = int(CheckedCheckpoints().load_checkpoint(resume)["global_step"])
        if processes.first:
            print(f"{out}: going on at step {first} of {config.steps}")
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    steps = trainer.global_step
    stopped = best is not None and steps < config.steps and best.enough
    if steps < config.steps and not stopped:
        raise RuntimeError(f"{out}: stopped at step {steps} of {config.steps}")
    if best is not None:
        best.restore(module)
    module.average.eval()  # a run resumed at its last step came to no hook that says so
    kept = {"figure": best.monitor, "value": best.value, "step": best.step} if best else None
    return Fitted(module, first, steps, stopped, kept, data.mix.weights)


def _strategy(config: ClassifierConfig, processes: Processes) -> str | DDPStrategy:
    if processes.world == 1:
        return "auto"
    # a frozen block has no gradient to wait for
    return DDPStrategy(find_unused_parameters=config.freeze_steps > 0)


def _batches_device(setup: Setup) -> Device:
    """A user's own function mostly takes numpy arrays, which lie on a CPU."""
    function = setup.user_function
    there = torch.cuda.is_available() and (function is None or function.on_gpu)
    return "gpu" if there else "cpu"
