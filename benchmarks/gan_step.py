"""A training step of the GAN, against the same networks in plain eager float32.

Ours: the machine's fast precision, channels last, penalties every few steps. The peer: float32,
default memory layout, penalties at every step, all else equal, through the same loop. Rounds
alternate; ours runs twice a round, and the two must agree (A/A) within 5 %.
Limit: ours at least 1.5 times as fast.

    python benchmarks/gan_step.py [--rounds 5] [--generator bend] [--batch-size 64] [--threads N]
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import time
import warnings
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
import torch

from gan.config import GanConfig
from gan.data import PairLoader
from gan.generators import GENERATORS
from gan.glyphs import Glyphs
from gan.lit import GanModule
from gan.networks import Recogniser
from gan.train import device, preset

LIMIT, SAME = 1.5, 0.05
CHARS, PER_CHAR, CLASSES = 100, 20, 1300  # classes: the known and the other characters
WARM_UP = 1  # a step that is not timed: memory is taken


def glyphs() -> Glyphs:
    """Random bars: what is on the images costs nothing more or less."""
    rng = np.random.default_rng(1)
    bars = np.kron(rng.random((CHARS * PER_CHAR, 16, 16)) > 0.8, np.ones((4, 4)))
    of = np.repeat(np.arange(CHARS), PER_CHAR)
    return Glyphs((bars * 255).astype(np.uint8), of, tuple(chr(0x4E00 + i) for i in range(CHARS)))


class Clock(pl.Callback):
    """Seconds from the end of the warm-up to the end of the last step."""

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if module.steps_done in (WARM_UP, module.config.steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = time.perf_counter()
            if module.steps_done == WARM_UP:
                self.begin = now
            else:
                self.seconds = now - self.begin


def seconds(config: GanConfig, data: Glyphs, plain: bool) -> float:
    """Of the timed steps: a whole round of penalties, so that each configuration pays its share."""
    torch.manual_seed(1)
    module = GanModule(config, 64, CHARS, Recogniser(CLASSES), seed=1)
    if plain:
        module.to(memory_format=torch.contiguous_format)
    clock = Clock()
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=config.precision,
        max_epochs=1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = PairLoader(data.images, data.char, data, data, config.batch_size, config.steps, 1)
    trainer.fit(module, loader)
    return clock.seconds


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a claim")
    parser.add_argument("--generator", choices=GENERATORS, default="bend")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")  # Lightning's, about loaders and loggers
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    _, config = preset("small")
    ours = replace(config, generator=args.generator, batch_size=args.batch_size)
    ours = replace(ours, steps=WARM_UP + ours.penalty_every)
    peer = replace(ours, precision="32-true", penalty_every=1)
    timed = ours.steps - WARM_UP
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, "
        f"pytorch-lightning {pl.__version__}, {platform.machine()}, {device()}, "
        f"{args.threads} threads; {args.generator}, ours {ours.precision}, "
        f"{timed} steps of {ours.batch_size} a round"
    )
    data = glyphs()
    seconds(replace(ours, steps=WARM_UP + 1), data, plain=False)  # the first one pays for loading
    first, again, plain = [], [], []
    for number in range(args.rounds):
        # the order alternates too, so that a machine that slows down favours none
        runs = [(first, ours, False), (plain, peer, True), (again, ours, False)]
        for into, which, layout in runs if number % 2 == 0 else reversed(runs):
            into.append(seconds(which, data, layout))
        print(
            f"round {number + 1}: ours {first[-1]:.2f} s and {again[-1]:.2f} s, "
            f"plain {plain[-1]:.2f} s",
            flush=True,
        )
    images = timed * ours.batch_size
    apart = statistics.median(a / b for a, b in zip(first, again, strict=True))
    ratios = [2 * p / (a + b) for a, b, p in zip(first, again, plain, strict=True)]
    print(f"A/A: {apart:.3f}, must be within {1 - SAME:.2f} to {1 + SAME:.2f}")
    print(f"ours: {spread([images / s for s in first + again])} images/s")
    print(f"plain: {spread([images / s for s in plain])} images/s")
    print(f"ratio: {spread(ratios)}, limit {LIMIT}")
    if abs(apart - 1) > SAME:
        print("A/A failed: the machine is too busy for this to mean anything")
        return 1
    return 0 if statistics.median(ratios) >= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
