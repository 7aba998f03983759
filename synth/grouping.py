"""Which rows have which value, found in one sort."""

from __future__ import annotations

from typing import Any

import numpy as np


def rows_by(values: np.ndarray) -> dict[Any, np.ndarray]:
    """[n] -> value -> its places in `values`, [m] int64, in order; the values in theirs. Time goes
    with n log n, not with n times the number of values."""
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    # of no values at all numpy makes one part, which is none's
    return dict(zip(found.tolist(), np.split(order, first[1:]), strict=False))


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """[n] -> [min(n, most)], evenly over all: rows go by name, and names may go by writer."""
    if len(rows) <= most:
        return rows
    return rows[((np.arange(most) + 0.5) * len(rows) / most).astype(int)]
