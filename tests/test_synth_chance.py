"""Random numbers as a pure function: of nothing else, evenly spread, and not of each other."""

from __future__ import annotations

import numpy as np
from scipy import stats

from synth import chance

N = 40_000
ROWS = np.arange(N)


def test_a_row_is_the_same_alone_in_any_company_and_order() -> None:
    rows = np.array([5, 0, 2**40, 17, -3])
    together = chance.bits(7, 3, rows, 6)
    for i, row in enumerate(rows):
        assert (chance.bits(7, 3, np.array([row]), 6) == together[i]).all()
    assert (chance.bits(7, 3, rows[::-1], 6) == together[::-1]).all()
    assert (chance.normal(7, 3, rows, 6)[1:2] == chance.normal(7, 3, rows[1:2], 6)).all()


def test_more_columns_leave_the_first_as_they_were() -> None:
    assert (chance.bits(1, 2, ROWS[:99], 9)[:, :4] == chance.bits(1, 2, ROWS[:99], 4)).all()


def test_uniform_is_uniform_and_never_0_or_1() -> None:
    u = chance.uniform(11, 4, ROWS, 3)
    assert u.min() > 0 and u.max() < 1
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 0.001
    # along the columns of one sample too
    assert stats.kstest(chance.uniform(11, 4, np.array([8]), N)[0], "uniform").pvalue > 0.001


def test_normal_has_the_moments_of_a_normal_cut_at_two_and_a_half() -> None:
    z = chance.normal(3, 1, ROWS, 2).ravel()
    assert np.abs(z).max() == 2.5
    assert abs((np.abs(z) == 2.5).mean() - 2 * stats.norm.sf(2.5)) < 3 * np.sqrt(0.0124 / len(z))
    assert abs(z.mean()) < 3 / np.sqrt(len(z))
    inside = np.abs(z) < 2.5
    assert stats.kstest(z[inside], stats.truncnorm(-2.5, 2.5).cdf).pvalue > 0.001


def test_seeds_streams_columns_and_neighbours_are_uncorrelated() -> None:
    base = chance.uniform(1, 1, ROWS, 2)
    others = [
        chance.uniform(2, 1, ROWS, 1)[:, 0],
        chance.uniform(1, 2, ROWS, 1)[:, 0],
        chance.uniform(1, 1 + 2**32, ROWS, 1)[:, 0],
        base[:, 1],
        np.roll(base[:, 0], 1),
        np.roll(base[:, 1], 1),
    ]
    for other in others:
        assert abs(np.corrcoef(base[:, 0], other)[0, 1]) < 3.5 / np.sqrt(N)


def test_seed_and_stream_do_not_stand_for_each_other() -> None:
    assert not (chance.bits(1, 2, ROWS[:50], 1) == chance.bits(2, 1, ROWS[:50], 1)).any()


def test_each_bit_is_even_and_one_bit_of_the_number_changes_half_of_them() -> None:
    values = chance.bits(5, 5, ROWS, 1)[:, 0]
    bits = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1)
    assert np.abs(bits.mean(0) - 0.5).max() < 4.5 * 0.5 / np.sqrt(N)  # the largest of 64
    for bit in (0, 7, 31):
        changed = values ^ chance.bits(5, 5, ROWS ^ (1 << bit), 1)[:, 0]
        flipped = np.unpackbits(changed.view(np.uint8)).mean()
        assert abs(flipped - 0.5) < 4 * 0.5 / np.sqrt(64 * N / 2)  # pairs are counted twice
