"""Means over runs, with what they leave open: 95 % intervals by Student's t."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95
METHOD = (
    "Intervals are 95 % by Student's t over all runs (scenario seed x training seed); differences "
    "are taken between runs of the same scenario and training seed first. A share of the gap is a "
    "ratio of two such means, its interval Fieller's. Runs of one scenario seed share their images "
    "and their synthetic stores, so an interval says less about new scenarios than about new "
    "training seeds. One run has no interval. Nothing is corrected for the number of comparisons."
)


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval; nan where the runs are too few for one."""

    mean: float
    low: float
    high: float
    runs: int

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below 0."""
        return int(self.low > 0) - int(self.high < 0)


def mean_of(values: Sequence[float]) -> Estimate:
    """At least one value."""
    x = np.asarray(values, np.float64)
    mean, n = float(x.mean()), len(x)
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    half = _critical(n) * float(x.std(ddof=1)) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


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


def images_worth(
    accuracy: float,  # of the runs with synthetic images
    curve: Mapping[float, float],  # real images a class -> accuracy without synthetic ones
) -> tuple[float, bool]:
    """How many real images a class give that accuracy, and whether it lies within the curve.

    Between its points the curve is linear in log(1 + n); it is taken to rise (a point below an
    earlier one is raised to it). Outside of it, its first or last n.
    """
    numbers = sorted(curve)
    height = np.maximum.accumulate([curve[n] for n in numbers])
    if accuracy <= height[0]:
        return float(numbers[0]), accuracy == height[0]
    if accuracy > height[-1]:
        return float(numbers[-1]), False
    i = int(np.searchsorted(height, accuracy))  # height[i - 1] < accuracy <= height[i]
    low, high = math.log1p(numbers[i - 1]), math.log1p(numbers[i])
    part = (accuracy - height[i - 1]) / (height[i] - height[i - 1])
    return math.expm1(low + part * (high - low)), True


def _critical(n: int) -> float:
    return float(student.ppf((1 + LEVEL) / 2, n - 1))
