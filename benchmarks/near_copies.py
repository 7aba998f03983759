"""Near copies: how many of each kind are found, what is taken for one by mistake, what it costs.

    python benchmarks/near_copies.py runs/real                            # a store of real images
    python benchmarks/near_copies.py runs/real --sizes 5000 20000 50000

caught    of so many originals a copy is made of the image as it stands in the store, saved, decoded
          as at import, and put among --among other images; caught is one that is found to be a copy
          of its own original
false     pairs within the store, a random tenth of its images against the other nine; the nearest
          are named, and with --sheet drawn side by side: look at them, one sample twice is no
          mistake
cost      seconds of processor time of a tenth against the rest, and of reading an import's note

Fixed draws: --seed. The exit code is 1 where a kind but those of HARD is caught less often than
--least.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from timing import machine

from synth.canvas import Canvas
from synth.decode import PAPER, decode
from synth.near_copies import Pictures, apart_note, copies, distances, name_of
from synth.store import Store

PACKAGES = ("numpy", "opencv-python-headless", "pillow")
HARD = ("scaled .5", "turned 3")  # half of the pixels are gone; another slant
NAMED = 10  # false pairs, the nearest first


def saved(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def moved(image: Image.Image, x: int, y: int) -> Image.Image:
    out = Image.new("L", image.size, PAPER)
    out.paste(image, (x, y))
    return out


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BILINEAR)


def turned(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=PAPER)


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG 75": lambda image: saved(image, "JPEG", quality=75),
    "JPEG 50": lambda image: saved(image, "JPEG", quality=50),
    "JPEG 30": lambda image: saved(image, "JPEG", quality=30),
    "moved right": lambda image: saved(moved(image, 1, 0)),
    "moved down": lambda image: saved(moved(image, 0, 1)),
    "scaled .5": lambda image: saved(scaled(image, 0.5)),
    "scaled .75": lambda image: saved(scaled(image, 0.75)),
    "scaled 2": lambda image: saved(scaled(image, 2)),
    "lighter": lambda image: saved(image.point(lambda tone: min(255, tone + 40))),
    "gamma .7": lambda image: saved(image.point(lambda tone: round(255 * (tone / 255) ** 0.7))),
    "turned 1": lambda image: saved(turned(image, 1)),
    "turned 3": lambda image: saved(turned(image, 3)),
}


def remade(images: np.ndarray, how: Callable[[Image.Image], bytes], canvas: Canvas) -> np.ndarray:
    """[n, H, W] uint8, ink high -> the same as an import makes them of the copies' files."""
    return np.stack([decode(how(Image.fromarray(PAPER - image)), canvas) for image in images])


def caught(store: Store, rows: np.ndarray, others: np.ndarray, kind: str) -> float:
    """Share of the copies of `rows` that are found among `others`, each as that of its original."""
    originals = store.take(rows)
    known = np.concatenate([remade(originals, KINDS[kind], store.canvas), store.take(others)])
    found = copies(
        Pictures(originals, np.arange(len(rows))), Pictures(known, np.arange(len(known)))
    )
    return sum(found.get(i) == i for i in range(len(rows))) / len(rows)


def tenth(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to be measured on and rows to be trained on, of `size`."""
    order = rng.permutation(size)
    return np.sort(order[: size // 10]), np.sort(order[size // 10 :])


def mistaken(
    store: Store,
    asked: np.ndarray,  # rows, each held against all of
    known: np.ndarray,  # these
) -> list[tuple[float, int, int]]:
    """Distance, row and row of the pairs found in the store itself, the nearest first."""
    found = copies(Pictures.at(store, asked), Pictures.at(store, known))
    pairs = np.array([*found.items()], np.int64).reshape(-1, 2)
    apart = distances(store.take(pairs[:, 0]), store.take(pairs[:, 1])) if len(pairs) else []
    return sorted((float(d), int(a), int(b)) for d, (a, b) in zip(apart, pairs, strict=True))


def cost(store: Store, size: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """Processor seconds of a tenth against the rest, wall seconds of it, and processor seconds of
    the digest that a note is compared by."""
    asked, known = tenth(size, rng)
    started, wall = time.process_time(), time.perf_counter()
    copies(Pictures.at(store, asked), Pictures.at(store, known))
    compared, passed = time.process_time() - started, time.perf_counter() - wall
    started = time.process_time()
    apart_note(Pictures.at(store, np.arange(size)), store.column("split")[:size])
    return compared, passed, time.process_time() - started


def write_sheet(store: Store, pairs: Sequence[tuple[float, int, int]], path: Path) -> None:
    rows = [np.concatenate(list(store.take(np.array([a, b]))), 1) for _, a, b in pairs]
    Image.fromarray(PAPER - np.concatenate(rows)).save(path)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, help="of real images")
    parser.add_argument("--originals", type=int, default=500)
    parser.add_argument("--among", type=int, default=5000, help="other images")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000], help="for the cost")
    parser.add_argument("--least", type=float, default=0.9, help="share of each kind caught")
    parser.add_argument("--sheet", type=Path, help="PNG of the pairs found within the store")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    store, rng = Store.open(args.store), np.random.default_rng(args.seed)
    if len(store) < args.originals + 10:
        parser.error(f"{args.store}: {len(store)} images, --originals {args.originals} and more")
    print(machine(PACKAGES))
    inked = np.flatnonzero(np.fromiter((image.any() for image in store.images), bool, len(store)))
    order = rng.permutation(inked)
    rows = np.sort(order[: args.originals])
    others = np.sort(order[args.originals : args.originals + args.among])
    print(f"{'copies':<14}{'caught':>8}   of {len(rows)} among {len(others)} others", flush=True)
    missed = []
    for kind in KINDS:
        share = caught(store, rows, others, kind)
        print(f"{kind:<14}{share:>8.3f}", flush=True)
        if share < args.least and kind not in HARD:
            missed.append(kind)
    asked, known = tenth(len(store), rng)
    pairs = mistaken(store, asked, known)
    print(
        f"pairs within the store: {len(pairs)} of {len(asked):,} images, a random tenth, against "
        f"the other {len(known):,}"
    )
    for apart, a, b in pairs[:NAMED]:
        print(f"  {apart:.3f}  {name_of(store, a)}  {name_of(store, b)}")
    if args.sheet and pairs:
        write_sheet(store, pairs, args.sheet)
    print(f"{'images':>10}{'compared, s':>13}{'wall, s':>10}{'by note, s':>12}")
    for size in sorted(args.sizes):
        if size > len(store):
            print(f"{size:>10,}   more than the store has")
            continue
        compared, passed, noted = cost(store, size, rng)
        print(f"{size:>10,}{compared:>13.2f}{passed:>10.2f}{noted:>12.2f}", flush=True)
    if missed:
        print(f"caught less often than {args.least}: {', '.join(missed)}", file=sys.stderr)
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
