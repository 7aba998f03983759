"""A step in Lightning's loop against the same step in a bare loop.

Lightning's has what a run does at its steps: its logger, the check of the gradients and the file of
metrics. What a run does between its epochs (validation, the doubt of labels, checkpoints) is in
neither, nor is the progress bar.

Both train the same network on the same batches; that their weights end equal, bit for bit, is
checked. A round runs the bare loop, Lightning's, and the bare one again, every second round in the
opposite order. Limits: Lightning's at most 1.05 times the mean of the two bare ones' time, else the
exit code is 1; those two within 5 % of each other (A/A), else it is 2: the machine is too busy for
this to mean anything.

    python benchmarks/train_loop.py [--rounds 7] [--steps 24] [--batch-size 128]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.profilers import Profiler
from timing import no_claim

from classifier.config import PRESETS, ClassifierConfig
from classifier.data import MixData
from classifier.gradients import GradientCheck
from classifier.lit import ClassifierModule
from classifier.losses import smoothed_loss
from classifier.mixing import REAL
from classifier.one_vs_rest import one_vs_rest_loss
from classifier.progress import Metrics
from classifier.schedules import optimiser, schedule
from classifier.setup import Setup, prepare
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.store import Sample, Store, StoreWriter

LIMIT = 1.05
SAME = 0.05  # A/A: the median may differ from 1 by this
WARM_UP = 4  # steps that are not timed: memory is taken, the pipeline fills


def made_store(path: Path, chars: int = 50, per_char: int = 40) -> Store:
    """Random bars: what is on the images costs nothing more or less."""
    rng = np.random.default_rng(1)
    alphabet = Alphabet(tuple(chr(0x4E00 + i) for i in range(chars)))
    with StoreWriter(path, Canvas(), alphabet, {}) as writer:
        for char in alphabet.chars:
            images = np.kron(rng.integers(0, 256, (per_char, 16, 16)), np.ones((4, 4)))
            writer.append(images.astype(np.uint8), [Sample(char, char, "real")] * per_char)
    return Store.open(path)


def fresh(setup: Setup, config: ClassifierConfig) -> tuple[ClassifierModule, MixData]:
    data = MixData(
        setup.stores,
        setup.mix,
        setup.augment,
        seed=1,
        steps_per_epoch=config.steps,
        threads=config.threads,
        ease=config.ease,
    )
    return ClassifierModule(config, setup.mix.classes, setup.known, setup.bending, 1), data


class Clock(pl.Callback):
    """When the timed steps begin and end."""

    def __init__(self, first: int, last: int) -> None:
        self.at = {first: 0.0, last: 0.0}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step in self.at:
            self.at[trainer.global_step] = time.perf_counter()

    @property
    def seconds(self) -> float:
        begin, end = self.at.values()
        return end - begin


def lightning(
    setup: Setup, config: ClassifierConfig, out: Path, profiler: Profiler | None = None
) -> tuple[float, dict[str, torch.Tensor]]:
    module, data = fresh(setup, config)
    clock = Clock(WARM_UP, config.steps)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=config.steps,
        max_epochs=-1,
        precision=config.precision,
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        callbacks=[GradientCheck(), Metrics(out / "metrics.jsonl"), clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=profiler,
        log_every_n_steps=25,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return clock.seconds, module.network.state_dict()


def bare(setup: Setup, config: ClassifierConfig) -> tuple[float, dict[str, torch.Tensor]]:
    """What the step consists of, and nothing else."""
    from classifier.loaders import TrainLoader

    module, _ = fresh(setup, config)
    rate = optimiser(module.network, config, module.one_vs_rest.parameters())
    (plan,) = schedule(rate, config)
    loader = TrainLoader(
        setup.stores,
        setup.mix,
        setup.augment,
        seed=1,
        threads=config.threads,
        ease=config.ease,
    )
    module.network.train()
    low = torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16-mixed")
    begin = 0.0
    for step, batch in enumerate(loader):
        torch.manual_seed(int(np.random.SeedSequence([1, step]).generate_state(1)[0]))
        real, eased = batch["source"] == REAL, config.ease(step)
        share = torch.where(real, eased, eased * config.synthetic_bending).view(-1, 1, 1, 1)
        images = setup.bending.apply(batch["images"], 1, step, share=share)
        order = torch.argsort(~real, stable=True)
        rate.zero_grad()
        with low, module.parts.of(int(real.sum())):
            logits = module.network(images[order].contiguous(memory_format=torch.channels_last))
            back, target = torch.argsort(order), batch["target"]
            smoothing = module.smoothing[batch["source"]]
            losses = smoothed_loss(logits.float()[back], target, setup.known, smoothing)
            if (apart := module.one_vs_rest()) is not None:
                losses = losses + config.one_vs_rest * one_vs_rest_loss(apart[back], target)
            loss = losses.mean()
        loss.backward()
        trained = [*module.network.parameters(), *module.one_vs_rest.parameters()]
        torch.nn.utils.clip_grad_norm_(trained, config.clip_norm)
        rate.step()
        plan["scheduler"].step()
        module.average.update_parameters(module.network)
        if step + 1 == WARM_UP:
            begin = time.perf_counter()
    return time.perf_counter() - begin, module.network.state_dict()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    import logging

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    steps = args.steps + WARM_UP
    config = replace(
        PRESETS["small"], steps=steps, steps_per_epoch=steps, batch_size=args.batch_size, threads=1
    )
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        setup = prepare(made_store(top / "real"), [], config, 1, None)
        first: list[float] = []
        again: list[float] = []
        ours: list[float] = []
        for number in range(args.rounds):
            plain = partial(bare, setup, config)
            turns = [
                (first, plain),
                (ours, partial(lightning, setup, config, top / f"run{number}")),
                (again, plain),
            ]
            weights = []
            # the order alternates, so that a machine that slows down favours none
            for into, run in turns if number % 2 == 0 else reversed(turns):
                seconds, trained = run()
                into.append(seconds)
                weights.append(trained)
            wanted, got, _ = weights
            assert all(torch.equal(got[k], v) for k, v in wanted.items()), "not the same training"
    images = args.steps * args.batch_size
    same = [b / a for a, b in zip(first, again, strict=True)]
    ratio = statistics.median(2 * o / (a + b) for o, a, b in zip(ours, first, again, strict=True))
    print(
        f"machine     {platform.machine()}, {len(os.sched_getaffinity(0))} cores, torch "
        f"{torch.__version__}, Lightning {pl.__version__}, {args.rounds} rounds of {args.steps} "
        f"steps of {args.batch_size}, {config.model}, {config.precision}"
    )
    apart = statistics.median(same)
    print(f"bare/bare   {apart:.3f} ({min(same):.3f} to {max(same):.3f})")
    print(f"bare        {images / statistics.median(first + again):.0f} images/s")
    print(f"Lightning   {images / statistics.median(ours):.0f} images/s")
    print(f"ratio       {ratio:.3f}, limit {LIMIT}: {'holds' if ratio <= LIMIT else 'BROKEN'}")
    if no_claim(args.rounds):
        return 2
    if abs(apart - 1) > SAME:
        print("A/A failed: the machine is too busy for this to mean anything")
        return 2
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
