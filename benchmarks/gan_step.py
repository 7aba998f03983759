"""A training step of the GAN, against the same networks in plain eager float32.

Ours: the machine's fast precision, channels last, penalties every few steps, compiled with
--compile. The peer: float32, default memory layout, penalties at every step, eager, all else equal,
through the same loop. Rounds alternate; ours runs twice a round, and the two must agree (A/A)
within 5 %. Every round also times a product of large square matrices in our precision: the peak
that the share is of. Limit: ours at least 1.5 times as fast, else the exit code is 1. After fewer
than 5 rounds, and where A/A fails, it is 2: then nothing was shown.

    python benchmarks/gan_step.py [--rounds 5] [--preset small] [--generator bend] [--compile]
                                  [--batch-size N] [--cycles N] [--threads N]
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytorch_lightning as pl
import torch
from timing import no_claim
from torch.utils.flop_counter import FlopCounterMode

from gan.config import PRESETS, GanConfig
from gan.data import PairLoader
from gan.fit import compile_networks
from gan.generators import GENERATORS
from gan.glyphs import Glyphs
from gan.lit import GanModule
from gan.networks import Recogniser
from gan.train import device, preset

LIMIT, SAME = 1.5, 0.05
CHARS, PER_CHAR, CLASSES = 100, 20, 1300  # classes: the known and the other characters
WARM_UP = 1  # a step that is not timed: memory is taken
PRODUCTS = 8  # of matrices, timed together


def glyphs() -> Glyphs:
    """Random bars: what is on the images costs nothing more or less."""
    rng = np.random.default_rng(1)
    bars = np.kron(rng.random((CHARS * PER_CHAR, 16, 16)) > 0.8, np.ones((4, 4)))
    of = np.repeat(np.arange(CHARS), PER_CHAR)
    return Glyphs((bars * 255).astype(np.uint8), of, tuple(chr(0x4E00 + i) for i in range(CHARS)))


def now() -> float:
    """Seconds, after all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Meter(pl.Callback):
    """What `read` rises by from the end of the warm-up to the end of the last step."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if module.steps_done == WARM_UP:
            self.begin = self.read()
        elif module.steps_done == module.config.steps:
            self.risen = self.read() - self.begin


@dataclass(frozen=True, eq=False)
class Contender:
    """Networks, trained over and over: a compiler compiles them once."""

    config: GanConfig
    module: GanModule

    @classmethod
    def of(cls, config: GanConfig, plain: bool = False, compiled: bool = False) -> Contender:
        torch.manual_seed(1)
        module = GanModule(config, 64, CHARS, Recogniser(CLASSES), seed=1)
        if plain:
            module.lay_out(torch.contiguous_format)
        if compiled:
            compile_networks(module)
        return cls(config, module)

    def measured(self, data: Glyphs, read: Callable[[], float]) -> float:
        """Of the timed steps: whole cycles of penalties, so that each pays its share."""
        config, meter = self.config, Meter(read)
        self.module.steps_done = 0
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            precision=config.precision,
            max_epochs=1,
            callbacks=[meter],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = PairLoader(
            *(data.images, data.char, data, data, config.batch_size, config.steps, 1),
            style_images=config.style == "image",
        )
        trainer.fit(self.module, loader)
        return meter.risen


def operations(config: GanConfig, data: Glyphs) -> float:
    """Floating point operations of the timed steps: convolutions and products of matrices, forward
    and backward; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        return Contender.of(config).measured(data, counter.get_total_flops)


def peak(precision: str) -> float:
    """Operations a second of a large product of matrices in this precision."""
    side = 8192 if torch.cuda.is_available() else 1024
    kind = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    a, b = (torch.randn(side, side, device=device()).to(kind) for _ in range(2))
    a @ b
    started = now()
    for _ in range(PRODUCTS):
        a @ b
    return PRODUCTS * 2 * side**3 / (now() - started)


def spread(values: Sequence[float], digits: int = 2) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="at least 5 for a claim")
    parser.add_argument("--preset", choices=PRESETS, help="default: this machine's")
    parser.add_argument("--generator", choices=GENERATORS, default="bend")
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    parser.add_argument("--batch-size", type=int, help="default: the preset's")
    parser.add_argument("--cycles", type=int, help="of penalties, timed; default: 1, on a GPU 10")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")  # Lightning's, about loaders and loggers
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    name, config = preset(args.preset)
    batch = args.batch_size or config.batch_size
    cycles = args.cycles or (10 if torch.cuda.is_available() else 1)
    timed = cycles * config.penalty_every
    config = replace(
        config, generator=args.generator, batch_size=batch, steps=WARM_UP + timed, style="noise"
    )
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(
        f"python {platform.python_version()}, torch {torch.__version__}, "
        f"pytorch-lightning {pl.__version__}, {platform.machine()}, {where}, "
        f"{args.threads} threads; preset {name}, {args.generator}, ours {config.precision}"
        f"{', compiled' if args.compile else ''}, {timed} steps of {batch} a round"
    )
    data = glyphs()
    flop = operations(replace(config, steps=WARM_UP + config.penalty_every), data) * cycles
    ours = Contender.of(config, compiled=args.compile)
    peer = Contender.of(replace(config, precision="32-true", penalty_every=1), plain=True)
    for contender in (ours, peer):  # the first time pays for loading and compiling
        contender.measured(data, now)
    first: list[float] = []
    again: list[float] = []
    plain: list[float] = []
    peaks: list[float] = []
    for number in range(args.rounds):
        # the order alternates too, so that a machine that slows down favours none
        runs = [(first, ours), (plain, peer), (again, ours)]
        for into, which in runs if number % 2 == 0 else reversed(runs):
            into.append(which.measured(data, now))
        peaks.append(peak(config.precision))
        print(
            f"round {number + 1}: ours {first[-1]:.2f} s and {again[-1]:.2f} s, "
            f"plain {plain[-1]:.2f} s",
            flush=True,
        )
    images = timed * batch
    same = [a / b for a, b in zip(first, again, strict=True)]
    apart = statistics.median(same)
    ratios = [2 * p / (a + b) for a, b, p in zip(first, again, plain, strict=True)]
    shares = [2 * flop / (a + b) / p for a, b, p in zip(first, again, peaks, strict=True)]
    print(f"A/A: {spread(same, 3)}, median must be within {1 - SAME:.2f} to {1 + SAME:.2f}")
    print(f"ours: {spread([images / s for s in first + again])} images/s")
    print(f"plain: {spread([images / s for s in plain])} images/s")
    print(f"operations: {flop / images / 1e9:.3f} GFLOP an image, penalties included")
    print(f"peak of a product of matrices: {spread([p / 1e12 for p in peaks], 3)} TFLOP/s")
    print(f"share of that peak: {spread(shares, 3)}")
    print(f"ratio: {spread(ratios)}, limit {LIMIT}")
    if no_claim(args.rounds):
        return 2
    if abs(apart - 1) > SAME:
        print("A/A failed: the machine is too busy for this to mean anything")
        return 2
    return 0 if statistics.median(ratios) >= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
