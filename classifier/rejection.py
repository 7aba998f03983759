"""From class probabilities to an answer: a known character, or "other"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# [N, n] probabilities of one side -> [N], see `other_score`
_SIDE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "norms": lambda p: np.sqrt(np.square(p).sum(1)),
    "logit": lambda p: p.max(1),
    "energy": lambda p: p.sum(1),
}
OTHER_SCORES = (*_SIDE, "softmax")
ENOUGH = 20  # known and other images for a threshold of their own


def other_score(probabilities: np.ndarray, known: int, score: str = "norms") -> np.ndarray:
    """[N, C] -> [N] float, 0 to 1: the higher, the more the image looks like something else.

    Both sides' probabilities, those from `known` on and those of the known characters, become a
    number each, and the score is the others' as a share of the two together:

    norms: the root sum of squares, so that the best few candidates of each side are compared and
    not the sum of a thousand small probabilities: on development data AUROC rose from .918 (1 - the
    most probable known) and .935 (sum of the others) to .937, and the others found at 5 % false
    alarms from 55 to 62 % (docs/LOG.md).
    logit: the largest, that is e to the difference of both sides' highest logits.
    energy: the sum, that is the same of both sides' free energies (Liu et al. 2020, "Energy-based
    out-of-distribution detection", eq. 4).
    softmax: none of this, but 1 - the most probable known (Hendrycks and Gimpel 2017).

    Logits and energies of the known characters alone are not in probabilities, which are what
    several networks are averaged by, and what a model file answers with.
    """
    if score not in OTHER_SCORES:
        raise ValueError(f"other score {score!r}: there are {', '.join(OTHER_SCORES)}")
    p = np.asarray(probabilities, np.float64)
    if score == "softmax":
        return np.maximum(1 - p[:, :known].max(1), 0)
    others, characters = (_SIDE[score](side) for side in (p[:, known:], p[:, :known]))
    return others / np.maximum(others + characters, np.finfo(np.float64).tiny)


def answers(
    probabilities: np.ndarray,  # [N, C]
    known: int,
    threshold: float | np.ndarray,  # one, or [known]: of the most probable known class
    score: str = "norms",
) -> np.ndarray:
    """[N] int64: the known class, or `known` for "other" where the score is above."""
    best = probabilities[:, :known].argmax(1)
    limit = np.broadcast_to(threshold, known)[best]
    return np.where(other_score(probabilities, known, score) > limit, known, best)


def choose_threshold(
    probabilities: np.ndarray,  # [N, C] of validation images
    target: np.ndarray,  # [N] int64; `known` and above are other
    known: int,
    most_lost: float = 0.05,  # share of the known images read right that may be called other
    score: str = "norms",  # see `other_score`
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
    values = other_score(probabilities, known, score)
    steps = 1 / (1 + np.exp(-np.linspace(-6, 6, 601)))  # even in the log of the odds
    found, lost = ((values[mask] > steps[:, None]).mean(1) for mask in (is_other, right))
    allowed = lost <= most_lost
    if not allowed.any():
        return 1.0, {}
    flat = np.flatnonzero(allowed & (found >= found[allowed].max()))
    threshold = float(steps[flat[len(flat) // 2]])
    return threshold, rates_at(probabilities, target, known, threshold, score)


def rates_at(
    probabilities: np.ndarray,  # [N, C]
    target: np.ndarray,  # [N] int64; `known` and above are other
    known: int,
    threshold: float | np.ndarray,  # see `answers`
    score: str = "norms",
) -> dict[str, float]:
    """Shares of the known images read right, of those among them that are called other though the
    network reads them right, and of the others found. There must be some of each."""
    is_other = target >= known
    right = ~is_other & (probabilities[:, :known].argmax(1) == target)
    called = answers(probabilities, known, threshold, score) == known
    lost = called[right].mean()
    kept = (1 - lost) * right.sum() / (~is_other).sum()
    rates = {"known_right": kept, "known_lost": lost, "other_found": called[is_other].mean()}
    return {name: float(rate) for name, rate in rates.items()}


def choose_by_group(
    probabilities: np.ndarray,  # [N, C] of validation images
    target: np.ndarray,  # [N] int64; `known` and above are other
    group: np.ndarray,  # [known] str: of each known class
    threshold: float,  # for all of them, what a group has that cannot have its own
    most_lost: float = 0.05,  # see `choose_threshold`
    score: str = "norms",
) -> dict[str, float]:
    """Group -> its own threshold: `choose_threshold` on the images, known and other, that look most
    like one of its classes. A group has the common one where fewer than ENOUGH of these are known
    ones read right, or others."""
    known = len(group)
    best = probabilities[:, :known].argmax(1)
    found = {}
    for name in np.unique(group).tolist():
        mine = group[best] == name
        right, others = mine & (best == target), mine & (target >= known)
        found[name] = threshold
        if min(right.sum(), others.sum()) >= ENOUGH:
            found[name], _ = choose_threshold(
                probabilities[mine], target[mine], known, most_lost, score
            )
    return found
