"""What the batches consist of: shares, coverage, schedules, ranks, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from classifier.mixing import REAL, Mix, MixSettings, Picks, Pool, training_classes
from classifier.shares import others_shown
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.store import SOURCES, Sample, Store, StoreWriter

FONT, GAN = SOURCES.index("font"), SOURCES.index("gan")
# six characters: two common, two rare, one few, one without a real image; two other characters
NAMES = ("a", "b", "c", "d", "e", "f", OTHER, "x", "y")
K, C = 6, len(NAMES)
IMAGES = {
    "real": [90, 60, 20, 20, 4, 0, 5, 0, 0],
    "font": [10, 10, 40, 40, 50, 60, 30, 40, 40],
    "gan": [5, 5, 40, 40, 50, 0, 10, 30, 30],
}


def pool(source: str, counts: list[int]) -> Pool:
    targets = np.repeat(np.arange(len(counts)), counts)
    targets = np.random.default_rng(1).permutation(targets)
    rows = np.arange(len(targets)) * 2 + 1  # not the same as places in the pool
    return Pool(source, rows, targets, np.full(len(targets), SOURCES.index(source)))


POOLS = [pool(source, counts) for source, counts in IMAGES.items()]


def mix(settings: MixSettings | None = None, pools: list[Pool] = POOLS, **other) -> Mix:
    arguments = {"seed": 3, "batch_size": 32, "total_steps": 400} | other
    return Mix.of(pools, NAMES, settings or MixSettings(), **arguments)


def shown(run: Mix, first: int = 0, end: int | None = None) -> Picks:
    """All places of some steps, one after the other."""
    parts = [run.batch(step) for step in range(first, end or run.total_steps)]
    fields = ("store", "source", "row", "target")
    return Picks(*(np.concatenate([getattr(p, name) for p in parts]) for name in fields))


def frequencies(picks: Picks) -> np.ndarray:
    counts = np.zeros((C, len(SOURCES)))
    np.add.at(counts, (picks.target, picks.source), 1)
    return counts / counts.sum()


@pytest.mark.parametrize("weigh", ["source", "image"])
@pytest.mark.parametrize("sampling", ["natural", "sqrt", "balanced"])
def test_shares_are_within_3_sigma_of_the_settings(sampling: str, weigh: str) -> None:
    settings = MixSettings({"real": 1, "font": 0.5, "gan": 2}, weigh, sampling, other_share=0.25)
    run = mix(settings)
    picks = shown(run)
    wanted = run.shares(0)
    sigma = np.sqrt(wanted * (1 - wanted) / len(picks))
    assert (np.abs(frequencies(picks) - wanted) <= 3 * sigma).all()
    np.testing.assert_allclose(wanted.sum(1), run.prior())
    # the rule, by hand
    images = np.array(list(IMAGES.values())).T  # [C, S]
    n = images.sum(1)[:K].astype(float)
    rule = {"natural": n, "sqrt": np.sqrt(n), "balanced": np.ones(K)}[sampling]
    np.testing.assert_allclose(run.prior()[:K], 0.75 * rule / rule.sum())
    weight = np.array([1, 0.5, 2]) * (images[2] if weigh == "image" else 1)
    np.testing.assert_allclose(wanted[2] / wanted[2].sum(), weight / weight.sum())


def test_a_place_goes_to_an_image_of_its_class_and_source() -> None:
    picks = shown(mix())
    for store, p in enumerate(POOLS):
        mine = picks.store == store
        place = np.searchsorted(p.rows, picks.row[mine])
        np.testing.assert_array_equal(p.rows[place], picks.row[mine])
        np.testing.assert_array_equal(p.targets[place], picks.target[mine])
        np.testing.assert_array_equal(p.sources[place], picks.source[mine])


def test_images_of_one_class_and_source_are_shown_equally_often() -> None:
    """At the end of a run no two differ by more than one."""
    run = mix(MixSettings(sampling="balanced"))
    picks = shown(run)
    for store, p in enumerate(POOLS):
        counts = np.zeros(p.rows.max() + 1)
        np.add.at(counts, picks.row[picks.store == store], 1)
        counts = counts[p.rows]
        assert counts.min() > 0  # coverage
        for target in range(C):
            if (p.targets == target).any():
                assert np.ptp(counts[p.targets == target]) <= 1


def test_natural_real_only_is_a_walk_through_permuted_passes() -> None:
    """128 images, batches of 32: every 4 steps show each image once."""
    alone = [pool("real", [40, 30, 20, 18, 10, 5, 5, 0, 0])]
    run = mix(MixSettings({"real": 1}, sampling="natural"), alone)
    passes = [shown(run, step, step + 4).row for step in range(0, 40, 4)]
    assert all(np.array_equal(np.sort(rows), alone[0].rows) for rows in passes)
    assert len({rows.tobytes() for rows in passes}) == len(passes)


def test_every_batch_is_near_the_wanted_share_of_other() -> None:
    run = mix(MixSettings(other_share=0.25))
    other = np.array([(run.batch(step).target >= K).sum() for step in range(run.total_steps)])
    assert np.abs(other - 8).max() <= 1
    assert run.prior()[K:].sum() == pytest.approx(0.25)
    # the unspecified go by their number, the named others by the rule
    assert run.prior()[K] == pytest.approx(0.25 * 45 / 185)


def test_other_without_a_share_counts_like_one_class() -> None:
    prior = mix(MixSettings(sampling="balanced")).prior()
    assert prior[K:].sum() == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weights": {"real": 1.0, "font": 0.0, "gan": 1.0}},
        {"source_weights": {OTHER: {"font": 0.0}}},
        {"source_weights": {OTHER: {"font": 0.0, "gan": 0.0}, "common": {"real": 0.0}}},
        {"kind_weights": {"blank": 0.0, "scribble": 0.5}},
        {"source_weights": {OTHER: {"gan": 0.0}}, "kind_weights": {"common": 0.0}},
    ],
)
def test_others_shown_are_those_that_a_mix_draws_from(changes: dict) -> None:
    rng = np.random.default_rng(2)
    kinds = ("blank", "scribble", "common")
    pools = [replace(p, kinds=rng.choice(kinds, len(p.rows))) for p in POOLS]
    settings = MixSettings(weigh="image", skip_empty=True, **changes)
    run = mix(settings, pools)
    mine = [(p.targets >= K) & others_shown(p.sources, p.kinds, settings) for p in pools]
    drawn = shown(run)
    assert sum(int(m.sum()) for m in mine) == run._counts[K:].sum()
    for store, (of, may) in enumerate(zip(pools, mine, strict=True)):
        rows = drawn.row[(drawn.store == store) & (drawn.target >= K)]
        assert set(rows.tolist()) <= set(of.rows[may].tolist())


def test_others_that_are_switched_off_do_not_make_a_share_of_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five real others would fill 35 % of every batch."""
    from classifier.config import PRESETS
    from classifier.setup import _other_share

    monkeypatch.setattr("classifier.setup.ENOUGH_OTHERS", 100)
    config = replace(PRESETS["small"], other_share=0.35)

    def share(**changes) -> float | None:
        return _other_share(config, POOLS, K, MixSettings(**changes))

    assert share() == 0.35  # 185 of them
    assert share(source_weights={OTHER: {"gan": 0.0}}) == 0.35  # 115
    assert share(source_weights={"few": {"font": 0.0, "gan": 0.0}}) == 0.35
    assert share(source_weights={OTHER: {"font": 0.0}}) is None  # 75
    assert share(weights={"real": 1.0, "font": 0.0, "gan": 1.0}) is None
    kinds = {"real": "unknown", "font": "blank", "gan": "common"}
    pools = [replace(p, kinds=np.full(len(p.rows), kinds[p.name])) for p in POOLS]
    assert _other_share(config, pools, K, MixSettings(kind_weights={"blank": 0.5})) == 0.35
    assert _other_share(config, pools, K, MixSettings(kind_weights={"blank": 0.0})) is None


def test_other_share_0_shows_no_other() -> None:
    assert mix(MixSettings(other_share=0.0)).prior()[K:].sum() == 0


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    one, two, elsewhere = mix(), mix(), mix(seed=4)
    for step in (399, 7, 0, 200):  # in any order
        np.testing.assert_array_equal(one.batch(step).row, two.batch(step).row)
        assert not np.array_equal(one.batch(step).row, elsewhere.batch(step).row)
    assert not np.array_equal(one.batch(0).row, one.batch(1).row)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_are_disjoint_and_make_the_batch(world: int) -> None:
    run = mix()
    whole = run.batch(5)
    parts = [run.batch(5, rank, world) for rank in range(world)]
    for name in ("store", "source", "row", "target"):
        joined = np.empty_like(getattr(whole, name))
        for rank, part in enumerate(parts):
            joined[rank::world] = getattr(part, name)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    with pytest.raises(InputError, match="32 cannot be shared equally by 3"):
        run.batch(0, 0, 3)


def test_the_end_is_real_only_where_there_are_real_images() -> None:
    run = mix(MixSettings(real_only_share=0.25))
    before, end = shown(run, 0, 300), shown(run, 300)
    has_real = np.isin(end.target, [0, 1, 2, 3, 4])
    assert (end.source[has_real] == REAL).all()
    assert (before.source != REAL).sum() > 0.5 * len(before)
    assert (end.source[end.target == 5] == FONT).all() and (end.target == 5).any()
    # "other" keeps its synthetic mix
    assert {FONT, GAN} <= set(end.source[end.target == K])
    # no class is shown more or less often than before
    np.testing.assert_allclose(run.shares(300).sum(1), run.shares(0).sum(1))


def test_the_synthetic_share_of_a_character_is_capped() -> None:
    run = mix(MixSettings(synthetic_cap=0.4))
    share = run.shares(0)
    synthetic = share[:, [FONT, GAN]].sum(1) / share.sum(1)
    np.testing.assert_allclose(synthetic[:5], 0.4)
    assert synthetic[5] == 1  # nothing else is there
    assert synthetic[K] == pytest.approx(2 / 3)
    # font and GAN keep their ratio
    np.testing.assert_allclose(share[:5, FONT], share[:5, GAN])
    run = mix(MixSettings(synthetic_cap=0.9))
    np.testing.assert_allclose(run.shares(0)[0, [FONT, GAN]].sum() / run.prior()[0], 2 / 3)


def test_a_cap_of_0_is_real_only() -> None:
    picks = shown(mix(MixSettings(synthetic_cap=0.0)))
    assert (picks.source[picks.target < 5] == REAL).all()


def test_the_schedule_goes_from_much_synthetic_to_the_weights() -> None:
    run = mix(MixSettings(synthetic_start=4.0))
    assert run.shares(0)[0, FONT] / run.shares(0)[0, REAL] == pytest.approx(4)
    assert run.shares(399)[0, FONT] / run.shares(399)[0, REAL] == pytest.approx(1)
    part = [(shown(run, a, a + 100).source != REAL).mean() for a in (0, 100, 200, 300)]
    assert part == sorted(part, reverse=True) and part[0] > part[3] + 0.1
    picks = shown(run)
    wanted = run._mean_shares()
    sigma = np.sqrt(wanted * (1 - wanted) / len(picks))
    assert (np.abs(frequencies(picks) - wanted) <= 3 * sigma + 1e-12).all()


def test_real_images_are_at_least_so_much_of_a_class_at_the_end() -> None:
    settings = MixSettings(weigh="image", other_share=0.25, real_share=0.5)
    run, plain = mix(settings), mix(replace(settings, real_share=0.0))
    last = run.total_steps - 1

    def real(mix: Mix, progress: float) -> np.ndarray:
        shares = mix.shares(round(progress * last))
        return shares[:, SOURCES.index("real")] / shares.sum(1)

    for progress, least in ((0.0, 0.0), (0.35, 0.0), (0.525, 0.25), (0.7, 0.5), (1.0, 0.5)):
        wanted = real(plain, progress)
        raised = (wanted > 0) & (wanted < least)
        wanted[raised] = least
        np.testing.assert_allclose(real(run, progress), wanted, atol=0.01)
        np.testing.assert_allclose(run.shares(round(progress * last)).sum(1), run.prior())
    # c to f: 20 of 100, 20 of 100, 4 of 104 and none; "other", of its unspecified images 5 of 45
    assert raised.tolist() == [False, False, True, True, True, False, True, False, False]
    end = run.shares(last)[2]  # font and GAN share what is left as before
    assert end[FONT] == pytest.approx(end[GAN])
    picks = shown(run, round(0.7 * run.total_steps))
    of_e = picks.source[picks.target == 4]
    assert (of_e == SOURCES.index("real")).mean() == pytest.approx(0.5, abs=0.04)


def test_synthetic_start_0_still_shows_what_has_no_real_image() -> None:
    first = mix(MixSettings(synthetic_start=0.0)).shares(0)
    assert first[5, FONT] > 0 and first[0, FONT] == 0
    assert first.sum() == pytest.approx(1)


def test_sample_weights_act_within_class_and_source() -> None:
    weights = [np.ones(len(p.rows)) for p in POOLS]
    hard, out = np.flatnonzero(POOLS[0].targets == 0)[:2]
    weights[0][hard], weights[0][out] = 10, 0
    plain = mix(total_steps=2000)
    run = plain.with_weights(weights)
    np.testing.assert_allclose(run.shares(0)[:, FONT], plain.shares(0)[:, FONT], rtol=0.01)
    picks = shown(run)
    mine = picks.row[(picks.store == 0) & (picks.target == 0)]
    assert (mine == POOLS[0].rows[out]).sum() == 0
    wanted = 10 / (10 + 88)
    sigma = np.sqrt(wanted * (1 - wanted) / len(mine))
    assert abs((mine == POOLS[0].rows[hard]).mean() - wanted) <= 3 * sigma
    np.testing.assert_array_equal(run.with_weights(None).batch(9).row, plain.batch(9).row)


def test_group_and_class_weights_say_how_often_a_class_is_shown() -> None:
    settings = MixSettings(
        sampling="balanced", group_weights={"rare": 2.0, "other": 3.0}, class_weights={"a": 0.5}
    )
    run = mix(settings)
    # a and b common, c and d rare, e few, f none, and "other"
    wanted = np.array([0.5, 1, 2, 2, 1, 1, 3]) / 10.5
    prior = run.prior()
    np.testing.assert_allclose([*prior[:K], prior[K:].sum()], wanted)
    counts = np.bincount(shown(run).target, minlength=C) / (32 * 400)
    assert (np.abs(counts - prior) <= 3 * np.sqrt(prior * (1 - prior) / (32 * 400))).all()
    # a given share of "other" stands, whatever its weight
    fixed = mix(MixSettings(other_share=0.25, group_weights={"other": 3.0, "common": 0.0}))
    assert fixed.prior()[K:].sum() == pytest.approx(0.25) and fixed.prior()[:2].sum() == 0


def test_a_class_belongs_to_the_group_of_the_images_that_are_left_in_it() -> None:
    """c has 20 real images, of which cleaning leaves 6: from then on it is as e, one of the few."""
    settings = MixSettings(sampling="balanced", group_weights={"few": 3.0})
    run = mix(settings)
    c, e = NAMES.index("c"), NAMES.index("e")
    assert run.prior()[e] == pytest.approx(3 * run.prior()[c])
    weights = [np.ones(len(p.rows)) for p in POOLS]
    weights[0][np.flatnonzero(POOLS[0].targets == c)[6:]] = 0
    cleaned = run.with_weights(weights)
    assert cleaned.prior()[c] == pytest.approx(cleaned.prior()[e])
    assert run.table() == mix(settings).table()  # what was printed at the start stays


def test_unspecified_others_go_by_images_times_weight_where_images_are_weighed() -> None:
    """5 real, 30 font and 10 GAN images show nothing named; 80 font and 60 GAN ones two others."""
    weights = {"real": 3.0, "font": 1.0, "gan": 0.5}
    for weigh, wanted in (
        ("image", (5 * 3 + 30 + 10 * 0.5) / (5 * 3 + 30 + 10 * 0.5 + 80 + 60 * 0.5)),
        ("source", (5 + 30 + 10) / (5 + 30 + 10 + 80 + 60)),
    ):
        run = mix(MixSettings(weights, weigh, other_share=0.4))
        assert run.prior()[K] == pytest.approx(0.4 * wanted)
        assert run.prior()[K:].sum() == pytest.approx(0.4)


def test_source_weights_switch_a_source_off_for_a_group_or_a_class() -> None:
    settings = MixSettings(
        {"real": 1, "font": 2, "gan": 1},
        source_weights={"common": {"font": 0.0}, "c": {"gan": 0.5}, OTHER: {"real": 0.0}},
    )
    run = mix(settings)
    share = run.shares(0) / run.prior()[:, None]
    np.testing.assert_allclose(share[0], [0.5, 0, 0.5])
    np.testing.assert_allclose(share[2], np.array([1, 2, 0.5]) / 3.5)
    np.testing.assert_allclose(share[3], [0.25, 0.5, 0.25])
    assert share[K, REAL] == 0
    picks = shown(run)
    assert not ((picks.target < 2) & (picks.source == FONT)).any()
    wanted = run.shares(0)
    sigma = np.sqrt(wanted * (1 - wanted) / len(picks))
    assert (np.abs(frequencies(picks) - wanted) <= 3 * sigma).all()
    assert "font    common" not in run.table()


def test_two_stores_of_one_source_are_one_pool() -> None:
    halves = [pool("font", [n // 2 for n in IMAGES["font"]]) for _ in range(2)]
    np.testing.assert_allclose(mix(pools=[POOLS[0], *halves, POOLS[2]]).shares(0), mix().shares(0))


def test_the_table_adds_up() -> None:
    text = mix(MixSettings(real_only_share=0.1)).table(steps_per_epoch=100)
    head, *lines = text.splitlines()
    assert head.split() == ["source", "classes", "images", "share", "repeats/run", "/epoch"]
    rows = [line.split() for line in lines]
    assert rows[0][:4] == ["real", "common", "(2)", "150"]
    assert {(r[0], r[1]) for r in rows} >= {("real", "few"), ("font", "none"), ("gan", "other")}
    assert ("real", "none") not in {(r[0], r[1]) for r in rows}
    images = sum(int(r[3]) for r in rows)
    assert images == sum(sum(counts) for counts in IMAGES.values())
    assert sum(float(r[4].rstrip("%")) for r in rows) == pytest.approx(100, abs=0.6)
    places = sum(int(r[3]) * float(r[5]) for r in rows)
    assert places == pytest.approx(32 * 400, rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pools": []}, "nothing to train on: no store"),
        ({"pools": [Pool("runs/x", *[np.array([], np.int64)] * 3)]}, "runs/x: not one image"),
        ({"settings": MixSettings({"real": 0.0})}, "nothing to train on: no image of a source"),
        ({"settings": MixSettings({"real": 1.0})}, "1 of 6 characters have no image.*: f;"),
        ({"pools": [pool("real", [5] * 10)]}, "row 15: class 9 is outside the alphabet"),
        ({"total_steps": 0}, "at least 1"),
        ({"settings": MixSettings(class_weights={"z": 1.0})}, "class_weights: 'z' is no class"),
        (
            {"settings": MixSettings(source_weights={"z": {"font": 1.0}})},
            "source_weights: 'z' is no class",
        ),
        (
            {"settings": MixSettings(source_weights={"none": {"font": 0.0}})},
            "1 of 6 characters have no image.*: f;",
        ),
        (
            {"settings": MixSettings(class_weights=dict.fromkeys(NAMES[: K + 1], 0.0))},
            "every class has a weight of 0",
        ),
        (
            {"settings": MixSettings(other_share=0.1), "pools": [pool("font", [5] * 6)]},
            "no image of 'other'",
        ),
    ],
)
def test_what_cannot_be_mixed_is_an_error(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mix(**change)


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": {"fonts": 1.0}},
        {"weights": {"real": -1.0}},
        {"other_share": 1.5},
        {"synthetic_cap": float("nan")},
        {"sampling": "equal"},
        {"weigh": "sources"},
        {"group_weights": {"commons": 1.0}},
        {"group_weights": {"common": -1.0}},
        {"class_weights": {"a": float("nan")}},
        {"kind_weights": {"confusables": 1.0}},
        {"kind_weights": {"confusable": -0.5}},
        {"source_weights": {"common": {"fonts": 1.0}}},
        {"source_weights": {"a": {"font": float("inf")}}},
    ],
)
def test_wrong_settings_are_an_error(settings: dict) -> None:
    with pytest.raises(InputError):
        MixSettings(**settings)


def test_sample_weights_that_leave_a_class_empty_are_an_error() -> None:
    weights = [np.ones(len(p.rows)) for p in POOLS]
    weights[1][POOLS[1].targets == 5] = 0
    with pytest.raises(InputError, match="no image to train on: f;"):
        mix().with_weights(weights)
    weights[1][0] = np.nan
    with pytest.raises(InputError, match="font, row 1: sample weight nan"):
        mix().with_weights(weights)
    with pytest.raises(ValueError, match="sample weights"):
        mix().with_weights(weights[:2])


def test_a_character_without_images_can_be_skipped() -> None:
    run = mix(MixSettings({"real": 1.0}, skip_empty=True))
    assert run.prior()[5] == 0 and run.prior().sum() == pytest.approx(1)
    assert "1 characters have no image" in run.table()


def write_store(path: Path, samples: list[Sample]) -> Store:
    alphabet = Alphabet.of("ab")
    with StoreWriter(path, Canvas(8, 1), alphabet, {}) as writer:
        writer.append(np.zeros((len(samples), 8, 8), np.uint8), samples)
    return Store.open(path)


def test_training_classes_name_what_synthetic_others_show(tmp_path: Path) -> None:
    real = write_store(
        tmp_path / "real",
        [Sample("b", "b", "real"), Sample(OTHER, "", "real"), Sample("a", "a", "real", "val")],
    )
    font = write_store(
        tmp_path / "font",
        [
            Sample(OTHER, "z", "font", kind="common"),
            Sample(OTHER, "c", "font", kind="confusable"),
            Sample(OTHER, "c", "font", kind="cut"),  # no whole character
            Sample(OTHER, "a", "font", kind="listed"),  # one of the alphabet's
            Sample(OTHER, "", "font", kind="blank"),
            Sample(OTHER, "q", "font", "val", kind="common"),  # not in any training row
            Sample("a", "a", "font"),
        ],
    )
    names, targets = training_classes(real.alphabet, [real, font])
    assert names == ("c", "z")
    np.testing.assert_array_equal(targets[0], [1, 2, 0])
    np.testing.assert_array_equal(targets[1], [4, 3, 2, 2, 2, 2, 0])
    p = Pool.of(font, targets[1])
    np.testing.assert_array_equal(p.rows, [0, 1, 2, 3, 4, 6])
    np.testing.assert_array_equal(p.targets, [4, 3, 2, 2, 2, 0])
    assert p.kinds.tolist() == ["common", "confusable", "cut", "listed", "blank", "character"]
    assert (p.sources == FONT).all()


def test_a_label_outside_the_alphabet_and_an_empty_split_are_errors(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", [Sample("a", "a", "real"), Sample("b", "b", "real")])
    with pytest.raises(InputError, match="row 1: label 'b' is not in the alphabet"):
        training_classes(Alphabet.of("a"), [store])
    only_val = write_store(tmp_path / "v", [Sample("a", "a", "real", "val")])
    with pytest.raises(InputError, match="not one image to train on"):
        Pool.of(only_val, np.zeros(1, np.int64))


def kinds_of(pools: list[Pool]) -> list[Pool]:
    """Named others are confusable (x) or common (y), the others blank and scribble in turn."""
    result = []
    for part in pools:
        kinds = np.array(["character"] * len(part.rows), dtype="U10")
        kinds[part.targets == K + 1], kinds[part.targets == K + 2] = "confusable", "common"
        rest = np.flatnonzero(part.targets == K)
        kinds[rest] = np.where(np.arange(len(rest)) % 2, "scribble", "blank")
        if part.name == "real":
            kinds[rest] = "unknown"
        result.append(replace(part, kinds=kinds))
    return result


def shown_kinds(run: Mix) -> dict[str, float]:
    """Share of each kind among the images of "other" that are shown."""
    picks = shown(run)
    kinds = np.concatenate(
        [
            run.pools[s].kinds[np.searchsorted(run.pools[s].rows, picks.row[picks.store == s])]
            for s in range(len(run.pools))
        ]
    )
    target = np.concatenate([picks.target[picks.store == s] for s in range(len(run.pools))])
    kinds = kinds[target >= K]
    return {k: float((kinds == k).mean()) for k in sorted(set(kinds))}


@pytest.mark.parametrize("weigh", ["source", "image"])
def test_without_kind_weights_every_batch_is_as_if_there_were_no_kinds(weigh: str) -> None:
    for weights in ({}, {"confusable": 1.0, "scribble": 1.0}):
        plain = mix(MixSettings(weigh=weigh))
        run = mix(MixSettings(weigh=weigh, kind_weights=weights), kinds_of(POOLS))
        np.testing.assert_array_equal(run.prior(), plain.prior())
        for step in (0, 7, 399):
            for name in ("store", "source", "row", "target"):
                a, b = (getattr(m.batch(step), name) for m in (run, plain))
                np.testing.assert_array_equal(a, b)


def test_kind_weights_say_how_often_the_images_of_a_kind_are_shown_inside_other() -> None:
    base = MixSettings(weigh="image", sampling="natural", other_share=0.5)
    pools = kinds_of(POOLS)
    before = shown_kinds(mix(base, pools))
    weights = {"confusable": 2.0, "scribble": 0.5}
    run = mix(replace(base, kind_weights=weights), pools)
    wanted = {k: s * weights.get(k, 1.0) for k, s in before.items()}
    after = shown_kinds(run)
    for kind, share in wanted.items():
        assert after[kind] == pytest.approx(share / sum(wanted.values()), abs=0.02), kind
    # "other" as a whole and the known classes stay
    np.testing.assert_allclose(run.prior()[:K], mix(base, pools).prior()[:K])
    assert run.prior()[K:].sum() == pytest.approx(0.5)
    # weights of single samples come on top
    again = run.with_weights([np.ones(len(p.rows)) for p in pools])
    np.testing.assert_array_equal(again.batch(5).row, run.batch(5).row)


def test_a_kind_of_weight_0_is_not_shown() -> None:
    for sampling in ("natural", "sqrt", "balanced"):
        settings = MixSettings(
            sampling=sampling, kind_weights={"common": 0.0, "blank": 0.0, "unknown": 0.0}
        )
        run = mix(settings, kinds_of(POOLS))
        assert set(shown_kinds(run)) == {"confusable", "scribble"}
        assert run.prior()[K + 2] == 0
    everything = dict.fromkeys(("common", "blank", "unknown", "confusable", "scribble"), 0.0)
    with pytest.raises(InputError, match="no image of 'other'"):
        mix(MixSettings(other_share=0.1, kind_weights=everything), kinds_of(POOLS))


def test_a_known_character_is_not_weighed_by_its_kind() -> None:
    run = mix(MixSettings(kind_weights={"character": 0.0}), kinds_of(POOLS))
    assert (run.prior()[:K] > 0).all()


def test_a_runs_kind_weights_reach_its_mix(tmp_path: Path) -> None:
    from classifier.config import PRESETS
    from classifier.setup import prepare

    real = write_store(tmp_path / "real", [Sample(c, c, "real", "train") for c in "aabb"])
    kinds = ["blank", "scribble", "common"] * 20
    font = write_store(
        tmp_path / "font",
        [Sample(OTHER, "z" if k == "common" else "", "font", kind=k) for k in kinds],
    )
    weights = {"blank": 0.0, "common": 2.0}
    setup = prepare(real, [font], replace(PRESETS["demo"], kind_weights=weights), 1, None)
    assert setup.mix.settings.kind_weights == weights
    picks = setup.mix.batch(0)
    shown = np.array(kinds)[picks.row[picks.store == 1]]
    assert "blank" not in shown and {"scribble", "common"} <= set(shown)
