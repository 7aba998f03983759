"""Fewer images of a synthetic store, to see how many are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synth.alphabet import OTHER
from synth.errors import InputError
from synth.grouping import rows_by
from synth.store import Sample, Store, StoreWriter

_BATCH = 1024  # images copied at once


def thin_store(
    store: Store,
    out: Path,
    made: dict[str, Any],
    known: int | None,  # most images of known characters to keep; None: all
    other: bool,  # keep the images of "other"
) -> Store:
    """Fewer images of a synthetic store. Each character keeps the same share of its images, and
    fewer images are some of the more. Validation images stay as they are, if `other` does."""
    if known is not None and known < 0:
        raise InputError(f"{known} images: a number from 0")
    labels, digest = store.column("label"), store.column("sha256")
    mine = np.flatnonzero(labels != OTHER)
    if known is not None and known < len(mine):
        # the rank within its class, as a share: the lowest of all are an even share of each class
        rank = np.zeros(len(store))
        for of in rows_by(labels[mine].astype(str)).values():
            of = mine[of]
            rank[of[np.argsort(digest[of])]] = (np.arange(len(of)) + 0.5) / len(of)
        mine = mine[np.lexsort((digest[mine], rank[mine]))][:known]
    rows = np.sort(np.concatenate([mine, np.flatnonzero(labels == OTHER) if other else mine[:0]]))
    if len(rows) == 0:
        raise InputError(f"{store.path}: nothing is left of it")
    table = store.table.to_pylist()
    with StoreWriter(out, store.canvas, store.alphabet, made, dict(store.info["notes"])) as writer:
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            samples = [Sample(**{k: v for k, v in table[r].items() if k != "sha256"}) for r in part]
            writer.append(store.take(part), samples)
    return Store.open(out)


def ratio_of(real: Store, ratio: float) -> int:
    """Synthetic images of known characters that are `ratio` times the real training ones."""
    if not ratio >= 0:
        raise InputError(f"--ratio {ratio}: a number from 0")
    labels = real.column("label")[real.rows("train")]
    return round(ratio * int((labels != OTHER).sum()))
