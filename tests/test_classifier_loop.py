"""The closed loop: needs, quota, intervals, verdicts, and a plan that goes on where it stopped."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import ROOT, draw_strokes

from classifier.evaluate import evaluate
from classifier.loop import paired
from classifier.loop.answers import ArmAnswers
from classifier.loop.needs import needs_of, quota_of, table_of, write_needs
from classifier.loop.paired import change_of
from classifier.loop.plan import BOTH, FONT, GAN, REAL, Loop, split_options
from classifier.loop.section import _count, verdict_section
from classifier.loop.verdict import (
    ABOUT_OTHER,
    FEWEST,
    HELPED,
    HURT,
    NOTHING,
    Verdict,
    judge,
    off_by_group,
    switched_off,
    tally,
    verdicts_of,
    write_verdicts,
)
from classifier.loop.verdict import table_of as verdict_table
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.errors import InputError
from synth.store import Sample, Store, StoreWriter

ABC = Alphabet.of("ABC")
REAL_COUNTS = {"A": 60, "B": 20, "C": 4, OTHER: 30}


def _arm(alphabet, row, target, answer, best=None) -> ArmAnswers:
    return ArmAnswers(alphabet, row, target, answer, answer if best is None else best)


def simulated(
    rng: np.random.Generator, seeds: int, images: int, effect: float, of_seed: float
) -> np.ndarray:
    """[S, N] changes -1, 0, 1 of mean `effect`: images differ in how open they are to a change,
    seeds in how much they change."""
    opened = rng.random(images) < 0.4  # the same images for every seed
    up = effect / 0.4 + rng.normal(0, of_seed, seeds)[:, None]
    p_up = np.clip(0.3 + up / 2, 0, 1)
    p_down = np.clip(0.3 - up / 2, 0, 1)
    u = rng.random((seeds, images))
    return np.where(u < p_up, 1, np.where(u > 1 - p_down, -1, 0)) * opened


def test_the_interval_is_that_of_a_bootstrap_done_one_draw_after_the_other() -> None:
    rng = np.random.default_rng(3)
    own = simulated(rng, 3, 40, 0.1, 0.4)
    alarms = np.zeros((3, 300), np.int8)
    alarms[:, ::50] = rng.integers(-1, 2, (3, 6))  # most others are read as before
    found = change_of(own, alarms, np.random.default_rng(1), 20_000)
    # image by image, the residual of the means of its seed and of itself
    chance = 0.0
    for part in (own, alarms):
        n = part.shape[1]
        rest = [
            part[s, i] - part[:, i].mean() - part[s].mean() + part.mean()
            for s in range(3)
            for i in range(n)
        ]
        chance += n * sum(r * r for r in rest) / (2 * (n - 1))
    of_seeds = np.var(own.sum(1) - alarms.sum(1), ddof=1) - chance
    assert of_seeds > 0
    totals = []
    for _ in range(20_000):
        mine = own[:, rng.integers(0, 40, 39)].mean()
        others = alarms[:, rng.integers(0, 300, 299)].mean()
        seed = rng.standard_t(2) * np.sqrt(of_seeds / 3) / 40
        totals.append(mine - others * 300 / 40 + seed)
    assert found.mean == pytest.approx(own.mean() - alarms.mean(0).sum() / 40)
    # Student's t with 2 degrees has long tails: quantiles of 20,000 draws differ by that much
    low, high = np.quantile(totals, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.06 * (high - low))
    assert found.high == pytest.approx(high, abs=0.06 * (high - low))
    assert found.images == 40
    assert found.changed == (own.sum(0) != 0).sum() + (alarms.sum(0) != 0).sum()


@pytest.mark.parametrize("effect, of_seed", [(0.0, 0.0), (0.15, 0.0), (0.1, 0.1)])
def test_95_of_100_intervals_hold_the_true_effect(effect: float, of_seed: float) -> None:
    rng = np.random.default_rng(7)
    runs, none = 400, np.zeros((3, 1))
    found = [change_of(simulated(rng, 3, 60, effect, of_seed), none, rng, 600) for _ in range(runs)]
    covered = np.mean([f.low <= effect <= f.high for f in found])
    # 3 sigma of 400 are 3.3 points, either way: one that is too wide would tell too little
    assert 0.95 - 0.033 <= covered <= 0.95 + 0.033
    # without bias
    means = np.array([f.mean for f in found])
    assert abs(means.mean() - effect) < 3 * means.std() / np.sqrt(runs)


def test_few_images_seldom_give_a_verdict_where_there_is_no_effect() -> None:
    rng = np.random.default_rng(11)
    none, runs = np.zeros((3, 1)), 600
    for images in (8, 20):
        found = [
            change_of(simulated(rng, 3, images, 0.0, 0.0), none, rng, 600) for _ in range(runs)
        ]
        told = np.mean([judge(f.low, f.high, f.images, f.changed) != NOTHING for f in found])
        assert told <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


def test_one_seed_and_the_same_interval_twice() -> None:
    own = simulated(np.random.default_rng(5), 1, 50, 0.2, 0.0)
    one, two = (change_of(own, np.zeros((1, 0)), np.random.default_rng(2)) for _ in range(2))
    assert one == two and one.low < one.mean < one.high


@pytest.mark.parametrize(
    "low, high, images, changed, verdict",
    [
        (0.01, 0.2, FEWEST, FEWEST, HELPED),
        (-0.2, -0.01, FEWEST, FEWEST, HURT),
        (0.0, 0.2, 100, 50, NOTHING),  # holds 0
        (-0.2, 0.0, 100, 50, NOTHING),
        (-0.1, 0.1, 100, 50, NOTHING),
        (0.5, 1.0, FEWEST - 1, FEWEST, NOTHING),  # too few images
        (-1.0, -0.5, FEWEST - 1, FEWEST, NOTHING),
        (0.5, 1.0, 100, FEWEST - 1, NOTHING),  # too few answers changed
    ],
)
def test_when_there_is_a_verdict(
    low: float, high: float, images: int, changed: int, verdict: str
) -> None:
    assert judge(low, high, images, changed) == verdict


def arm(answer: np.ndarray, target: np.ndarray) -> ArmAnswers:
    """Two seeds that answer the same."""
    return _arm(ABC, np.arange(len(target)), target, np.stack([answer, answer]))


TARGET = np.repeat(np.arange(4), 20)


def answers_with(**wrong: dict[str, tuple[int, int]]) -> np.ndarray:
    """All right, but the first n images of a class get another answer."""
    answer = TARGET.copy()
    for label, (n, other) in wrong.items():
        first = 20 * "ABCo".index(label)
        answer[first : first + n] = other
    return answer


def of_class(verdicts: list[Verdict], label: str, source: str) -> Verdict:
    return next(v for v in verdicts if (v.label, v.source) == (label, source))


def test_a_source_helps_one_class_hurts_another_and_leaves_a_third() -> None:
    arms = {
        REAL: arm(answers_with(A=(12, 2)), TARGET),
        FONT: arm(answers_with(B=(12, 3)), TARGET),
    }
    found = verdicts_of(arms, REAL_COUNTS)
    a, b, c = (of_class(found, label, FONT) for label in "ABC")
    assert (a.verdict, b.verdict) == (HELPED, HURT)
    assert (a.gain, a.right, a.images, a.changed) == (0.6, 0.6, 20, 12)
    # C was called 12 times where A stood, and is no more: that is a gain of C
    assert c.gain == 0.6 and c.right == 0 and c.changed == 12 and c.verdict == HELPED
    # "other" lost no image, but 12 of B are called other: false alarms
    other = of_class(found, OTHER, FONT)
    assert other.gain == -0.6 and other.verdict == HURT
    assert {v.source for v in found} == {FONT}
    # whom others like those seen are lost for, characters never seen may gain: it is told, not used
    assert switched_off(found) == {"B": {FONT: 0.0}}
    assert verdict_table(found).splitlines()[-1] == ABOUT_OTHER
    known = of_class(found, "known", FONT)
    assert known.gain == 0.0 and known.verdict == NOTHING and known.images == 60
    assert (a.group, b.group, c.group, known.group) == ("common", "rare", "few", "")


def test_a_source_that_sees_a_character_in_other_does_not_help_it() -> None:
    greedy = answers_with(A=(2, 1), o=(18, 0))  # 8 right answers more, 18 others called A
    arms = {REAL: arm(answers_with(A=(10, 1)), TARGET), FONT: arm(greedy, TARGET)}
    found = verdicts_of(arms, REAL_COUNTS)
    a, other = of_class(found, "A", FONT), of_class(found, OTHER, FONT)
    # the two that neither reads as A may not be A
    assert a.gain == pytest.approx((8 - 18) / 18) and a.verdict != HELPED and a.doubted == 2
    assert other.gain == pytest.approx(-18 / 20) and other.verdict == HURT


def test_the_mean_of_both_comparisons_of_a_source_counts() -> None:
    low, high = answers_with(A=(12, 3)), answers_with()
    arms = {
        REAL: arm(low, TARGET),
        FONT: arm(high, TARGET),
        GAN: arm(low, TARGET),
        BOTH: arm(high, TARGET),
    }
    found = verdicts_of(arms, REAL_COUNTS)
    assert of_class(found, "A", FONT).gain == 0.6
    gan = of_class(found, "A", GAN)
    # no answer changed, of twenty: that is a verdict, not too little to tell
    assert gan.gain == 0.0 and gan.verdict == NOTHING and gan.enough
    # alone each lifts A, beside the other none does: half of it counts
    arms |= {GAN: arm(high, TARGET), BOTH: arm(high, TARGET)}
    found = verdicts_of(arms, REAL_COUNTS)
    assert of_class(found, "A", FONT).gain == of_class(found, "A", GAN).gain == 0.3


def test_a_class_with_too_few_images_has_its_groups_verdict() -> None:
    """Six classes of the group "few" with two images each, one with none, and a common one."""
    from classifier.report import environment

    alphabet = Alphabet.of("ABCDEFGH")
    target = np.concatenate([np.repeat(np.arange(6), 2), np.full(20, 7), np.full(10, 8)])
    counts = dict.fromkeys("ABCDEFG", 4) | {"H": 60, OTHER: 30}
    without = target.copy()
    without[:12:2] = 8  # one of the two images of each, the seventh has none
    arms = {
        REAL: _arm(alphabet, np.arange(len(target)), target, np.stack([without] * 2)),
        FONT: _arm(alphabet, np.arange(len(target)), target, np.stack([target] * 2)),
    }
    found = verdicts_of(arms, counts)
    few = of_class(found, "few", FONT)
    assert few.verdict == HELPED and few.images == 12 and few.changed == 6
    for label in "ABCDEF":
        v = of_class(found, label, FONT)
        assert (v.verdict, v.by_group, v.enough, v.images) == (HELPED, True, False, 2)
    unseen = of_class(found, "G", FONT)
    assert (unseen.verdict, unseen.by_group, unseen.images, unseen.real) == (HELPED, True, 0, 4)
    # twenty images of which no answer changed: that is a verdict of its own
    common = of_class(found, "H", FONT)
    assert (common.verdict, common.by_group) == (NOTHING, False)
    n = tally(found, FONT)
    assert (n["helped"], n["nothing"], n["few"]) == (1, 1, 7)
    assert n["group"] == {HELPED: 7, HURT: 0, NOTHING: 0}
    assert "7 helped" in verdict_table(found)
    # the other way round it hurts, and is switched off for all of them
    hurt = verdicts_of({REAL: arms[FONT], FONT: arms[REAL]}, counts)
    off = switched_off(hurt)
    assert off == {c: {FONT: 0.0} for c in "ABCDEFG"}
    assert off_by_group(hurt, off) == {c: [FONT] for c in "ABCDEFG"}
    # but not where a class's own images, though too few, say otherwise
    own = [replace(v, gain=0.5) if v.label == "B" else v for v in hurt]
    assert switched_off(own) == {c: {FONT: 0.0} for c in ("A", *"CDEFG")}
    shown = {"seeds": 2, "fewest": FEWEST, "off": {}, "groups": [few], "classes": found}
    shown |= {"marks": {HELPED: "good", HURT: "bad", NOTHING: ""}}
    shown |= {"doubted": 0, "about_other": ABOUT_OTHER}
    shown["sources"] = [{"source": FONT, "by_chance": 0.1} | n]
    page = environment().from_string('{% import "verdict.html.j2" as v %}{{ v.section(verdict) }}')
    text = page.render(verdict=shown)
    assert text.count("as its group") == 7 and "7 helped" in text
    shown |= {"off": {"A": [FONT], "H": [FONT]}, "off_by_group": {"A": [FONT], "H": []}}
    assert page.render(verdict=shown).count("(font by its group)") == 1


def test_images_whose_label_every_arm_doubts_count_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six of the seven images filed under C, a class of few, show A. Without font images a network
    reads now and then, by chance, what they are filed under; with them it reads A."""
    target = np.repeat([0, 2, 3], [20, 7, 20])
    without, with_font = np.stack([target] * 3), np.stack([target] * 3)
    wrong = np.arange(20, 26)
    without[:, wrong], with_font[:, wrong] = 1, 0
    for seed in range(3):
        without[seed, wrong[2 * seed : 2 * seed + 2]] = 2
    without[:, -3:] = with_font[:, -3:] = 0  # others that all take for A: errors, no wrong labels
    arms = {
        REAL: _arm(ABC, np.arange(47), target, without),
        FONT: _arm(ABC, np.arange(47), target, with_font),
    }
    found = verdicts_of(arms, REAL_COUNTS)
    c, other = of_class(found, "C", FONT), of_class(found, OTHER, FONT)
    assert (c.images, c.doubted, c.changed, c.verdict, c.enough) == (1, 6, 0, NOTHING, False)
    assert (other.images, other.doubted) == (20, 0)
    assert {v.verdict for v in found} == {NOTHING} and switched_off(found) == {}
    assert "6 validation images are left out" in verdict_table(found)
    # one more run that reads them as they are filed, of three, and they stay
    without[[1, 2, 0, 2, 0, 1], wrong] = 2
    assert of_class(verdicts_of(arms, REAL_COUNTS), "C", FONT).images == 7
    without[[1, 2, 0, 2, 0, 1], wrong] = 1
    # believed, they would say that the font images hurt A and C
    monkeypatch.setattr("classifier.loop.verdict.doubted", lambda arms: np.zeros(47, bool))
    believed = verdicts_of(arms, REAL_COUNTS)
    assert switched_off(believed) == {"A": {FONT: 0.0}, "C": {FONT: 0.0}}


def test_a_threshold_of_its_own_neither_helps_nor_hurts() -> None:
    """A run without others has none; one with them calls some known images other by design."""
    target = np.repeat([0, 1, 3], [40, 40, 20])
    called = target.copy()
    called[:8] = called[40:48] = 3  # still read right among the known
    both = np.stack([target, target])
    arms = {
        REAL: _arm(ABC, np.arange(100), target, both),
        FONT: _arm(ABC, np.arange(100), target, np.stack([called, called]), both),
    }
    found = verdicts_of(arms, REAL_COUNTS)
    for label in ("known", "A", "B"):
        (v,) = (v for v in found if v.label == label)
        assert (v.verdict, v.gain, v.changed) == (NOTHING, 0, 0)
    (other,) = (v for v in found if v.label == OTHER and v.group)
    assert other.verdict == HURT and other.gain == pytest.approx(-16 / 20)


def test_a_class_of_which_every_image_is_doubted_has_too_few() -> None:
    target = np.repeat([0, 1, 3], [20, 8, 20])
    answer = np.where(target == 1, 0, target)
    found = verdicts_of({REAL: arm(answer, target), FONT: arm(answer, target)}, REAL_COUNTS)
    b = of_class(found, "B", FONT)
    assert (b.images, b.doubted, b.enough, b.by_group) == (0, 8, False, False)
    assert tally(found, FONT)["few"] == 1


@pytest.mark.parametrize("changed, told", [(0, True), (3, True), (5, False), (6, True)])
def test_few_changed_answers_are_too_few_only_where_they_all_say_the_same(
    changed: int, told: bool
) -> None:
    """Three of twenty leave an interval that holds 0: no difference. Five that all gain leave one
    that does not, and are too few to believe it."""
    arms = {REAL: arm(answers_with(A=(changed, 2)), TARGET), FONT: arm(TARGET, TARGET)}
    found = verdicts_of(arms, REAL_COUNTS)
    a = of_class(found, "A", FONT)
    assert (a.changed, a.enough) == (changed, told)
    assert a.verdict == (HELPED if changed == 6 else NOTHING)
    few = 0 if told else 2  # C, which A was called, gains as much
    assert tally(found, FONT)["few"] == few
    # by chance alone: of those that could be told to help or hurt
    count = _count(FONT, [v for v in found if v.group])
    assert count["by_chance"] == pytest.approx(0.025 * (2 if changed == 6 else 0))


def test_a_group_that_cannot_be_told_either_gives_no_verdict() -> None:
    target = np.array([0, 0, 1, 1, 3, 3])  # C has no image
    arms = {REAL: arm(np.array([3, 0, 1, 1, 3, 3]), target), FONT: arm(target, target)}
    found = verdicts_of(arms, REAL_COUNTS)
    assert {v.verdict for v in found} == {NOTHING} and not any(v.by_group for v in found)
    assert {v.label for v in found if v.group} == {"A", "B", OTHER}


def test_arms_measured_on_other_images_are_refused() -> None:
    one = arm(answers_with(), TARGET)
    other = _arm(ABC, one.row + 1, TARGET, one.answer)
    with pytest.raises(InputError, match="other images"):
        verdicts_of({REAL: one, FONT: other}, REAL_COUNTS)


def test_a_class_without_real_images_keeps_its_last_sources() -> None:
    def hurt(label: str, source: str, real: int) -> Verdict:
        return Verdict(label, "few", source, HURT, -0.5, -0.6, -0.4, 20, 12, True, real, -0.5)

    rows = [hurt("A", FONT, 0), hurt("A", GAN, 0), hurt("B", FONT, 3), hurt("B", GAN, 3)]
    rows += [hurt("C", FONT, 0), hurt("known", FONT, 3)]
    rows[-1] = Verdict(**(vars(rows[-1]) | {"group": ""}))  # a group switches nothing off
    assert switched_off(rows) == {"B": {FONT: 0.0, GAN: 0.0}, "C": {FONT: 0.0}}


def test_what_a_class_lacks_by_hand(tmp_path: Path) -> None:
    target = np.array([0] * 4 + [1] * 4 + [3] * 4)  # C has no validation images
    answer = np.array([[0, 0, 0, 0, 1, 1, 0, 3, 3, 3, 3, 0], [0, 0, 0, 0, 1, 0, 0, 0, 3, 3, 3, 3]])
    answers = _arm(ABC, np.arange(12), target, answer)
    needs = needs_of(answers, {"A": 200, "B": 100, "C": 0, OTHER: 10})
    assert [n.label for n in needs] == ["A", "B", "C", OTHER]
    assert [n.recall for n in needs] == [1.0, 3 / 8, None, 7 / 8]
    assert [n.images for n in needs] == [4, 4, 0, 4]
    assert needs[1].confused == (("A", 4 / 8), (OTHER, 1 / 8))
    assert [n.group for n in needs] == ["common", "common", "none", OTHER]
    quota = quota_of(answers, needs, target=None)
    # target 2 x 150; base A 150, B 200, C 300. The median recall is 11/16; that of B drawn to it
    # by 4 images: (4 x 3/8 + 4 x 11/16) / 8 = 17/32, 5/22 of the median below it. 2 of the 4
    # images of B are called A: A gets more for (2 - 1) / (4 + 4), 2/11 of the median
    assert quota == {
        "A": round(150 * (1 + 2 * 2 / 11)),
        "B": round(200 * (1 + 2 * 5 / 22)),
        "C": 300,
        OTHER: round(1.2 * (205 + 291 + 300)),
    }
    write_needs(tmp_path / "needs.csv", needs, quota)
    rows = list(csv.DictReader((tmp_path / "needs.csv").read_text("utf-8").splitlines()))
    assert [r["recall"] for r in rows] == ["1.0000", "0.3750", "", "0.8750"]
    assert [r["quota"] for r in rows] == [str(n) for n in quota.values()]
    assert rows[1]["confused"] == "A 0.50 other 0.12"
    lines = table_of(needs, quota).splitlines()
    assert [line.split()[0] for line in lines] == ["label", "B", OTHER, "A", "1"]


def test_no_quota_is_above_its_cap_and_none_below_its_base() -> None:
    target = np.repeat(np.arange(4), 100)
    answer = target.copy()
    answer[100:200] = 0  # B is never read
    answer[300:] = 0  # nor is other
    answers = _arm(ABC, np.arange(400), target, answer[None])
    needs = needs_of(answers, {"A": 10, "B": 0, "C": 10, OTHER: 0})
    quota = quota_of(answers, needs, target=40)
    # base: A 30, B 40, C 30; B wants 40 x (1 + 2 x 0.96), A, which it is taken for, 30 times that
    assert (quota["A"], quota["B"], quota["C"]) == (80, 80, 30)
    assert quota[OTHER] == 2 * round(1.2 * 100)


def test_the_loops_own_options_are_refused() -> None:
    assert split_options("--lr 0.1", 7, "demo") == (
        *("--lr", "0.1", "--preset", "demo", "--steps", "7"),
    )
    assert split_options("--members=3", None, None) == ("--members=3",)
    known = ("--group-weights", "{few: 2}", "--others", "one")
    assert split_options("--group-weights '{few: 2}' --others one", None, None) == known
    for text in (
        *("--out x", "--seed=3", "--source-weights {}", "'"),
        *("--group-weights '{other: 2}'", "--class-weights='{other: 2}'"),
    ):
        with pytest.raises(InputError, match="--classifier"):
            split_options(text, None, None)
    with pytest.raises(InputError, match="--seeds 0"):
        Loop(Path("real"), Path("out"), seeds=0)


def test_the_final_run_has_as_many_networks_as_the_preset_and_an_arms_runs_one() -> None:
    """The seeds of an arm are several networks already."""
    for options, of_arm in (((), "1"), (("--members", "3"), "3"), (("--members=3",), None)):
        loop = Loop(Path("real"), Path("out"), seeds=1, options=options)
        final, *arms = loop.final({}).words, *(j.words for j in loop.jobs() if j.kind != FONT)
        assert final[-len(options) :] == options if options else "--members" not in final
        for words in arms:
            named = [words[i + 1] for i, word in enumerate(words) if word == "--members"]
            assert named == ([of_arm] if of_arm else [])


def test_a_store_of_another_quota_is_not_taken(tmp_path: Path) -> None:
    loop = Loop(tmp_path / "real", tmp_path)
    loop.keep_quota({"A": 3, OTHER: 2})
    loop.keep_quota({"A": 4, OTHER: 2})  # nothing was made by the first
    loop.store(FONT).mkdir(parents=True)
    (loop.store(FONT) / "store.json").write_text("{}")
    loop.keep_quota({"A": 4, OTHER: 2})
    with pytest.raises(InputError, match="another quota"):
        loop.keep_quota({"A": 5, OTHER: 2})
    assert loop.quota.read_text("utf-8") == "label,images\nA,4\nother,2\n"


def test_the_report_shows_the_verdicts_beside_its_run(tmp_path: Path) -> None:
    from classifier.report import environment

    arms = {
        REAL: arm(answers_with(A=(12, 2)), TARGET),
        FONT: arm(answers_with(B=(12, 3)), TARGET),
    }
    found = verdicts_of(arms, REAL_COUNTS)
    final = tmp_path / "final"
    assert verdict_section(final, ABC.digest) == {}
    write_verdicts(tmp_path, found, ABC.digest, 2)
    assert verdict_section(final, "another") == {}
    shown = verdict_section(final, ABC.digest)
    assert shown["off"] == {"B": [FONT]}
    assert shown["off_by_group"] == {"B": []}
    (count,) = shown["sources"]
    assert (count["helped"], count["hurt"], count["nothing"], count["few"]) == (2, 2, 0, 0)
    page = environment().from_string('{% import "verdict.html.j2" as v %}{{ v.section(verdict) }}')
    text = page.render(verdict=shown)
    classes = text[text.index("<h3", text.index("Groups</h3>")) :]
    assert classes.count("left good") == 2 and classes.count("left bad") == 2
    assert "+60.0" in text and "2 training seeds" in text
    assert "it switches no source off." in text and "deny their given label" not in text
    assert "7 validation images\ncount for nothing" in page.render(verdict=shown | {"doubted": 7})
    rows = list(csv.DictReader((tmp_path / "verdict.csv").read_text("utf-8").splitlines()))
    assert [r["verdict"] for r in rows] == [v.verdict for v in found]
    (tmp_path / "verdict.json").write_text('{"format": 1}')
    with pytest.raises(InputError, match=r"verdict\.json: damaged"):
        verdict_section(final, ABC.digest)


# Commands that stand in for the real ones, and import nothing that takes time.
TRAIN = """
import json, shutil, sys
from pathlib import Path
words = sys.argv[1:]
out = Path(words[words.index("--out") + 1])
answers = "with_font" if any(w.endswith("stores/font") for w in words) else "without"
out.mkdir(parents=True, exist_ok=True)
shutil.copy(f"{answers}.parquet", out / "predictions_val.parquet")
(out / "model.json").write_text(json.dumps({"alphabet": ["A", "B", "C"], "info": {}}))
(out / "words.json").write_text(json.dumps(words))
(out / "metrics.json").write_text(json.dumps({"val": {}}))
if out.name == "final" and not Path("page").exists():
    raise SystemExit("no page")
(out / "report.html").write_text("")
"""
MAKE = """
import sys
from pathlib import Path
words = sys.argv[1:]
assert Path(words[words.index("--quota") + 1]).read_text().startswith("label,images")
if "--generate-only" in words and not Path("mended").exists():
    raise SystemExit("no luck")
out = Path(words[words.index("--out") + 1])
out.mkdir(parents=True)
(out / "store.json").write_text("{}")
"""


def test_fonts_are_added_and_left_out_for_both_makers() -> None:
    fonts = {
        "fonts": (Path("a"), Path("b")),
        "without": ("x",),
        "without_unread": Path("read.json"),
    }
    loop = Loop(Path("real"), Path("out"), Path("gan"), seeds=1, **fonts)
    words = {job.name: job.words for job in loop.jobs()}
    given = ("--fonts", "a", "b", "--without", "x", "--without-unread", "read.json")
    for maker in ("font", "gan"):
        assert words[maker][-len(given) :] == given
    bare = {job.name: job.words for job in Loop(Path("real"), Path("out"), seeds=1).jobs()}
    assert not {"--fonts", "--without", "--without-unread"} & set(bare["font"])


def test_the_loop_goes_on_where_it_stopped(
    load_script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "train_classifier.py").write_text(TRAIN)
    for name in ("render_fonts.py", "train_gan.py"):
        (scripts / name).write_text(MAKE)
    with StoreWriter(tmp_path / "real", Canvas(8, 1), ABC, {}) as writer:
        rows = [(c, s) for c in (*"ABC", OTHER) for s in ["train"] * 10 + ["val"] * 12]
        images = np.zeros((len(rows), 8, 8), np.uint8)
        writer.append(images, [Sample(c, c, "real", s) for c, s in rows])
    store = Store.open(tmp_path / "real")
    (tmp_path / "gan").mkdir()
    about = {"made": {"real": "gone"}, "real": store.content}  # of this store, wherever it lay
    (tmp_path / "gan" / "generator.json").write_text(json.dumps(about))
    target = store.classes()[store.rows("val")]
    # A is read with font images only, B without them only
    for name, wrong in (("with_font", 1), ("without", 0)):
        answer = np.where(target == wrong, 2, target)
        made = evaluate(np.eye(4)[answer], store, store.rows("val"), 0.5, {})
        made.write(tmp_path / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    script = load_script("close_loop")
    monkeypatch.setattr(script, "SCRIPTS", scripts)

    def loop(*more: str) -> tuple[int, list[str], str]:
        words = ["--real", "real", "--gan", "gan", "--out", "loop", "--seeds", "2", *more]
        code = run(script.options(), script.main, words)
        told = capsys.readouterr()
        started = [x.split()[1] for x in told.out.splitlines() if x.startswith("start ")]
        return code, started, told.err

    code, started, err = loop()
    assert code == 2 and "gan failed; see loop/logs/gan.log" in err
    assert started == ["real-seed1", "real-seed2", "font", "gan", "font-seed1", "font-seed2"]
    (tmp_path / "mended").touch()
    code, started, err = loop()
    assert code == 2
    assert started == [
        *("gan", "gan-seed1", "font_gan-seed1", "gan-seed2", "font_gan-seed2", "final")
    ]
    assert "final failed" in err  # it has its figures, and is not done without its page
    (tmp_path / "page").touch()
    assert loop()[:2] == (0, ["final"])
    words = json.loads((tmp_path / "loop" / "final" / "words.json").read_text())
    off = json.loads(words[words.index("--source-weights") + 1])
    assert off == {"B": {"font": 0.0}}
    verdicts = json.loads((tmp_path / "loop" / "verdict.json").read_text("utf-8"))["verdicts"]
    table = {(v["label"], v["source"]): v["verdict"] for v in verdicts}
    assert (table["A", "font"], table["B", "font"]) == (HELPED, HURT)
    assert {table[c, "gan"] for c in (*"ABC", OTHER)} == {NOTHING}

    # copies of what is trained on: found before anything runs, and allowed without another loop
    (tmp_path / "loop" / "final" / "metrics.json").unlink()
    told = lambda real, test: "2 training images are copies"  # noqa: E731
    monkeypatch.setattr("synth.near_copies.told_copies", told)
    code, started, err = loop("--test", "real")
    assert (code, started) == (2, []) and "are copies; --allow-copies" in err
    allowed = ("--test", "real", "--allow-copies")
    code, started, _ = loop(*allowed)
    assert (code, started) == (0, ["final"])
    words = json.loads((tmp_path / "loop" / "final" / "words.json").read_text())
    assert words[-3:] == [*allowed]
    arm = json.loads((tmp_path / "loop" / "runs" / "font" / "seed1" / "words.json").read_text())
    assert "--allow-copies" not in arm

    before = (tmp_path / "loop" / "verdict.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("synth.near_copies.told_copies", None)  # what takes long is not done again
        assert loop(*allowed)[:2] == (0, [])
    assert (tmp_path / "loop" / "verdict.json").read_bytes() == before
    (tmp_path / "loop" / "runs" / "font" / "seed2" / "metrics.json").unlink()
    # what was made from it is refused, not mixed
    code, started, err = loop(*allowed)
    assert started == ["font-seed2"] and code == 2 and "made anew" in err
    code, started, err = loop("--target", "50")
    assert (code, started) == (2, []) and "target: None -> 50" in err


def test_inputs_that_cannot_be_used_are_refused_before_anything_runs(
    load_script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, split in (("unsplit", "train"), ("real", "val")):
        with StoreWriter(tmp_path / name, Canvas(8, 1), ABC, {}) as writer:
            images = np.zeros((3, 8, 8), np.uint8)
            writer.append(images, [Sample(c, c, "real", split) for c in "ABC"])

    def refused(script: str, *words: str) -> str:
        module = load_script(script)
        line = [w if w.startswith("-") else str(tmp_path / w) for w in words]
        assert run(module.options(), module.main, line) == 2
        return capsys.readouterr().err

    out = ("--out", "loop")
    assert "no validation images" in refused("close_loop", "--real", "unsplit", *out)
    assert "no finished GAN run" in refused("close_loop", "--real", "real", "--gan", "gone", *out)
    told = refused("close_loop", "--real", "real", *out, "--without-unread", "gone.json")
    assert "not what check_fonts.py --out writes" in told
    module = load_script("close_loop")
    words = ["--real", str(tmp_path / "real"), "--out", str(tmp_path / "loop")]
    assert run(module.options(), module.main, [*words, "--without", "wingdings"]) == 2
    assert "--without wingdings: no font of that name" in capsys.readouterr().err
    assert "--quota goes with" in refused("train_gan", "--real", "real", "--quota", "q", *out)
    (tmp_path / "quota.csv").write_text("label,images\nZ,3\n")
    told = refused("render_fonts", "--real", "real", "--quota", "quota.csv", *out)
    assert "line 2: 'Z' is no class" in told
    told = refused("render_fonts", "--real", "real", "--quota", "quota.csv", "--other=3", *out)
    assert "--quota FILE says it all" in told
    assert not (tmp_path / "loop").exists()


def test_a_gan_that_learned_from_what_is_measured_is_refused_before_anything_runs(
    load_script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = np.random.default_rng(1).integers(1, 256, (8, 8, 8)).astype(np.uint8)

    def written(name: str, rows: list[int], splits: list[str]) -> Store:
        with StoreWriter(tmp_path / name, Canvas(8, 1), ABC, {}) as writer:
            samples = [
                Sample("ABC"[r % 3], "ABC"[r % 3], "real", s, origin=f"{r}.png")
                for r, s in zip(rows, splits, strict=True)
            ]
            writer.append(images[rows], samples)
        return Store.open(tmp_path / name)

    written("real", [0, 1, 2, 3], ["train"] * 3 + ["val"])
    written("other", [0, 1, 2, 7], ["train"] * 3 + ["val"])
    written("test", [5], ["test"])
    behind = written("behind", [3, 4, 5], ["train", "train", "train"])
    apart = written("apart", [3, 4, 6], ["val", "train", "train"])
    script = load_script("close_loop")
    ran: list[object] = []
    monkeypatch.setattr(script, "_close", lambda *a: ran.append(a))
    monkeypatch.setattr("synth.near_copies.told_copies", lambda real, test: "")
    (tmp_path / "gan").mkdir()

    def loop(real: str, of: Store, *more: str) -> str:
        about = {"made": {"real": str(of.path)}, "real": of.content}
        (tmp_path / "gan" / "generator.json").write_text(json.dumps(about))
        words = [f"--real={tmp_path / real}", f"--gan={tmp_path / 'gan'}"]
        words += [f"--out={tmp_path / 'out'}{len(ran)}", *more]
        code = run(script.options(), script.main, words)
        told = capsys.readouterr().err
        assert code == (2 if told else 0) and len(told.splitlines()) <= 1
        return told

    told = loop("real", behind)
    assert f"3.png (val) is a training image of {behind.path}, which {tmp_path}/gan" in told
    assert not ran and not (tmp_path / "out0").exists()
    assert not loop("other", behind) and len(ran) == 1
    tested = f"--test={tmp_path / 'test'}"
    told = loop("other", behind, tested)
    assert "5.png (test) is a training image of" in told and len(ran) == 1
    assert not loop("real", apart, tested) and len(ran) == 2


def test_large_numbers_of_images_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    own = simulated(np.random.default_rng(5), 3, 200, 0.2, 0.0)
    none = np.zeros((3, 1))
    whole = change_of(own, none, np.random.default_rng(2))
    monkeypatch.setattr(paired, "BLOCK", 7000)
    assert change_of(own, none, np.random.default_rng(2)) == whole


@pytest.mark.slow
def test_the_loop_with_the_real_commands(tmp_path: Path) -> None:
    chars = "永國三水"
    for number, char in enumerate((*chars, OTHER)):
        (tmp_path / "images" / char).mkdir(parents=True)
        for i in range(24 - 5 * (number % 3)):
            place = tmp_path / "images" / char / f"{i:02d}.png"
            draw_strokes(1000 * number + i).save(place)

    def call(script: str, *words: str | Path) -> None:
        line = [sys.executable, str(ROOT / "scripts" / script), *map(str, words)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr

    real, gan, out = tmp_path / "real", tmp_path / "gan", tmp_path / "loop"
    call("import_data.py", tmp_path / "images", "--val-share", "0.4", "--out", real)
    small = ["--preset", "demo", "--steps", "2", "--batch-size", "8", "--recogniser-steps", "8"]
    call("train_gan.py", "--real", real, "--out", gan, *small, "--per-class", "2", "--other", "2")
    line = ["--real", real, "--gan", gan, "--out", out, "--seeds", "1", "--target", "8"]
    line += ["--preset", "demo", "--steps", "6", "--classifier", "--batch-size 16"]
    call("close_loop.py", *line)
    quota = dict(csv.reader((out / "quota.csv").read_text("utf-8").splitlines()[1:]))
    needs = list(csv.DictReader((out / "needs.csv").read_text("utf-8").splitlines()))
    assert {n["label"]: n["quota"] for n in needs} == quota and len(quota) == 5
    store = Store.open(out / "stores" / "font")
    labels, counts = np.unique(store.column("label").astype(str), return_counts=True)
    assert {n: str(c) for n, c in zip(labels.tolist(), counts.tolist(), strict=True)} == quota
    assert 'id="verdicts"' in (out / "final" / "report.html").read_text("utf-8")
