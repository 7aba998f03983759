"""Ways to keep and read images, on your own folder: which gives the most images a second?

    python benchmarks/loaders.py --images IMAGES --out runs/loaders
    python benchmarks/loaders.py                          # on simulated images

The images are brought onto the canvas once and written in every format, on disk and in memory
(tmpfs). Each loader then gives batches of uint8 [B, 64, 64], in one random order, from one process
(or DALI thread) and from many. "disk, cold" means that the system was asked to forget the files
before each turn (posix_fadvise; a disk's own cache does not obey). Loaders run in turn; the table
gives the median of the rounds and the spread, (highest - lowest) / median.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from timing import machine

from synth.command import cores, parser, run
from synth.errors import InputError

PACKAGES = ("pillow", "opencv-python-headless", "h5py", "lmdb", "nvidia-dali-cuda130", "numpy")
SIZE_PX = 64
TMPFS = Path("/dev/shm")
Take = Callable[[Any], Any]  # [B] int64, numbers of images -> [B, 64, 64] uint8


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
        count = _write(args.images, Path(disk), Path(memory))
        rows = _measure(args, {"disk, cold": Path(disk), "tmpfs": Path(memory)}, count)
    args.out.mkdir(parents=True, exist_ok=True)
    text = _table(rows)
    (args.out / "loaders.csv").write_text(text, encoding="utf-8")
    _plot(rows, args.out / "loaders.png")
    print(f"\n{args.out}/loaders.csv, {args.out}/loaders.png")


def _write(images: Path | None, disk: Path, memory: Path) -> int:
    """Every format on both; returns the number of images."""
    from synth.canvas import Canvas
    from synth.corpus import import_images
    from synth.export import FORMATS, export_store

    if images is None:
        images = disk / "simulated"
        _simulate(images, 2000)
    store = import_images(
        images, disk / "store", None, Canvas(SIZE_PX), val_share=0, workers=cores()
    )
    for form in ("flat", "hdf5", "lmdb", "tfrecord"):
        export_store(store, form, disk / f"{form}{FORMATS[form]}")
    for made in ("store", "flat", "hdf5.h5", "lmdb.lmdb", "tfrecord.tfrecord"):
        source, target = disk / made, memory / made
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    return len(store)


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


# ---- loaders: a folder with all formats -> what takes images by number ----


def pillow(folder: Path) -> Take:
    import numpy as np
    from PIL import Image

    files = sorted((folder / "flat").glob("*.png"))

    def one(path: Path) -> Any:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((SIZE_PX, SIZE_PX)))

    return lambda at: np.stack([one(files[i]) for i in at])


def opencv(folder: Path) -> Take:
    import cv2
    import numpy as np

    cv2.setNumThreads(0)
    files = [str(path) for path in sorted((folder / "flat").glob("*.png"))]

    def one(path: str) -> Any:
        return cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), (SIZE_PX, SIZE_PX))

    return lambda at: np.stack([one(files[i]) for i in at])


def hdf5(folder: Path) -> Take:
    import h5py
    import numpy as np

    images = h5py.File(folder / "hdf5.h5", "r")["images"]
    return lambda at: np.stack([images[i] for i in at])


def lmdb(folder: Path) -> Take:
    import lmdb
    import numpy as np

    environment = lmdb.open(str(folder / "lmdb.lmdb"), readonly=True, lock=False, readahead=False)

    def take(at: Any) -> Any:
        with environment.begin() as transaction:
            return np.stack([_decoded(transaction.get(b"image-%09d" % (i + 1))) for i in at])

    return take


def tfrecord(folder: Path) -> Take:
    import numpy as np

    from synth.format_tfrecord import list_tfrecord

    listing = list_tfrecord(folder, [folder / "tfrecord.tfrecord"], 0, None)
    return lambda at: np.stack([_decoded(listing.read(listing.found[i])) for i in at])


def store(folder: Path) -> Take:
    from synth.store import Store

    images = Store.open(folder / "store").images
    return lambda at: images[at]


def _decoded(data: bytes) -> Any:
    import io

    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)))


LOADERS = {
    "raw files, Pillow": pillow,
    "raw files, OpenCV": opencv,
    "HDF5": hdf5,
    "LMDB": lmdb,
    "TFRecord": tfrecord,
    "our store": store,
}
_take: Take | None = None  # of a worker process


def _open(make: Callable[[Path], Take], folder: Path) -> None:
    global _take
    _take = make(folder)


def _work(at: Any) -> Any:
    assert _take is not None
    return _take(at)


@contextmanager
def opened(name: str, folder: Path, threads: int, orders: list[Any]) -> Iterator[Iterator[Any]]:
    """Batches that nobody has asked for yet. Opened anew: a file that is still mapped or cached by
    its library cannot be forgotten by the system."""
    if name not in LOADERS:
        order = [int(i) for at in orders for i in at]
        steps = dali_files(folder, order, len(orders[0]), threads)
        next(steps)  # built and running
        yield itertools.islice(steps, len(orders))
    elif threads == 1:
        yield map(LOADERS[name](folder), orders)
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(threads, _open, (LOADERS[name], folder)) as pool:
            pool.map(time.sleep, [0.05] * threads, chunksize=1)  # all are there
            yield _from(pool, orders)


def _from(pool: Any, orders: list[Any]) -> Iterator[Any]:
    yield from pool.imap(_work, orders)  # begins with the first batch that is asked for


def dali_files(folder: Path, order: list[int], batch_size: int, threads: int) -> Iterator[Any]:
    from nvidia.dali import fn, pipeline_def, types

    paths = sorted((folder / "flat").glob("*.png"))

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=None)
    def graph() -> Any:
        data, _ = fn.readers.file(files=[str(paths[i]) for i in order])
        image = fn.decoders.image(data, output_type=types.GRAY)
        return fn.resize(image, size=(SIZE_PX, SIZE_PX))

    pipeline = graph()
    pipeline.build()
    while True:
        (images,) = pipeline.run()
        yield images.as_array()[..., 0]


# ---- measurement ----


def _measure(args: Namespace, places: dict[str, Path], count: int) -> list[tuple]:
    """Rows: loader, place, threads, batch size, median images/s, spread."""
    import numpy as np

    rng = np.random.default_rng(0)
    names = [*LOADERS, "raw files, DALI"]
    rows = []
    for place, threads, size in itertools.product(
        places, sorted(set(args.threads)), args.batch_sizes
    ):
        folder, size = places[place], min(size, count)
        total = max(min(args.total, count) // size, 1) * size
        rates: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(args.rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                orders = list(rng.permutation(count)[:total].reshape(-1, size))
                with opened(name, folder, threads, orders) as steps:
                    if place.startswith("disk"):
                        _forget(folder)
                    start = time.perf_counter()
                    images = sum(len(batch) for batch in steps)
                    rates[name].append(images / (time.perf_counter() - start))
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
        f"{name:<20}{place:<12}{threads:>3} threads  batch {size:>5}{median:>12,.0f} images/s"
        f"{size / median:>9.4f} s a batch{spread:>7.0%}",
        flush=True,
    )


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
                label=f"{threads} threads, batch {size}",
            )
        axis.set(title=place, xscale="log", xlabel="images/s", yticks=range(len(names)))
        axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_yticklabels(names)
        axis.grid(axis="x", alpha=0.3)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlim(left=10 ** math.floor(math.log10(min(row[4] for row in rows))))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
