"""How easily rendered images are told from real ones, and by what.

A linear discriminant with each kind of feature learns on one half of the images and is asked about
the other half; 0.5 is a coin, 1.0 is never wrong. Real against real is printed first: what is not
0.5 there is luck. The same characters, as many of each on both sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from scipy import ndimage, stats

from synth.command import parser, run
from synth.errors import InputError
from synth.store import Store

PER_CHARACTER = 30
RIDGE = 0.05  # of the mean variance


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "", "python benchmarks/realism.py --real runs/real --synth runs/font runs/old"
    )
    p.add_argument("--real", type=Path, required=True, help="real store")
    p.add_argument("--synth", type=Path, nargs="+", required=True, help="font or GAN stores")
    p.add_argument("--seed", type=int, default=1, help="of the choice of images and halves")
    return p


def tones(images: np.ndarray) -> np.ndarray:
    """[N, H, W] uint8 -> [N, 16]: how much of the image has which tone."""
    steps = images // 16
    return np.stack([(steps == k).mean((1, 2)) for k in range(16)], 1)


def edges(images: np.ndarray) -> np.ndarray:
    """-> [N, 32]: how sharp and how rough strokes are; distribution of four filters' answers."""
    ink = images.astype(np.float32) / 255
    soft = ndimage.gaussian_filter(ink, (0, 1, 1))
    maps = (
        np.hypot(np.gradient(ink, axis=1), np.gradient(ink, axis=2)),
        np.abs(ink - soft),
        np.hypot(np.gradient(soft, axis=1), np.gradient(soft, axis=2)),
        np.abs(soft - ndimage.gaussian_filter(ink, (0, 2, 2))),
    )
    bounds = np.array([0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 2.0])
    columns = [
        ((m >= low) & (m < high)).mean((1, 2))
        for m in maps
        for low, high in itertools.pairwise(bounds)
    ]
    return np.stack(columns, 1)


def directions(images: np.ndarray) -> np.ndarray:
    """-> [N, 24]: share of the edges in each direction."""
    ink = images.astype(np.float32)
    dx, dy = np.gradient(ink, axis=2), np.gradient(ink, axis=1)
    which = (np.degrees(np.arctan2(dy, dx)) % 180 / 7.5).astype(int) % 24
    length = np.hypot(dx, dy)
    found = np.stack([(length * (which == k)).sum((1, 2)) for k in range(24)], 1)
    return found / np.maximum(found.sum(1, keepdims=True), 1e-6)


def proportions(images: np.ndarray) -> np.ndarray:
    """-> [N, 34]: ink by rows and columns, height, width."""
    ink = images.astype(np.float32) / 255
    size = ink.shape[1] // 16 * 16
    parts = [ink[:, :size].mean(a)[:, :size].reshape(len(ink), 16, -1).mean(2) for a in (1, 2)]
    box = [(images > 80).any(a).sum(1)[:, None] / size for a in (1, 2)]
    return np.concatenate([*parts, *box], 1)


def auc(a: np.ndarray, b: np.ndarray, halves: np.random.Generator) -> float:
    """[N, D], [M, D] -> area under the curve of a linear discriminant on unseen halves."""
    sets = [x[halves.permutation(len(x))] for x in (a, b)]
    learn, ask = ([x[k::2] for x in sets] for k in (0, 1))
    mean = [x.mean(0) for x in learn]
    within = sum(np.cov(x, rowvar=False) for x in learn)
    within += RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    axis = np.linalg.solve(within, mean[1] - mean[0])
    scores = [x @ axis for x in ask]
    rank = stats.rankdata(np.concatenate(scores))[len(scores[0]) :]
    n, m = len(scores[0]), len(scores[1])
    return float((rank.sum() - m * (m + 1) / 2) / (n * m))


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    f.__name__: f for f in (tones, edges, directions, proportions)
}


def alike(
    real: Store, synth: Store, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of the same characters: real ones twice over, and synthetic ones."""
    label = real.column("label").astype(str)
    char = synth.column("char").astype(str)
    char[synth.column("kind") != "character"] = ""
    train = real.rows("train")
    chosen: list[list[np.ndarray]] = [[], [], []]
    for c in real.alphabet.chars:
        ours, theirs = train[label[train] == c], np.flatnonzero(char == c)
        n = min(len(ours) // 2, len(theirs), PER_CHARACTER)
        picked = rng.permutation(ours)
        for rows, some in zip(
            chosen, (picked[:n], picked[n : 2 * n], rng.permutation(theirs)[:n]), strict=True
        ):
            rows.append(some)
    if sum(map(len, chosen[0])) < 100:
        raise InputError(f"{synth.path}: fewer than 100 images of characters that {real.path} has")
    rows = [np.sort(np.concatenate(c)) for c in chosen]
    return real.images[rows[0]], real.images[rows[1]], synth.images[rows[2]]


def main(args: Namespace) -> None:
    real = Store.open(args.real)
    print(f"{'told from real, AUC':40} {'images':>7}" + "".join(f"{n:>13}" for n in FEATURES))
    for k, path in enumerate(args.synth):
        one, two, drawn = alike(real, Store.open(path), np.random.default_rng(args.seed))
        for name, other in ((f"{args.real} (another half)", two), (str(path), drawn)):
            if k and other is two:
                continue
            values = [
                auc(f(one), f(other), np.random.default_rng(args.seed)) for f in FEATURES.values()
            ]
            print(f"{name[-40:]:40} {len(other):7}" + "".join(f"{v:13.3f}" for v in values))


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
