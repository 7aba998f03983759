"""What more images cost: seconds and memory of rendering, importing, mixing and predicting.

    python benchmarks/scale.py                                  # 2,000 and 10,000 images
    python benchmarks/scale.py --sizes 10000 100000 1000000     # hours, and 10 GB of disk

Each stage of each size runs in a process of its own, so that its peak of memory is its own; one
process does the work, libraries have their threads. The clock runs from the first image to the last
and leaves out what is the same for any number: imports, the check of the fonts, loading the model.

render    the plan, and the pictures into a store
import    a .gnt file of drawings, no two alike, into a store; the file is made before
mix       one pass over the rendered store: the mix, and its batches out of DALI as torch tensors
predict   the rendered store through a compact network with weights by chance, into a .csv
train     STEPS steps of a compact network from the rendered store beside a small real one, to the
          model: what there is to read grows with the store, what is learned from does not

Memory is `peak`, the most that the process ever had in memory, and `own`, what of it is no copy of
a file on disk: the system takes file pages back when it needs them. `before` is `own` when the
clock starts. A slope of 1 in log-log is a cost in proportion to the number; 0 is a bound. The exit
code is 1 where a stage has more memory of its own than --bound-mb.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from timing import machine

CHARS = "永國銀金龍風我的三心書車壹貳參肆伍陸捌玖拾佰仟萬億元角分整年月日號碼章"
DRAWING_PX, BATCH, CHUNK = 48, 256, 1000
REAL_IMAGES, STEPS = 2000, 100  # of the training
LOOK_EVERY_S = 0.02
PACKAGES = ("numpy", "torch", "nvidia-dali-cuda130", "pillow", "pyarrow")
Work = Callable[[], int]  # does it and says how many images it was


@dataclass(frozen=True)
class Cost:
    """What one stage took for one number of images."""

    stage: str
    images: int  # that it went through: of the mix whole batches only
    seconds: float
    before_mb: float
    own_mb: float
    peak_mb: float


# ---- the stages: what is prepared, and what is measured ----


def render(images: int, folder: Path) -> Work:
    from synth.alphabet import Alphabet
    from synth.plan import make_plan
    from synth.quota import plan_quota
    from synth.studio import Studio

    alphabet = Alphabet.of(CHARS)
    # chooses the other characters and checks the fonts; its own plan is small
    studio = Studio.prepare(alphabet, None, per_class=1, other_images=100, other_chars=100)
    known = images // 2 // len(alphabet)
    quota = plan_quota(alphabet, None, known, None, images - known * len(alphabet))

    def work() -> int:
        plan = make_plan(
            alphabet,
            studio.coverages,
            studio.others,
            quota,
            studio.style,
            studio.canvas,
            studio.seed,
        )
        whole = replace(studio, quota=quota, plan=plan)
        return len(whole.render_to(folder / "font", 1, {"command": "benchmarks/scale.py"}))

    return work


def import_(images: int, folder: Path) -> Work:
    from synth.canvas import Canvas
    from synth.corpus import import_images

    write_drawings(folder / "drawings.gnt", images)
    return lambda: len(
        import_images(folder / "drawings.gnt", folder / "real", None, Canvas(), workers=1)
    )


def mix(images: int, folder: Path) -> Work:
    from classifier.loaders import TrainLoader
    from classifier.mixing import Mix, MixSettings, Pool, training_classes
    from classifier.pipeline import Augment
    from synth.store import Store

    def go_through(steps: int) -> int:
        store = Store.open(folder / "font")
        names, targets = training_classes(store.alphabet, [store])
        mixed = Mix.of(
            [Pool.of(store, targets[0])],
            (*store.alphabet.classes, *names),
            MixSettings(),
            seed=1,
            batch_size=BATCH,
            total_steps=steps,
        )
        loader = TrainLoader([store], mixed, Augment(), seed=1, threads=1)
        return sum(len(batch["images"]) for batch in loader)

    go_through(1)  # DALI and what is imported late
    gc.collect()  # a DALI graph and what feeds it refer to each other: the images would stay
    return lambda: go_through(images // BATCH)


def predict(images: int, folder: Path) -> Work:
    import torch
    from PIL import Image

    from classifier.export import save_model
    from classifier.networks import build_network
    from classifier.predict import predict_files
    from synth.alphabet import Alphabet
    from synth.canvas import Canvas

    alphabet, model = Alphabet.of(CHARS), folder / "model"
    model.mkdir()
    torch.manual_seed(1)
    network = build_network("compact", len(alphabet) + 1)
    save_model(model, network, "compact", alphabet, (), Canvas(), 0.5, {})
    Image.new("L", (64, 64)).save(folder / "one.png")
    predict_files(model, [folder / "one.png"], folder / "one.csv", workers=1)  # what is done once
    return lambda: predict_files(model, [folder / "font"], folder / "found.csv", workers=1)[0]


def train(images: int, folder: Path) -> Work:
    from classifier.config import PRESETS
    from classifier.train import train as train_classifier
    from synth.alphabet import Alphabet
    from synth.canvas import Canvas
    from synth.corpus import import_images
    from synth.store import Store

    write_drawings(folder / "few.gnt", REAL_IMAGES)
    import_images(folder / "few.gnt", folder / "few", Alphabet.of(CHARS), Canvas(), workers=1)
    config = replace(PRESETS["demo"], steps=STEPS, steps_per_epoch=STEPS, threads=1)

    def work() -> int:
        real, synth = Store.open(folder / "few"), Store.open(folder / "font")
        train_classifier(real, [synth], folder / "run", config, 1, {})
        return len(synth)

    return work


STAGES: dict[str, Callable[[int, Path], Work]] = {
    "render": render,
    "import": import_,
    "mix": mix,
    "predict": predict,
    "train": train,
}
DONE_WITH = {"import": ("drawings.gnt", "real")}  # what no later stage reads


def write_drawings(path: Path, images: int) -> None:
    """A CASIA .gnt file: blots, each another one, as an import leaves near copies out."""
    from scipy import ndimage

    rng = np.random.default_rng(1)
    size = 10 + DRAWING_PX**2
    with path.open("wb") as file:
        for first in range(0, images, CHUNK):
            count = min(CHUNK, images - first)
            noise = rng.standard_normal((count, DRAWING_PX, DRAWING_PX), np.float32)
            blots = ndimage.gaussian_filter(noise, (0, 3, 3)) > 0.06
            blots[:, [0, -1]] = blots[:, :, [0, -1]] = False
            pixels = np.where(blots, np.uint8(60), np.uint8(255))
            for number, image in enumerate(pixels, first):
                code = CHARS[number % len(CHARS)].encode("gbk")
                file.write(struct.pack("<I2sHH", size, code, DRAWING_PX, DRAWING_PX))
                file.write(image.tobytes())


# ---- measuring, in the process of the stage ----


def memory_mb(field: str) -> float:
    """A line of the kernel's account of this process. Not getrusage: its peak begins with that of
    the process that started this one."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise KeyError(field)


class Watch(threading.Thread):
    """Looks at the process's own memory now and then and keeps the most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most_mb = memory_mb("RssAnon")
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.most_mb = max(self.most_mb, memory_mb("RssAnon"))

    def end(self) -> float:
        self._over.set()
        self.join()
        return max(self.most_mb, memory_mb("RssAnon"))


def measure(stage: str, images: int, folder: Path) -> Cost:
    work = STAGES[stage](images, folder)
    watch = Watch()
    before = watch.most_mb
    watch.start()
    started = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - started
    own = watch.end()
    if not images - BATCH < done <= images:
        raise RuntimeError(f"{stage}: {done} images, wanted {images}")
    return Cost(stage, done, seconds, before, own, memory_mb("VmHWM"))


# ---- all of them ----


def in_own_process(stage: str, images: int, folder: Path) -> Cost:
    line = [sys.executable, __file__, "--one", stage, "--sizes", str(images), "--work", str(folder)]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def slope(costs: Sequence[Cost], name: str) -> tuple[float, float]:
    """Of the line through the points in log-log, and how far the worst point lies off it, as a
    factor minus 1."""
    x = np.log([c.images for c in costs])
    y = np.log([getattr(c, name) for c in costs])
    line = np.polyfit(x, y, 1)
    off = np.abs(y - np.polyval(line, x)).max()
    return float(line[0]), float(np.expm1(off))


def write_table(costs: Sequence[Cost], path: Path) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [f.name for f in fields(Cost)])
        table.writeheader()
        table.writerows(asdict(c) for c in costs)


def draw(costs: Sequence[Cost], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axis, name, what in zip(
        axes, ("seconds", "own_mb"), ("seconds", "memory of its own, MB"), strict=True
    ):
        for stage in dict.fromkeys(c.stage for c in costs):
            mine = [c for c in costs if c.stage == stage]
            label = stage
            if len(mine) > 1:
                label += f", slope {slope(mine, name)[0]:.2f}"
            axis.loglog(
                [c.images for c in mine], [getattr(c, name) for c in mine], "o-", label=label
            )
        axis.set_xlabel("images")
        axis.set_ylabel(what)
        axis.grid(True, which="both", alpha=0.25)
        axis.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000], help="images")
    parser.add_argument("--out", type=Path, default=Path("runs/scale"), help="for .csv and .png")
    parser.add_argument("--work", type=Path, help="folder on a disk with room; default: TMPDIR")
    parser.add_argument(
        "--bound-mb", type=float, default=4096, help="most memory of its own that a stage may have"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--one", choices=STAGES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(asdict(measure(args.one, args.sizes[0], args.work))))
        return 0
    if min(args.sizes) < 1000:
        parser.error("--sizes: from 1000")
    args.out.mkdir(parents=True, exist_ok=True)
    print(machine(PACKAGES))
    print(f"{'stage':<9}{'images':>10}{'seconds':>10}{'images/s':>10}", end="")
    print(f"{'before, MB':>12}{'own, MB':>9}{'peak, MB':>10}", flush=True)
    costs: list[Cost] = []
    chosen = [s for s in STAGES if s in {"render", *args.stages}]  # the others read what it wrote
    for images in sorted(args.sizes):
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            for stage in chosen:
                cost = in_own_process(stage, images, Path(folder))
                costs.append(cost)
                write_table(costs, args.out / "scale.csv")  # each time: a long run may be stopped
                print(
                    f"{stage:<9}{cost.images:>10,}{cost.seconds:>10.1f}"
                    f"{cost.images / cost.seconds:>10,.0f}"
                    f"{cost.before_mb:>12,.0f}{cost.own_mb:>9,.0f}{cost.peak_mb:>10,.0f}",
                    flush=True,
                )
                for name in DONE_WITH.get(stage, ()):
                    place = Path(folder) / name
                    shutil.rmtree(place) if place.is_dir() else place.unlink()
    draw(costs, args.out / "scale.png")
    if len(args.sizes) > 1:
        print("slope in log-log (and the worst point off the line)")
        for stage in chosen:
            mine = [c for c in costs if c.stage == stage]
            seconds, memory = slope(mine, "seconds"), slope(mine, "own_mb")
            print(
                f"{stage:<9} seconds {seconds[0]:.2f} ({100 * seconds[1]:.0f} %), "
                f"own memory {memory[0]:.2f} ({100 * memory[1]:.0f} %)"
            )
    print(f"{args.out / 'scale.csv'}, {args.out / 'scale.png'}")
    over = [c for c in costs if c.own_mb > args.bound_mb]
    for c in over:
        print(f"{c.stage} of {c.images:,} images: {c.own_mb:,.0f} MB, over {args.bound_mb:,.0f}")
    return bool(over)


if __name__ == "__main__":
    raise SystemExit(main())
