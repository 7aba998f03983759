"""Ways to keep and read images, on your own folder: which gives the most images a second?

    python benchmarks/loaders.py --images IMAGES --out runs/loaders
    python benchmarks/loaders.py                          # on simulated images

Your files are copied as they are, for the loaders of raw files, which decode and scale them each
time; for the others they are brought onto the canvas once and written in every format, on disk and
in memory (tmpfs). Each loader then gives batches of uint8 [B, 64, 64], in a random order, from one
process (or DALI thread) and from many. "disk, cold" means that the system was asked to forget the
files before each turn (posix_fadvise; a disk's own cache does not obey). Loaders run in turn, in an
order drawn anew each round; the table gives the median of the rounds and the spread, (highest -
lowest) / median. DALI works ahead: what it has begun before the clock starts is taken first.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from readers import DALI_AHEAD, LOADERS, SIZE_PX, Take, dali_files
from timing import Contender, machine, timed

from synth.command import cores, parser, run
from synth.errors import InputError

PACKAGES = ("pillow", "opencv-python-headless", "h5py", "lmdb", "nvidia-dali-cuda130", "numpy")
TMPFS = Path("/dev/shm")


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python benchmarks/loaders.py --images IMAGES --out runs/loaders")
    p.add_argument(
        "--images",
        type=Path | None,
        help="labelled images in any layout that import_data.py reads (null: simulated ones)",
    )
    p.add_argument("--out", type=Path, default=Path("runs/loaders"), help="for table and plot")
    p.add_argument("--disk", type=Path, default=Path(), help="a folder on the disk to be tried")
    p.add_argument("--rounds", type=int, default=5, help="times that all run in turn")
    p.add_argument("--total", type=int, default=2000, help="images that a turn reads")
    p.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256], help="images")
    p.add_argument(
        "--threads", type=int, nargs="+", default=[1, cores()], help="processes, or DALI threads"
    )
    return p


def main(args: Namespace) -> None:
    if min(*args.batch_sizes, *args.threads, args.rounds, args.total) < 1:
        raise InputError("sizes, threads, rounds and total must be at least 1")
    if not os.access(TMPFS, os.W_OK):
        raise InputError(f"{TMPFS}: no tmpfs to write to here")
    print(machine(PACKAGES))
    with (
        tempfile.TemporaryDirectory(dir=args.disk) as disk,
        tempfile.TemporaryDirectory(dir=TMPFS) as memory,
    ):
        wanted = args.total + DALI_AHEAD * max(args.batch_sizes)
        count = _write(args.images, Path(disk), Path(memory), wanted)
        rows = _measure(args, {"disk, cold": Path(disk), "tmpfs": Path(memory)}, count)
    args.out.mkdir(parents=True, exist_ok=True)
    text = _table(rows)
    (args.out / "loaders.csv").write_text(text, encoding="utf-8")
    _plot(rows, args.out / "loaders.png")
    print(f"\n{args.out}/loaders.csv, {args.out}/loaders.png")


def _write(images: Path | None, disk: Path, memory: Path, simulated: int) -> int:
    """Every format on both; returns the number of images."""
    from synth.canvas import Canvas
    from synth.corpus import import_images
    from synth.export import FORMATS, export_store

    if images is None:
        images = disk / "simulated"
        _simulate(images, simulated)
    store = import_images(
        images, disk / "store", None, Canvas(SIZE_PX), val_share=0, workers=cores()
    )
    for form in ("hdf5", "lmdb", "tfrecord"):
        export_store(store, form, disk / f"{form}{FORMATS[form]}")
    if not _copy_raw(images, store.column("origin"), disk / "raw"):
        print(f"{images}: no folder of image files, so the raw files are {SIZE_PX} px PNG")
        export_store(store, "flat", disk / "raw")
    for made in ("store", "raw", "hdf5.h5", "lmdb.lmdb", "tfrecord.tfrecord"):
        source, target = disk / made, memory / made
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return len(store)


def _copy_raw(images: Path, names: Any, folder: Path) -> bool:
    """The files that the rows of the store came from, byte for byte, named in the rows' order."""
    sources = [images / name for name in names]
    if not all(path.is_file() for path in sources):
        return False
    folder.mkdir()
    for i, path in enumerate(sources):
        shutil.copyfile(path, folder / f"{i:08d}{path.suffix}")
    return True


def _simulate(folder: Path, count: int) -> None:
    """Strokes on paper, 96 px, as .png and .jpg."""
    import numpy as np
    from PIL import Image, ImageDraw

    for i in range(count):
        rng = np.random.default_rng(i)
        image = Image.new("L", (96, 96), 235)
        pen = ImageDraw.Draw(image)
        for _ in range(6):
            pen.line(rng.uniform(10, 86, 4).tolist(), fill=int(rng.integers(0, 80)), width=4)
        top = folder / "abcdefghij"[i % 10]
        top.mkdir(parents=True, exist_ok=True)
        image.save(top / f"{i}.{'png' if i % 2 else 'jpg'}")


_take: Take | None = None  # of a worker process


def _open(make: Callable[[Path, ExitStack], Take], folder: Path) -> None:
    global _take
    _take = make(folder, ExitStack())  # until the process ends


def _work(at: Any) -> Any:
    assert _take is not None
    return _take(at)


@contextmanager
def opened(
    name: str,
    folder: Path,
    threads: int,
    warm: list[Any],  # for a loader that makes batches ahead: those, not timed
    orders: list[Any],
) -> Iterator[Contender]:
    """Batches that nobody has asked for yet. Opened anew: a file that is still mapped or cached by
    its library cannot be forgotten by the system."""
    count = len(orders)
    if name not in LOADERS:
        order = [int(i) for at in (*warm, *orders) for i in at]
        steps = dali_files(folder, order, len(orders[0]), threads)
        yield Contender(steps, count, len(warm))
    elif threads == 1:
        with ExitStack() as open_until:
            yield Contender(map(LOADERS[name](folder, open_until), orders), count)
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(threads, _open, (LOADERS[name], folder)) as pool:
            pool.map(time.sleep, [0.05] * threads, chunksize=1)  # all are there
            yield Contender(_from(pool, orders), count)


def _from(pool: Any, orders: list[Any]) -> Iterator[Any]:
    yield from pool.imap(_work, orders)  # begins with the first batch that is asked for


# ---- measurement ----


def _measure(args: Namespace, places: dict[str, Path], count: int) -> list[tuple]:
    """Rows: loader, place, threads, batch size, median images/s, spread."""
    import numpy as np

    rng, turns = np.random.default_rng(0), random.Random(1)
    names = [*LOADERS, "raw files, DALI"]
    rows = []
    for place, threads, size in itertools.product(
        places, sorted(set(args.threads)), args.batch_sizes
    ):
        folder, size = places[place], min(size, count)
        spare = DALI_AHEAD * size
        total = max(min(args.total, count - spare) // size, 1) * size
        rates: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(args.rounds):
            for name in turns.sample(names, len(names)):
                # where images are few, the first come again
                order = np.resize(rng.permutation(count), spare + total)
                warm, orders = np.split(order.reshape(-1, size), [DALI_AHEAD])
                with opened(name, folder, threads, list(warm), list(orders)) as one:
                    if place.startswith("disk"):
                        _forget(folder)
                    rates[name].append(timed(one))
        for name in names:
            rows.append((name, place, threads, size, *_summary(rates[name])))
            _say(rows[-1])
    return rows


def _summary(rates: list[float]) -> tuple[float, float]:
    median = statistics.median(rates)
    return median, (max(rates) - min(rates)) / median


def _forget(folder: Path) -> None:
    """Asks the system to drop the files below from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


# ---- results ----


def _say(row: tuple) -> None:
    name, place, threads, size, median, spread = row
    print(
        f"{name:<20}{place:<12}{_workers(threads):<12}  batch {size:>5}{median:>12,.0f} images/s"
        f"{size / median:>9.4f} s a batch{spread:>7.0%}",
        flush=True,
    )


def _workers(count: int) -> str:
    """DALI has threads in place of processes."""
    return "1 process" if count == 1 else f"{count} processes"


def _table(rows: list[tuple]) -> str:
    lines = ["loader,place,threads,batch_size,images_per_second,spread"]
    lines += [
        f'"{name}","{place}",{threads},{size},{median:.0f},{spread:.3f}'
        for name, place, threads, size, median, spread in rows
    ]
    return "\n".join(lines) + "\n"


def _plot(rows: list[tuple], file: Path) -> None:
    """A panel for each place; bars by loader, one for each number of threads and batch size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib import ticker

    places = list(dict.fromkeys(row[1] for row in rows))
    names = list(dict.fromkeys(row[0] for row in rows))
    kinds = list(dict.fromkeys(row[2:4] for row in rows))
    figure, axes = plt.subplots(
        1,
        len(places),
        figsize=(5 * len(places), 5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    height = 0.8 / len(kinds)
    for axis, place in zip(axes[0], places, strict=True):
        for k, (threads, size) in enumerate(kinds):
            values = {row[0]: row[4] for row in rows if row[1:4] == (place, threads, size)}
            axis.barh(
                [i + (k - (len(kinds) - 1) / 2) * height for i in range(len(names))],
                [values[name] for name in names],
                height,
                label=f"{_workers(threads)}, batch {size}",
            )
        axis.set(title=place, xscale="log", xlabel="images/s", yticks=range(len(names)))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_yticklabels([f"{n} (threads)" if n not in LOADERS else n for n in names])
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlim(left=10 ** math.floor(math.log10(min(row[4] for row in rows))))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
