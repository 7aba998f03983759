"""From class probabilities to an answer: a known character, or "other"."""

from __future__ import annotations

import numpy as np


def other_score(probabilities: np.ndarray, known: int) -> np.ndarray:
    """[N, C] -> [N] float, 0 to 1: the root sum of squares of the probabilities from `known` on, as
    a share of that and the known characters' together.

    Higher the more the image looks like something else. Squares, so that the best few candidates of
    each side are compared and not the sum of a thousand small probabilities: on development data
    AUROC rose from .918 (1 - the most probable known) and .935 (sum of the others) to .937, and the
    others found at 5 % false alarms from 55 to 62 % (docs/LOG.md).
    """
    squared = np.square(probabilities, dtype=np.float64)
    others, characters = (np.sqrt(x.sum(1)) for x in (squared[:, known:], squared[:, :known]))
    return others / np.maximum(others + characters, np.finfo(np.float64).tiny)


def answers(probabilities: np.ndarray, known: int, threshold: float) -> np.ndarray:
    """[N, C] -> [N] int64: the known class, or `known` for "other" where the score is above."""
    best = probabilities[:, :known].argmax(1)
    return np.where(other_score(probabilities, known) > threshold, known, best)


def choose_threshold(
    probabilities: np.ndarray,  # [N, C] of validation images
    target: np.ndarray,  # [N] int64; `known` and above are other
    known: int,
    most_lost: float = 0.05,  # share of the known images read right that may be called other
) -> tuple[float, dict[str, float]]:
    """The threshold that finds the most others among those that lose no more than `most_lost` of
    the known images that are read right; of several the middle one.

    The others of validation are easier than those to come: they are drawn by what drew those of
    training. The best mean of both rates on them lay too high. Every image counts the same: with
    the same weight for every class a few of rare classes, whose labels may be wrong, held the
    threshold of one training at .5 where it is .3 now (docs/LOG.md). Returns 1.0, which finds
    nothing, where validation holds no other image or none that is read right. The other images must
    show *characters held out from training*: a threshold set on seen ones lets unseen ones through.
    """
    is_other = target >= known
    right = ~is_other & (probabilities[:, :known].argmax(1) == target)
    if not is_other.any() or not right.any():
        return 1.0, {}
    score = other_score(probabilities, known)
    steps = 1 / (1 + np.exp(-np.linspace(-6, 6, 601)))  # even in the log of the odds
    found, lost = ((score[mask] > steps[:, None]).mean(1) for mask in (is_other, right))
    allowed = lost <= most_lost
    if not allowed.any():
        return 1.0, {}
    flat = np.flatnonzero(allowed & (found >= found[allowed].max()))
    at = int(flat[len(flat) // 2])
    kept = (1 - lost[at]) * right.sum() / (~is_other).sum()
    rates = {"known_right": kept, "known_lost": lost[at], "other_found": found[at]}
    return float(steps[at]), {name: float(rate) for name, rate in rates.items()}
