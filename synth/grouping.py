"""Which rows have which label, found in one pass."""

from __future__ import annotations

import numpy as np


def rows_by_label(labels: np.ndarray) -> dict[str, np.ndarray]:
    """[n] str -> label -> its places in `labels`, [m] int64, in order. Time goes with n log n, not
    with n times the number of labels."""
    names, number = np.unique(labels.astype(str), return_inverse=True)
    order = np.argsort(number, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(number, minlength=len(names)))[:-1])
    return dict(zip(names.tolist(), parts, strict=True)) if len(names) else {}
