"""Pictures of characters from stores, and samples of them that can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from synth.alphabet import OTHER
from synth.other import CHARACTER_KINDS
from synth.store import Store


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of one whole character each, and which one."""

    images: np.ndarray  # [n, H, W] uint8
    char: np.ndarray  # [n] str

    @classmethod
    def of_store(
        cls,
        store: Store,
        splits: Sequence[str] | None = None,  # None: all
        keep: np.ndarray | None = None,  # [N] bool; None: all
    ) -> Self:
        """Known characters by their label, others by what they are known to show.

        "Other" images of which nobody knows what they show are left out.
        """
        char = shown_by(store)
        use = char != ""
        if splits is not None:
            use &= np.isin(store.column("split").astype(str), splits)
        if keep is not None:
            use &= keep
        rows = np.flatnonzero(use)
        return cls(store.take(rows), char[rows])

    @classmethod
    def joined(cls, parts: Sequence[Pictures]) -> Self:
        return cls(
            np.concatenate([p.images for p in parts]), np.concatenate([p.char for p in parts])
        )

    def __len__(self) -> int:
        return len(self.char)

    def rows(self, at: np.ndarray) -> Pictures:
        """[m] numbers or [n] bool -> those."""
        return Pictures(self.images[at], self.char[at])

    def only(self, chars: Sequence[str] | set[str]) -> Pictures:
        return self.rows(np.isin(self.char, sorted(chars)))


def shown_by(store: Store) -> np.ndarray:
    """[N] str: the character that each image of a store shows; "" where nobody knows."""
    labels, chars = store.column("label").astype(str), store.column("char").astype(str)
    named = (labels == OTHER) & np.isin(store.column("kind"), CHARACTER_KINDS)
    return np.where(labels != OTHER, labels, np.where(named, chars, ""))


def halves(pictures: Pictures, seed: int) -> tuple[Pictures, Pictures]:
    """Each character's images dealt out to two sides; an odd one goes to the second."""
    first = np.zeros(len(pictures), bool)
    rng = np.random.default_rng([seed, 0])
    for c in np.unique(pictures.char):
        mine = rng.permutation(np.flatnonzero(pictures.char == c))
        first[mine[: len(mine) // 2]] = True
    return pictures.rows(first), pictures.rows(~first)


def matched(sets: Sequence[Pictures], seed: int, most: int | None = None) -> list[Pictures]:
    """Samples of each set with the same number of images of each character in all of them.

    Otherwise a distance between two sets would also say that one has more of a character. most: of
    each character.
    """
    rng = np.random.default_rng([seed, 1])
    chars = sorted(set.intersection(*(set(s.char.tolist()) for s in sets)))
    picked: list[list[np.ndarray]] = [[] for _ in sets]
    for c in chars:
        rows = [np.flatnonzero(s.char == c) for s in sets]
        count = min(map(len, rows)) if most is None else min(most, *map(len, rows))
        for mine, there in zip(picked, rows, strict=True):
            mine.append(rng.permutation(there)[:count])
    none = [np.zeros(0, np.int64)]
    return [s.rows(np.concatenate(none + p)) for s, p in zip(sets, picked, strict=True)]
