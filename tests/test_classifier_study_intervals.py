"""Intervals that hold as often as they say, and what synthetic images are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from classifier.study.intervals import images_worth, mean_of, ratio_of_means


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    values = [0.81, 0.84, 0.79, 0.9]
    found, peer = mean_of(values), ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert found.mean == pytest.approx(np.mean(values)) and found.runs == 4
    assert found.sign == 1 and mean_of([-1.0, 1.0]).sign == 0 and mean_of([-1.0, -1.1]).sign == -1


def test_one_run_has_no_interval() -> None:
    one = mean_of([0.5])
    assert one.mean == 0.5 and math.isnan(one.half) and one.sign == 0
    assert math.isnan(ratio_of_means([0.1], [0.2]).low)


def test_a_ratio_is_covered_as_often_as_its_interval_says() -> None:
    rng, n, trials, inside = np.random.default_rng(0), 6, 4000, 0
    for _ in range(trials):
        shared = rng.normal(0, 0.03, n)  # pairs go together
        whole = 0.3 + shared + rng.normal(0, 0.02, n)
        part = 0.24 + shared + rng.normal(0, 0.02, n)
        found = ratio_of_means(part, whole)
        assert found.low <= found.mean <= found.high
        inside += found.low <= 0.8 <= found.high
    assert abs(inside - 0.95 * trials) < 3 * math.sqrt(trials * 0.95 * 0.05)


def test_a_ratio_scales_and_a_gap_that_may_be_none_bounds_nothing() -> None:
    part, whole = [0.1, 0.14, 0.12], [0.2, 0.21, 0.25]
    one, ten = ratio_of_means(part, whole), ratio_of_means([10 * p for p in part], whole)
    assert (ten.mean, ten.low, ten.high) == pytest.approx(
        (10 * one.mean, 10 * one.low, 10 * one.high)
    )
    # by hand: at both ends the mean of part - r whole lies just at the edge of significance
    for end in (one.low, one.high):
        test = ttest_1samp([p - end * w for p, w in zip(part, whole, strict=True)], 0)
        assert test.pvalue == pytest.approx(0.05, abs=1e-6)
    none = ratio_of_means([0.1, 0.2, 0.1], [0.3, -0.3, 0.05])
    assert (none.low, none.high) == (-math.inf, math.inf)


def test_worth_is_read_off_the_curve() -> None:
    curve = {0: 0.1, 5: 0.5, 20: 0.8, 100: 0.9}
    for n, accuracy in curve.items():
        assert images_worth(accuracy, curve) == (pytest.approx(n), True)
    between = math.expm1((math.log1p(5) + math.log1p(20)) / 2)
    assert images_worth(0.65, curve) == (pytest.approx(between), True)
    assert images_worth(0.95, curve) == (100, False)
    assert images_worth(0.05, curve) == (0, False)


def test_worth_rises_with_accuracy_where_the_curve_has_a_dent() -> None:
    curve = {0: 0.2, 1: 0.5, 2: 0.45, 5: 0.7}
    worth = [images_worth(a, curve)[0] for a in np.linspace(0.1, 0.8, 100)]
    assert np.all(np.diff(worth) >= 0)
    # reached with one image already: two that gave less are no reason to say more
    assert images_worth(0.5, curve)[0] == pytest.approx(1)
