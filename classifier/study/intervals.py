"""Means over runs, with what they leave open: 95 % intervals by Student's t and by resampling."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t: distribution and quantiles

LEVEL = 0.95
Pair = tuple[str, int, int]  # data, scenario seed, training seed
METHOD = (
    "Intervals are 95 % by Student's t. Where there are several scenarios, the training seeds of "
    "each are averaged first and the interval is over scenarios; of a single scenario it is over "
    "training seeds, and says nothing about other characters or images. Differences are taken "
    "between runs of the same scenario and training seed first. A share of the gap is a ratio of "
    "two such means, its interval Fieller's. What images are worth is read off the mean curve "
    "once; its interval is of 2,000 resamplings of the scenarios and of the runs in each: of three "
    "runs it is little more than the lowest and the highest, and no 95 %. One run has no interval. "
    "Marks in a table of differences, and "
    "what is called harmful, are corrected for the number of comparisons by Holm's method, over "
    "the table and over the whole list: the chance that any of them is an accident is 5 % at most, "
    "and small effects go unmarked. Closed set: known characters alone; where the answer was "
    '"other" the best known one counts. With "other" as an answer every run has a threshold of its '
    "own, so arms are compared at different ones. Numbers of real images count what is filed under "
    "a class, under a right or a wrong label: at 11 % wrong labels a class with 5 images has about "
    "4.5 right ones and, where most classes have 100, some 7 wrong ones; the table of costs tells "
    "them apart."
)
_RESAMPLINGS = 2000
_ROUNDING = 1e-9  # differences of equal shares differ by less


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; nan where there are too few values for one."""

    mean: float
    low: float
    high: float
    n: int  # scenarios, or runs of a single one
    p: float = math.nan  # of a mean of 0, two-sided

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    def smallest(self, comparisons: int) -> float:
        """The smallest mean, + or -, that among so many comparisons would have stood out first, at
        the spread there is; nan where there is none to reckon from."""
        if self.n < 2 or self.half <= _ROUNDING:
            return math.nan
        level = 1 - (1 - LEVEL) / comparisons
        return self.half * _critical(self.n, level) / _critical(self.n)


def mean_of(values: Sequence[float]) -> Estimate:
    """At least one value."""
    x = np.asarray(values, np.float64)
    mean, n = float(x.mean()), len(x)
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    error = float(x.std(ddof=1)) / math.sqrt(n)
    if error > _ROUNDING:
        p = float(2 * stdtr(n - 1, -abs(mean) / error))
    else:  # shares of few images come out equal by accident: the sign is all that is known
        p = 2.0 ** (1 - n) if abs(mean) > _ROUNDING else 1.0
    half = _critical(n) * error
    return Estimate(mean, mean - half, mean + half, n, p)


def by_scenario(values: Mapping[Pair, float]) -> list[float]:
    """What an interval is over: the mean of each scenario, or the runs of a single one."""
    of: dict[int, list[float]] = {}
    for (_, scenario, _), value in sorted(values.items()):
        of.setdefault(scenario, []).append(value)
    return [float(np.mean(v)) for v in of.values()] if len(of) > 1 else next(iter(of.values()))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number (Holm 1979, "A simple sequentially rejective multiple test
    procedure"): those below 0.05 hold all together at that level. nan stays nan and is not counted.
    """
    there = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    adjusted, highest = [math.nan] * len(p), 0.0
    for rank, (value, i) in enumerate(there):
        highest = max(highest, min(1.0, (len(there) - rank) * value))
        adjusted[i] = highest
    return adjusted


def signs(found: Sequence[Estimate | None]) -> list[int]:
    """1 or -1 for a mean that is above or below 0 by more than chance, over all of them."""
    adjusted = holm([math.nan if e is None else e.p for e in found])
    return [
        int(math.copysign(1, e.mean)) if e is not None and p < 1 - LEVEL else 0
        for e, p in zip(found, adjusted, strict=True)
    ]


def ratio_of_means(part: Sequence[float], whole: Sequence[float]) -> Estimate:
    """mean(part) / mean(whole) of n pairs, with Fieller's interval (Fieller 1954, "Some problems in
    interval estimation", sec. 3): the ratios r at which the mean of part - r whole is not
    significantly different from 0. Infinite on both sides where `whole` may be 0.
    """
    a, b = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    n = len(a)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    ratio = mean_a / mean_b if mean_b else math.nan
    if n < 2:
        return Estimate(ratio, math.nan, math.nan, n)
    covariance = np.cov(a, b) / n
    c = _critical(n) ** 2
    # (mean_a - r mean_b)^2 <= c var(a - r b), a quadratic in r
    square = mean_b**2 - c * covariance[1, 1]
    linear = mean_a * mean_b - c * covariance[0, 1]
    constant = mean_a**2 - c * covariance[0, 0]
    if square <= 0:
        return Estimate(ratio, -math.inf, math.inf, n)
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    return Estimate(ratio, (linear - root) / square, (linear + root) / square, n)


@dataclass(frozen=True, order=True)
class Reading:
    """Where an accuracy lies on a curve."""

    images: float  # real images a class
    side: int  # -1: below the curve, 1: above it, whose first or last number `images` is; else 0


def images_worth(
    accuracy: float,  # of the runs with synthetic images
    curve: Mapping[float, float],  # real images a class -> accuracy without synthetic ones
) -> Reading:
    """How many real images a class give that accuracy.

    Between its points the curve is linear in log(1 + n); it is taken to rise (a point below an
    earlier one is raised to it).
    """
    numbers = sorted(curve)
    height = list(accumulate((curve[n] for n in numbers), max))
    if accuracy <= height[0]:
        return Reading(float(numbers[0]), -int(accuracy < height[0]))
    if accuracy > height[-1]:
        return Reading(float(numbers[-1]), 1)
    i = bisect_left(height, accuracy)  # height[i - 1] < accuracy <= height[i]
    low, high = math.log1p(numbers[i - 1]), math.log1p(numbers[i])
    part = (accuracy - height[i - 1]) / (height[i] - height[i - 1])
    return Reading(math.expm1(low + part * (high - low)), 0)


def worth_of(
    runs: Mapping[Pair, float],  # accuracy with synthetic images
    curve: Mapping[float, Mapping[Pair, float]],  # real images a class -> accuracy without them
) -> list[Reading]:
    """What the mean of the runs reads on the mean curve; then, where there is more than one run,
    both ends of its interval. Of the pairs that all points have; empty: there is none, or only one
    point."""
    pairs = sorted(set(runs).intersection(*curve.values()))
    if len(curve) < 2 or not pairs:
        return []
    numbers = sorted(curve)
    heights = np.array([[of[p] for p in pairs] for of in (runs, *(curve[n] for n in numbers))])
    seeds = np.array([scenario for _, scenario, _ in pairs])

    def read(weights: np.ndarray) -> Reading:
        """Of the mean with those weights of the pairs."""
        mine, *points = (heights @ weights).tolist()
        return images_worth(mine, dict(zip(numbers, points, strict=True)))

    places = [np.flatnonzero(seeds == scenario) for scenario in np.unique(seeds)]
    even = np.zeros(len(pairs))
    for at in places:
        even[at] = 1 / (len(at) * len(places))
    found = [read(even)]
    if len(pairs) > 1:
        rng = np.random.default_rng(0)
        times = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), _RESAMPLINGS)
        weights = np.zeros((_RESAMPLINGS, len(pairs)))
        for at, drawn in zip(places, times.T, strict=True):
            # of a scenario that is drawn twice, twice as many runs
            of = rng.multinomial(drawn * len(at), np.full(len(at), 1 / len(at)))
            weights[:, at] = of / (len(at) * len(places))
        ordered = sorted(map(read, weights))
        edge = round(_RESAMPLINGS * (1 - LEVEL) / 2)
        found += [ordered[edge], ordered[-1 - edge]]
    return found


def _critical(n: int, level: float = LEVEL) -> float:
    return float(stdtrit(n - 1, (1 + level) / 2))
