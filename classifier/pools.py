"""The images that a run may train on, and the classes that it tells apart. No torch.

Classes: the K characters of the alphabet, then K = "other, unspecified" (real other images and what
is no character), then the other characters that fonts and GAN draw and know by name. A classifier
trains on all of them and adds up K and beyond for its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from synth.alphabet import OTHER, Alphabet
from synth.errors import InputError
from synth.other import ONE_CHARACTER_KINDS
from synth.store import SOURCES, Store


@dataclass(frozen=True)
class Pool:
    """The rows of one store that may be trained on."""

    name: str  # the store, for messages
    rows: np.ndarray  # [n] int64, rows of the store
    targets: np.ndarray  # [n] int64, class of each
    sources: np.ndarray  # [n] int64, index into SOURCES
    kinds: np.ndarray | None = None  # [n] str, what each shows; None: nobody weighs by it

    @classmethod
    def of(cls, store: Store, targets: np.ndarray, rows: np.ndarray | None = None) -> Self:
        """From a store, the targets of all its rows [N], and the rows to use (None: train)."""
        rows = store.rows("train") if rows is None else np.asarray(rows, np.int64)
        if len(rows) == 0:
            raise InputError(f"{store.path}: not one image to train on in it (split 'train')")
        sources = np.array([SOURCES.index(name) for name in store.column("source")], np.int64)
        kinds = store.column("kind")[rows].astype(str)
        return cls(str(store.path), rows, targets[rows], sources[rows], kinds)


@dataclass(frozen=True)
class Picks:
    """A batch: four numbers a place, each [B] int64."""

    store: np.ndarray  # index into the pools
    source: np.ndarray  # index into SOURCES
    row: np.ndarray  # row in the store
    target: np.ndarray  # class

    def __len__(self) -> int:
        return len(self.row)


def training_classes(
    alphabet: Alphabet, stores: Sequence[Store]
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names of the other characters in code-point order, and for each store [N] int64 targets.

    Class K + 1 + i is `names[i]`: what a training row labelled "other" is known to show. Raises
    InputError for a label outside the alphabet.
    """
    index = alphabet.index()
    known = len(alphabet)
    tables = []
    for store in stores:
        labels, chars, kinds = (store.column(name) for name in ("label", "char", "kind"))
        targets = np.array([index.get(label, -1) for label in labels], np.int64)
        if (targets < 0).any():
            row = int(np.flatnonzero(targets < 0)[0])
            raise InputError(
                f"{store.path}, row {row}: label {labels[row]!r} is not in the alphabet "
                f"({alphabet.digest}, {known} characters); make the store again with this alphabet"
            )
        named = [
            label == OTHER and char != "" and char not in index and kind in ONE_CHARACTER_KINDS
            for label, char, kind in zip(labels, chars, kinds, strict=True)
        ]
        tables.append((targets, chars, np.array(named, bool), store.column("split") == "train"))
    names = sorted({c for _, chars, named, train in tables for c in chars[named & train]})
    number = {name: known + 1 + i for i, name in enumerate(names)}
    for targets, chars, named, _ in tables:
        # one that no training row shows (validation only) stays "other, unspecified"
        targets[named] = [number.get(char, known) for char in chars[named]]
    return tuple(names), [targets for targets, *_ in tables]
