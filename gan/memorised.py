"""How near an image comes to the real training images: whether a generator copied one of them.

Distances are taken between pictures shrunk to 4 px cells at unit length, so that grain, pen and a
pixel's shift count little, and in units of the class: the median distance of its real images to
their own nearest neighbour. Measured on 40 scanned characters of 100 training images each: of 1,600
real images of held-out writers all but 0.5 % lie at 0.74 or more of that median (the nearest one at
0.11, as good as a copy), all that the bending generator makes at 0.69 or more. Copies of training
images lie at 0.04 (another grain), 0.33 (a pixel thicker), 0.27 and 0.41 (bent by up to 1 and 2
px); these are medians.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from gan.saved import damage_named
from synth.alphabet import OTHER
from synth.files import write_whole
from synth.store import Store

CELL_PX = 4
COPY_BELOW = 0.6  # of the class's median: between the copies and the strangers above
# A class with fewer real images is measured by the median class: its own says too little.
OWN_MEDIAN_FROM = 10
UNRELATED = 0.7  # median of the classes above, where a store has no two images of one character
# Of a larger class so many images, always the same ones, are held against all its others: a median
# needs no more.
MEDIAN_IMAGES = 2000
_ROWS = 512  # compared at once: all with all of a large class would not fit into memory


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The real training images, shrunk, and what each is labelled as."""

    small: np.ndarray  # [n, H / 4, W / 4] uint8
    char: np.ndarray  # [n] str

    @classmethod
    def of_store(cls, real: Store) -> Self:
        """Of the training split's known characters, labels as given."""
        labels = real.column("label").astype(str)
        rows = np.array([r for r in real.rows("train") if labels[r] != OTHER], np.int64)
        return cls(shrunk(real.take(rows)), labels[rows])

    def distances(self, images: np.ndarray, char: np.ndarray) -> np.ndarray:
        """[n, H, W] uint8, [n] str -> [n] float: to the nearest real image of the same character,
        in medians of the class. Infinite where there is no real image of it."""
        out = np.full(len(images), np.inf)
        for c in np.unique(char):
            mine, there = char == c, self.char == c
            if there.any():
                near = _nearest(unit(shrunk(images[mine])), unit(self.small[there]))
                out[mine] = near / self._median_of(str(c))
        return out

    def among_real(self, char: str) -> np.ndarray:
        """[n] float: of each real image of a character, or MEDIAN_IMAGES of them, to the nearest
        other one of them."""
        mine = unit(self.small[self.char == char])
        if len(mine) < 2:
            return np.zeros(0)
        asked = np.arange(len(mine))
        if len(mine) > MEDIAN_IMAGES:
            asked = np.sort(np.random.default_rng(0).choice(asked, MEDIAN_IMAGES, replace=False))
        return _nearest(mine[asked], mine, asked)

    def _median_of(self, char: str) -> float:
        return self._medians.get(char, self._medians[OTHER])

    @cached_property
    def _medians(self) -> dict[str, float]:
        """By character, of classes with enough images; under OTHER that of the median class."""
        found: dict[str, float] = {}
        few: list[float] = []
        for c in np.unique(self.char).tolist():
            among = self.among_real(c)
            if len(among) >= OWN_MEDIAN_FROM:
                found[c] = float(np.median(among))
            else:
                few += among.tolist()
        typical = float(np.median(list(found.values()) or few or [UNRELATED]))
        least = 1e-6  # a class of nothing but one image, many times
        return {c: max(m, least) for c, m in found.items()} | {OTHER: max(typical, least)}

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, small=self.small, char=self.char)
        write_whole(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises InputError for a file that is none of `save`."""
        with damage_named(f"{path}: damaged; without it nothing is compared with training images"):
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
                small, char = data["small"], data["char"]
            if small.ndim != 3 or small.dtype != np.uint8 or char.shape != small.shape[:1]:
                raise ValueError(f"images {small.shape} {small.dtype}, characters {char.shape}")
            return cls(small, char)


def shrunk(images: np.ndarray) -> np.ndarray:
    """[n, H, W] uint8 -> [n, H / 4, W / 4] uint8, the mean of each cell."""
    n, height, width = images.shape
    cells = images[:, : height - height % CELL_PX, : width - width % CELL_PX]
    cells = cells.reshape(n, height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX)
    return np.rint(cells.mean((2, 4))).astype(np.uint8)


def unit(small: np.ndarray) -> np.ndarray:
    """[n, h, w] uint8 -> [n, h * w] float32 of length 1 (0 for a blank one)."""
    flat = small.reshape(len(small), -1).astype(np.float32)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


def _nearest(
    these: np.ndarray,
    those: np.ndarray,
    own: np.ndarray | None = None,  # [n] int: row of `those` that each is itself, left out
) -> np.ndarray:
    """[n, D] and [m, D] of length 1 -> [n] Euclidean distances to the nearest."""
    best = np.zeros(len(these), np.float32)
    for start in range(0, len(these), _ROWS):
        rows = slice(start, start + _ROWS)
        likeness = these[rows] @ those.T
        if own is not None:
            likeness[np.arange(len(likeness)), own[rows]] = -1
        best[rows] = likeness.max(1)
    return np.sqrt(np.maximum(2 - 2 * best, 0))
