"""Intervals that hold as often as they say, and what synthetic images are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from classifier.study.gains import _worth
from classifier.study.intervals import (
    Reading,
    by_scenario,
    holm,
    images_worth,
    mean_of,
    ratio_of_means,
    signs,
    worth_of,
)


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    values = [0.81, 0.84, 0.79, 0.9]
    found, peer = mean_of(values), ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert found.mean == pytest.approx(np.mean(values)) and found.n == 4
    assert found.p == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert signs([found]) == [1] and signs([mean_of([-1.0, 1.0])]) == [0]
    assert signs([mean_of([-1.0, -1.1])]) == [-1] and signs([None, mean_of([1.0])]) == [0, 0]


def test_one_run_has_no_interval() -> None:
    one = mean_of([0.5])
    assert one.mean == 0.5 and math.isnan(one.half) and math.isnan(one.p)
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


def test_p_values_are_adjusted_for_their_number() -> None:
    """By hand: 4 x .005, 3 x .01, 2 x .03, and .04 no lower than that; what is missing counts for
    none."""
    p = [0.01, math.nan, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, math.nan, 0.06, 0.06, 0.02], nan_ok=True)
    assert holm([0.7, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_of_many_comparisons_without_an_effect_one_in_twenty_studies_marks_any() -> None:
    rng, studies = np.random.default_rng(0), 400
    marked = alone = 0
    for _ in range(studies):
        found = [mean_of(rng.normal(0, 1, 3)) for _ in range(30)]
        marked += any(signs(found))
        alone += any(e.p < 0.05 for e in found)
    assert marked < 0.05 * studies + 3 * math.sqrt(studies * 0.05 * 0.95) < alone


def test_the_smallest_effect_that_could_be_seen_is_where_marks_begin() -> None:
    rest = [mean_of([-1.0, 1.1, 0.2])] * 9
    spread = np.array([-0.01, 0.0, 0.01])
    least = mean_of(spread + 1.0).smallest(10)
    assert signs([mean_of(spread + 1.01 * least), *rest]) == [1] + [0] * 9
    assert signs([mean_of(spread - 0.99 * least), *rest]) == [0] * 10
    assert math.isnan(mean_of([0.1, 0.1]).smallest(10))


def test_equal_differences_are_no_certainty() -> None:
    """Three runs that read one of 72 images less each, say: the spread is 0 by accident."""
    same = mean_of([-1 / 72, 0.5 - 37 / 72, 0.25 - 19 / 72])
    assert same.half < 1e-9 and same.p == 0.25 and signs([same]) == [0]
    assert mean_of([0.0, 0.0, 0.0]).p == 1 and signs([mean_of([0.1] * 6)]) == [1]


def test_training_seeds_are_averaged_where_there_are_several_scenarios() -> None:
    runs = {("d", 1, 1): 1.0, ("d", 1, 2): 2.0, ("d", 2, 1): 6.0}
    assert by_scenario(runs) == [1.5, 6.0]
    del runs["d", 2, 1]
    assert by_scenario(runs) == [1.0, 2.0]


def test_worth_is_read_off_the_curve() -> None:
    curve = {0: 0.1, 5: 0.5, 20: 0.8, 100: 0.9}
    for n, accuracy in curve.items():
        found = images_worth(accuracy, curve)
        assert (found.images, found.side) == (pytest.approx(n), 0)
    between = math.expm1((math.log1p(5) + math.log1p(20)) / 2)
    assert images_worth(0.65, curve).images == pytest.approx(between)
    assert images_worth(0.95, curve) == Reading(100, 1)
    assert images_worth(0.05, curve) == Reading(0, -1)


def test_worth_rises_with_accuracy_where_the_curve_has_a_dent() -> None:
    curve = {0: 0.2, 1: 0.5, 2: 0.45, 5: 0.7}
    worth = [images_worth(a, curve).images for a in np.linspace(0.1, 0.8, 100)]
    assert np.all(np.diff(worth) >= 0)
    # reached with one image already: two that gave less are no reason to say more
    assert images_worth(0.5, curve).images == pytest.approx(1)


def runs(mean: float, seed: int = 0, n: int = 6, sd: float = 0.02) -> dict:
    """Accuracies that scatter around it."""
    found = np.random.default_rng(seed).normal(0, sd, n)
    return {("d", 1, i): mean + x for i, x in enumerate((found - found.mean()).tolist())}


def test_worth_is_of_the_means_and_not_raised_by_scatter_at_the_foot_of_the_curve() -> None:
    """Where synthetic images give nothing: half of the runs lie above the curve's first point, and
    those below must count too."""
    curve = {5: runs(0.5, 1), 20: runs(0.8, 2), 100: runs(0.9, 3)}
    found, low, high = worth_of(runs(0.5 + 1e-6), curve)
    assert found.images == pytest.approx(5, abs=1e-3)
    assert low.side == -1 and high.side == 0 and high.images > 5
    assert _worth([found, low, high], 5).startswith("0.0 (≤ 0.0 to ")
    # read off one by one, and clamped, their mean was more
    each = [images_worth(a, {5: 0.5, 20: 0.8, 100: 0.9}).images for a in runs(0.5).values()]
    assert np.mean(each) > 5.05


def test_worth_beyond_the_ends_of_the_curve_says_so() -> None:
    curve = {5: runs(0.5, 1), 20: runs(0.8, 2), 100: runs(0.9, 3)}
    assert _worth(worth_of(runs(0.99), curve), 5) == "≥ 95.0 (≥ 95.0 to ≥ 95.0)"
    assert _worth(worth_of(runs(0.3), curve), 5) == "≤ 0.0 (≤ 0.0 to ≤ 0.0)"
    assert _worth(worth_of(runs(0.7, n=1), curve), 5).count("(") == 0
    assert worth_of({}, curve) == worth_of(runs(0.7), {5: runs(0.5)}) == []


def test_worth_is_measured_on_the_runs_that_all_points_have() -> None:
    """Runs that the curve lacks, or the other way round, would shift one against the other."""
    curve = {5: runs(0.5, 1), 20: runs(0.8, 2), 100: runs(0.9, 3)}
    more = runs(0.7) | {("d", 1, 99): 5.0}
    assert worth_of(more, curve) == worth_of(runs(0.7), curve)
    curve[20] |= {("d", 1, 99): 5.0}
    assert worth_of(more, curve) == worth_of(runs(0.7), curve)


def test_the_range_of_worth_mostly_covers_what_is_true() -> None:
    """Of 9 runs in 3 scenarios that scatter little. It is no 95 % interval, and is not called one:
    few runs make it too narrow."""
    rng, inside = np.random.default_rng(0), 0
    true = images_worth(0.7, {5: 0.5, 20: 0.8, 100: 0.9}).images

    def drawn(mean: float) -> dict:
        return {("d", s, t): mean + rng.normal(0, 0.01) for s in range(3) for t in range(3)}

    for _ in range(20):
        _, low, high = worth_of(drawn(0.7), {n: drawn(a) for n, a in ((5, 0.5), (20, 0.8))})
        inside += low.images <= true <= high.images
    assert inside >= 14
