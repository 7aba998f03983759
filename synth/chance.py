"""Random numbers that are a pure function of (seed, stream, index): no state, any order.

Every sample has its own numbers, drawn for many samples at once. The mixing function is the
finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
generators", fig. 16).
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def bits(seed: int, stream: int, index: np.ndarray, count: int) -> np.ndarray:
    """[n] integers -> [n, count] uint64, uniform. Streams of one seed are independent."""
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], np.int64).astype(np.uint64) + _GOLDEN)
        key = _mix(
            key ^ _mix(np.array([stream], np.int64).astype(np.uint64) * _GOLDEN + np.uint64(1))
        )
        rows = _mix(key + np.asarray(index).astype(np.uint64) * _GOLDEN)
        return _mix(rows[:, None] + np.arange(1, count + 1, dtype=np.uint64)[None] * _GOLDEN)


def uniform(seed: int, stream: int, index: np.ndarray, count: int) -> np.ndarray:
    """[n] -> [n, count] float64 in (0, 1)."""
    return ((bits(seed, stream, index, count) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(seed: int, stream: int, index: np.ndarray, count: int) -> np.ndarray:
    """[n] -> [n, count] float64, standard normal, cut at 2.5 so that no draw is absurd."""
    return np.clip(ndtri(uniform(seed, stream, index, count)), -2.5, 2.5)
