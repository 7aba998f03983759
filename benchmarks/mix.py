"""How fast training batches come, against what others would use, in one run.

    python benchmarks/mix.py                # simulated stores of 64x64
    python benchmarks/mix.py --rounds 9

Every contender gives the same: a batch of float32 [B, 1, 64, 64] in -1..1 as a torch tensor, but
`numpy.take`, which fills a ready uint8 buffer. Ours is what Lightning's trainer is given, with the
mix that preset "small" trains on; the drawing of the mix's blocks is timed with it. "As in 2021"
are the loaders of a 2021 contest entry. All run in turn, in an order drawn anew each round; a ratio
is the median over the rounds, with the lowest and highest. The limits are those that the project
set itself; where one is missed the exit code is 1. A/A is our loader against itself: where it is
not within 5 %, the exit code is 2: the machine is too busy for the ratios to mean anything.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from readers import SIZE_PX
from rivals import OF_2021, TRANSFORMS, dali_by_image, loader, of_2021, take, take_float
from timing import Contender, Rates, interleaved, machine, no_claim

from synth.command import parser, run
from synth.errors import InputError

CHARS, OTHERS = "永國銀三火水木金土日", "犬人大天心手月山川"
PACKAGES = (
    *("torch", "torchvision", "nvidia-dali-cuda130", "albumentations", "opencv-python-headless"),
    *("numpy", "pillow", "pytorch-lightning", "h5py", "lmdb"),
)


@dataclass(frozen=True)
class Figure:
    """One of the numbers that the project set itself a limit for."""

    name: str
    values: tuple[float, ...]  # one a round
    limit: str
    least: float = 0.0
    most: float = float("inf")
    is_same_again: bool = False  # A/A: no claim, but what the claims are worth

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        return not self.least <= self.median <= self.most


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python benchmarks/mix.py --rounds 5")
    p.add_argument("--rounds", type=int, default=5, help="times that all run in turn")
    p.add_argument("--batches", type=int, default=120, help="of a fast contender in a round")
    p.add_argument("--batch-size", type=int, default=256, help="images")
    p.add_argument("--threads", type=int, default=2, help="of DALI, and workers of the DataLoader")
    p.add_argument("--images", type=int, default=10_000, help="of each of the three sources")
    p.add_argument("--steps", type=int, default=8, help="of training in a round, timed")
    return p


def main(args: Namespace) -> None:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import cv2
    import pytorch_lightning  # noqa: F401  before its logger is told to be quiet
    import torch

    cores = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(machine(PACKAGES))
    with tempfile.TemporaryDirectory() as folder:
        stores = [make_store(Path(folder), s, args.images) for s in ("real", "font", "gan")]
        setup = prepared(args, stores)
        block = setup.mix._block_of(0)[1]
        if args.batches < block:
            raise InputError(
                f"--batches {args.batches}: the mix is drawn {block} batches at a time, so fewer "
                "would leave its drawing out; give more, or fewer --images"
            )
        print(
            f"batch {args.batch_size}, {SIZE_PX}x{SIZE_PX}, {args.threads} threads or workers, "
            f"{args.rounds} rounds of {args.batches} batches, the mix drawn for {block} at a time"
        )
        rates = interleaved(_contenders(args, stores, setup, Path(folder)), args.rounds)
        print(f"\n{'':<32}{'images/s':>12}{'spread':>9}")
        for one in rates.values():
            print(f"{one.name:<32}{one.median:>12,.0f}{one.spread:>9.0%}", flush=True)
        torch.set_num_threads(cores)
        figures = [*compared(rates), waiting(args, setup, Path(folder))]
    judge(figures, args.rounds)


def judge(figures: list[Figure], rounds: int) -> None:
    """Prints them. Raises SystemExit where one is missed."""
    print(f"\n{'ours against':<40}{'ratio':>8}{'lowest':>9}{'highest':>9}  {'limit':<14}")
    for f in figures:
        print(
            f"{f.name:<40}{f.median:>8.3g}{min(f.values):>9.3g}{max(f.values):>9.3g}  "
            f"{f.limit:<14}{'MISSED' if f.missed else ''}"
        )
    if no_claim(rounds):
        raise SystemExit(2)
    if any(f.missed for f in figures if f.is_same_again):
        print("A/A failed: the machine is too busy for the ratios to mean anything")
        raise SystemExit(2)
    if any(f.missed for f in figures):
        raise SystemExit(1)


def make_store(folder: Path, source: str, count: int) -> Any:
    """Blobs of ink: what an image shows does not matter here. A quarter of the synthetic ones are
    other characters."""
    import numpy as np
    from scipy import ndimage

    from synth.alphabet import OTHER, Alphabet
    from synth.canvas import Canvas
    from synth.store import SOURCES, Sample, Store, StoreWriter

    rng = np.random.default_rng(SOURCES.index(source))
    smooth = ndimage.gaussian_filter(rng.normal(size=(64, SIZE_PX, SIZE_PX)), (0, 2, 2))
    some = np.clip(smooth * 2500, 0, 255).astype(np.uint8)

    def sample(i: int) -> Sample:
        if i % 4 == 0 and source != "real":
            return Sample(OTHER, OTHERS[i // 4 % len(OTHERS)], source, kind="common")
        return Sample(CHARS[i % len(CHARS)], CHARS[i % len(CHARS)], source)

    with StoreWriter(folder / source, Canvas(SIZE_PX), Alphabet.of(CHARS), {}) as writer:
        for first in range(0, count, 1000):
            rows = range(first, min(first + 1000, count))
            writer.append(some[rng.integers(0, len(some), len(rows))], [sample(i) for i in rows])
    return Store.open(folder / source)


def _contenders(
    args: Namespace, stores: list[Any], setup: Any, folder: Path
) -> dict[str, Contender]:
    import numpy as np

    from classifier.pipeline import PREFETCH, Augment

    n, size, workers = args.batches, args.batch_size, args.threads
    some, few = max(2, n // 8), max(2, n // 30)  # those that take one image after the other
    augment, none, ahead = setup.augment, Augment.none(), PREFETCH + 1
    images = np.concatenate([store.images for store in stores])
    alone = prepared(args, stores[:1])
    found = {
        "ours, mix": Contender(ours(args, setup, none), n, ahead),
        "ours, mix (again)": Contender(ours(args, setup, none), n, ahead),
        "ours, one source": Contender(ours(args, alone, none), n, ahead),
        "bare DALI graph": Contender(bare_graph(args, images, none), n, ahead),
        "DALI, image by image": Contender(dali_by_image(images, size, args.threads), n, ahead),
        "numpy.take": Contender(take(images, size), n),
        "numpy.take, to_float": Contender(take_float(images, size), n),
        "ours, mix, augmented": Contender(ours(args, setup, augment), n, ahead),
        "bare DALI graph, augmented": Contender(bare_graph(args, images, augment), n, ahead),
        **of_2021(stores[0], folder / "2021", size, args.threads, few),
    }
    for name, make in TRANSFORMS.items():
        count = some if name.startswith("DataLoader") else few
        for w in sorted({0, workers}):
            # torch's prefetch_factor is 2
            batches = loader(images, size, make(augment), w)
            found[f"{name}, {w} workers"] = Contender(batches, count, 2 * w + 1 if w else 0)
    return found


def prepared(args: Namespace, stores: list[Any]) -> Any:
    """What a training with preset "small" would draw its batches from."""
    from classifier.setup import prepare
    from classifier.train import preset

    small = preset("small")[1]
    needed = (args.rounds + 2) * (args.batches + 10)
    config = replace(small, batch_size=args.batch_size, steps=max(small.steps, needed))
    return prepare(stores[0], stores[1:], config, 1, None)


def ours(args: Namespace, setup: Any, augment: Any) -> Iterator[Any]:
    """The loader that a trainer is given, in what the trainer puts around it."""
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.combined_loader import CombinedLoader

    from classifier.data import MixData

    data = MixData(
        setup.stores,
        setup.mix.with_weights(None),  # one of its own: a mix remembers the block it drew last
        augment,
        seed=1,
        steps_per_epoch=setup.mix.total_steps,
        threads=args.threads,
    )
    data.trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    for batch, *_ in CombinedLoader(data.train_dataloader(), "max_size_cycle"):
        yield batch["images"]


def bare_graph(args: Namespace, images: Any, augment: Any) -> Iterator[Any]:
    """The same graph on one batch that is always the same: no mix, no gathering, no drawing."""
    import numpy as np

    from classifier.pipeline import build, draw

    images = np.ascontiguousarray(images[: args.batch_size])
    fed = {
        "images": images,
        **draw(augment, 1, 0, len(images), SIZE_PX),
    }
    pipeline = build(lambda _: fed, batch_size=len(images), threads=args.threads, augment=augment)
    while True:
        pipeline.run()
        yield images  # for their number: to DALI a batch may be one sample


def compared(rates: dict[str, Rates]) -> list[Figure]:
    def best(start: str) -> Rates:
        return max((r for n, r in rates.items() if n.startswith(start)), key=lambda r: r.median)

    def at_least(name: str, mine: Rates, other: Rates, least: float) -> Figure:
        return Figure(name, mine.ratios(other), f"at least {least:.3g}", least)

    plain, bent = rates["ours, mix"], rates["ours, mix, augmented"]
    again = rates["ours, mix (again)"].ratios(plain)
    return [
        Figure("A/A", again, "0.95 to 1.05", 0.95, 1.05, is_same_again=True),
        at_least("DataLoader + the codec alone", plain, best("DataLoader, codec"), 5),
        at_least("DataLoader + v2 normalisation", plain, best("DataLoader, ToTensor"), 5),
        at_least("numpy.take into a ready buffer", plain, rates["numpy.take"], 0.9),
        at_least("numpy.take and to_float", plain, rates["numpy.take, to_float"], 0.9),
        at_least("bare DALI graph", plain, rates["bare DALI graph"], 0.85),
        at_least("bare DALI graph, image by image", plain, rates["DALI, image by image"], 0.85),
        # at most 10 % more time
        at_least("one source", plain, rates["ours, one source"], 1 / 1.1),
        *(at_least(f"{name}, as in 2021", plain, rates[name], 50) for name in OF_2021),
        at_least("DataLoader + torchvision v2, augmented", bent, best("torchvision v2"), 2),
        at_least("DataLoader + albumentations, augmented", bent, best("albumentations"), 2),
        at_least("bare DALI graph, augmented", bent, rates["bare DALI graph, augmented"], 0.85),
    ]


def waiting(args: Namespace, setup: Any, folder: Path) -> Figure:
    """The share of a training step that a trainer of Lightning's waits for its batch."""
    from pytorch_lightning.profilers import SimpleProfiler
    from train_loop import WARM_UP, lightning

    from classifier.train import preset

    steps = args.steps + WARM_UP
    config = replace(
        preset("small")[1],
        batch_size=args.batch_size,
        steps=steps,
        steps_per_epoch=steps,
        threads=args.threads,
    )
    shares = []
    for number in range(args.rounds):
        profiler = SimpleProfiler()
        lightning(setup, config, folder / f"run{number}", profiler)
        times = profiler.recorded_durations
        waited = sum(times["[_TrainingEpochLoop].train_dataloader_next"][WARM_UP:])
        shares.append(waited / (waited + sum(times["run_training_batch"][WARM_UP:])))
    return Figure("waiting for data, share of a step", tuple(shares), "less than 0.05", most=0.05)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
