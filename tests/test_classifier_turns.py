"""Images of a class and source take turns, through a whole run however it is cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest

from classifier.mixing import Mix, MixSettings, Pool
from classifier.turns import take_turns
from synth.alphabet import OTHER
from synth.store import SOURCES

NAMES = ("a", "b", "c", "d", OTHER, "x")
IMAGES = {"real": [90, 40, 9, 2, 10, 0], "font": [200, 150, 120, 90, 60, 50], "gan": [70] * 6}
BATCH, STEPS = 16, 320


def pool(source: str, counts: list[int]) -> Pool:
    targets = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    numbers = np.full(len(targets), SOURCES.index(source))
    return Pool(source, np.arange(len(targets)), targets, numbers)


POOLS = [pool(source, counts) for source, counts in IMAGES.items()]


def mix(**settings: float) -> Mix:
    given = {"weights": {"real": 9, "font": 1, "gan": 1}, "weigh": "image", "other_share": 0.3}
    return Mix.of(
        POOLS,
        NAMES,
        MixSettings(**given | settings),
        seed=5,
        batch_size=BATCH,
        total_steps=STEPS,
    )


def shown(run: Mix, first: int = 0, end: int = STEPS) -> list[np.ndarray]:
    """For each pool [n]: how often each of its images comes."""
    counts = [np.zeros(len(p.rows), int) for p in POOLS]
    for step in range(first, end):
        picks = run.batch(step)
        for store, count in enumerate(counts):
            np.add.at(count, picks.row[picks.store == store], 1)
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"synthetic_start": 3.0, "real_share": 0.5},
        {"synthetic_start": 3.0, "real_only_share": 0.3},
    ],
)
def test_a_run_shows_the_images_of_a_class_and_source_equally_often(settings: dict) -> None:
    run = mix(**settings)
    blocks = {run._block_of(step) for step in range(STEPS)}
    longest = max(steps for _, steps in blocks)
    if settings:  # a schedule cuts blocks so short that none shows every image
        assert longest * BATCH < sum(map(sum, IMAGES.values())) / 2 and len(blocks) >= 16
    for p, counts in zip(POOLS, shown(run), strict=True):
        for target in range(len(NAMES)):
            if (p.targets == target).any():
                assert np.ptp(counts[p.targets == target]) <= 1


def test_at_the_end_of_every_block_no_two_differ_by_more_than_one() -> None:
    """Not only at the run's end; inside a block images come in any order."""
    run, real = mix(synthetic_start=3.0), POOLS[0]
    counts = np.zeros(len(real.rows), int)
    blocks = sorted({run._block_of(step) for step in range(STEPS)})
    assert len(blocks) >= 16
    for first, steps in blocks:
        counts += shown(run, first, first + steps)[0]
        for target in range(5):
            assert np.ptp(counts[real.targets == target]) <= 1


def test_any_step_can_be_asked_for() -> None:
    whole, late = mix(synthetic_start=3.0), mix(synthetic_start=3.0)
    wanted = [whole.batch(step).row for step in range(STEPS)]
    for step in (STEPS - 1, 3, 200, 199, 0, 250):
        np.testing.assert_array_equal(late.batch(step).row, wanted[step])


def test_weights_say_how_often_within_a_turn() -> None:
    rng = np.random.default_rng(0)
    cell = np.repeat([0, 1, 2], [50, 30, 20])
    weight = rng.uniform(0.2, 3, 100)
    weight[::7] = 0
    size = np.bincount(cell[weight > 0])
    cells, places = np.array([2, 0]), 40 * size[[2, 0]]
    picked = take_turns(cell, weight, cells, places, np.array([0, 0]), 1)
    np.testing.assert_array_equal(cell[picked], np.repeat(cells, places))
    counts = np.bincount(picked, minlength=100)
    for c in cells:
        mine = cell == c
        wanted = 40 * size[c] * weight[mine] / weight[mine].sum()
        # in each of 40 turns the floor or the ceiling of what is expected: within 4 sigma of that
        assert (np.abs(counts[mine] - wanted) <= 4 * np.sqrt(40) / 2).all()
        assert (counts[mine & (weight == 0)] == 0).all()
    assert (counts[cell == 1] == 0).all()


def test_a_turn_goes_on_where_the_block_before_stopped() -> None:
    cell, weight = np.zeros(10, np.int64), np.ones(10)

    def take(places: int, before: int) -> list[int]:
        only = np.array([0])
        return take_turns(cell, weight, only, only + places, only + before, 3).tolist()

    whole = take(30, 0)
    assert take(4, 0) + take(13, 4) + take(13, 17) == whole
    turns = [whole[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(turn) == list(range(10)) for turn in turns)
    assert turns[0] != turns[1] != turns[2]


def test_a_turn_is_the_same_whichever_others_have_places_beside_it() -> None:
    """Weights differ, so where a turn's places lie on its line says which images it shows."""
    cell = np.repeat([0, 1, 5], 10)
    weight = np.random.default_rng(2).uniform(0.2, 3, 30)

    def take(cells: list[int], places: list[int], before: list[int]) -> list[int]:
        given = map(np.array, (cells, places, before))
        return take_turns(cell, weight, *given, 3).tolist()[: places[0]]

    whole = take([0, 1, 5], [40, 7, 4], [0, 0, 0])
    first, then = take([0, 5], [13, 3], [0, 0]), take([0], [14], [13])
    assert [*first, *then, *take([0, 1], [13, 2], [27, 0])] == whole
