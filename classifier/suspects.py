"""Real training images whose given label is doubted: suspects.parquet, for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from classifier.export import Model
    from classifier.setup import Setup

NAME = "suspects.parquet"


@dataclass(frozen=True)
class Suspects:
    """One place an image, the least probable given label first."""

    row: np.ndarray  # [n] int64, of the real store
    target: np.ndarray  # [n] int64, given class; the last class is "other"
    likely: np.ndarray  # [n] int64, most probable class
    probability: np.ndarray  # [n] float32, of the given class

    @classmethod
    def of(cls, rows: np.ndarray, given: np.ndarray, probability: np.ndarray) -> Self:
        """From [n] rows, [n] given classes and [n, K + 1] probabilities of all classes."""
        mine = probability[np.arange(len(rows)), given]
        order = np.argsort(mine, kind="stable")
        # the given label is the one that is not believed: the most probable of the others
        rest = probability.copy()
        rest[np.arange(len(rows)), given] = -1
        likely = rest.argmax(1) if len(rows) else np.zeros(0, np.int64)
        return cls(rows[order], given[order], likely[order], mine[order].astype(np.float32))

    def part(self, start: int, stop: int) -> Self:
        """Some of them, in order."""
        return type(self)(*(getattr(self, n)[start:stop] for n in self.__dataclass_fields__))

    def write(self, folder: Path) -> None:
        part = folder / f".{NAME}.partial"
        table = {n: pa.array(getattr(self, n), pa.int64()) for n in ("row", "target", "likely")}
        table["probability"] = pa.array(self.probability, pa.float32())
        pq.write_table(pa.table(table), part)
        part.replace(folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """None where the folder has no such list."""
        if not (folder / NAME).is_file():
            return None
        table = pq.read_table(folder / NAME).sort_by("probability")
        return cls(*(table.column(n).to_numpy() for n in cls.__dataclass_fields__))


def left_out(model: Model, setup: Setup, weights: Sequence[np.ndarray] | None) -> Suspects:
    """The real images of known classes that a run came to doubt and left out of its training."""
    pool, real = setup.mix.pools[0], setup.stores[0]
    doubted = np.zeros(len(pool.rows), bool) if weights is None else weights[0] == 0
    rows, given = pool.rows[doubted], pool.targets[doubted]
    p = model.probabilities(real.take(rows))
    return Suspects.of(rows, given, fold(p, setup.known))


def fold(probability: np.ndarray, known: int) -> np.ndarray:
    """[N, C] -> [N, K + 1]: all classes from `known` on as one."""
    return np.concatenate([probability[:, :known], probability[:, known:].sum(1)[:, None]], 1)
