"""The threshold between a known character and "other"."""

import numpy as np
import pytest

from classifier.rejection import (
    ENOUGH,
    OTHER_SCORES,
    answers,
    choose_by_group,
    choose_threshold,
    other_score,
    rates_at,
)


def _probabilities(
    best: list[float], of: list[int], known: int = 3, classes: int = 6
) -> np.ndarray:
    """Rows with probability `best` on class `of`, the rest on the last class."""
    p = np.zeros((len(best), classes))
    p[np.arange(len(best)), of] = best
    p[:, -1] += 1 - p.sum(1)
    return p


def test_answers_follow_the_threshold():
    p = _probabilities([0.9, 0.6, 0.2], [0, 1, 2])
    assert np.allclose(other_score(p, 3), [0.1, 0.4, 0.8])
    assert answers(p, 3, 0.5).tolist() == [0, 1, 3]
    assert answers(p, 3, 0.3).tolist() == [0, 3, 3]
    assert answers(p, 3, 1.0).tolist() == [0, 1, 2]


def test_one_likely_stranger_counts_more_than_a_crowd_of_unlikely_ones():
    crowd, one = np.full(103, 0.4 / 100), np.zeros(103)
    crowd[:3], one[:3], one[3] = [0.6, 0, 0], [0.6, 0, 0], 0.4
    scores = other_score(np.stack([crowd, one]), 3)
    assert scores[0] < scores[1] / 4
    assert np.isclose(scores[1], 0.4)


def test_score_is_finite_where_every_probability_is_nought():
    assert other_score(np.zeros((1, 5), np.float32), 3)[0] == 0
    assert other_score(np.eye(5, dtype=np.float32), 3).tolist() == [0, 0, 0, 1, 1]


def test_threshold_lies_between_separable_groups():
    known = _probabilities([0.95, 0.9, 0.92, 0.88], [0, 1, 2, 0])
    other = _probabilities([0.4, 0.3, 0.35], [0, 1, 2])
    target = np.array([0, 1, 2, 0, 4, 5, 3])
    threshold, rates = choose_threshold(np.vstack([known, other]), target, 3)
    assert 0.12 <= threshold < 0.6
    assert rates == {"known_right": 1.0, "known_lost": 0.0, "other_found": 1.0}


def test_the_bound_on_lost_images_holds_whatever_the_others_gain():
    """One other image hides behind half of the known ones: it is not worth them."""
    known = _probabilities(np.linspace(0.5, 0.99, 50).tolist(), [0] * 50)
    other = _probabilities([0.8], [1])
    p, target = np.vstack([known, other]), np.array([0] * 50 + [3])
    free, _ = choose_threshold(p, target, 3, most_lost=1.0)
    bound, rates = choose_threshold(p, target, 3, most_lost=0.04)
    assert (answers(p[-1:], 3, free) == 3).all() and (answers(p[-1:], 3, bound) != 3).all()
    assert rates["known_lost"] <= 0.04
    assert (answers(p[:-1], 3, bound) == 3).mean() <= 0.04


def test_threshold_is_the_best_of_the_allowed_by_brute_force():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(6, 0.4), 800)
    target = np.where(rng.random(800) < 0.7, p.argmax(1), rng.integers(0, 6, 800))
    right = (target < 3) & (p[:, :3].argmax(1) == target)

    def rates_at(t: float) -> tuple[float, float]:
        called = answers(p, 3, t) == 3
        return float(called[right].mean()), float(called[target >= 3].mean())

    for bound in (0.05, 0.2):
        threshold, rates = choose_threshold(p, target, 3, most_lost=bound)
        assert (rates["known_lost"], rates["other_found"]) == rates_at(threshold)
        assert rates["known_lost"] <= bound
        within = [
            found for lost, found in map(rates_at, np.linspace(0.01, 0.99, 500)) if lost <= bound
        ]
        assert max(within) - 0.01 <= rates["other_found"] <= max(within) + 0.01


def test_a_class_with_one_image_does_not_move_the_threshold():
    """Its label may be wrong, and it may look like nothing known."""
    known = _probabilities(np.linspace(0.7, 0.99, 100).tolist(), [0] * 100)
    lone, other = _probabilities([0.45], [1]), _probabilities(np.linspace(0.2, 0.6, 50), [2] * 50)
    target = np.array([0] * 100 + [1] + [3] * 50)
    p = np.vstack([known, lone, other])
    assert (p[100, :3].argmax(), other_score(p[100:101], 3)[0] > 0.5) == (1, True)
    without = choose_threshold(np.delete(p, 100, 0), np.delete(target, 100), 3)[0]
    assert choose_threshold(p, target, 3)[0] == without


def test_without_others_nothing_is_rejected():
    p = _probabilities([0.9, 0.1], [0, 1])
    threshold, rates = choose_threshold(p, np.array([0, 1]), 3)
    assert threshold == 1.0 and rates == {}
    assert answers(p, 3, threshold).tolist() == [0, 1]


def test_scores_from_logits_give_what_they_are_named_after():
    """References: computed from the logits of one network, on each side of the alphabet."""
    logits = np.random.default_rng(2).normal(0, 2, (50, 9))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)

    def odds(score: str) -> np.ndarray:
        value = other_score(p, 5, score)
        return np.log(value / (1 - value))

    assert np.allclose(odds("logit"), logits[:, 5:].max(1) - logits[:, :5].max(1))
    known, others = (-np.log(np.exp(side).sum(1)) for side in (logits[:, :5], logits[:, 5:]))
    assert np.allclose(odds("energy"), known - others)  # free energies, the lower the likelier
    assert np.allclose(other_score(p, 5, "softmax"), 1 - p[:, :5].max(1))
    assert np.array_equal(other_score(p, 5), other_score(p, 5, "norms"))
    with pytest.raises(ValueError, match="there are norms, logit, energy, softmax"):
        other_score(p, 5, "x")


@pytest.mark.parametrize("score", OTHER_SCORES)
def test_the_threshold_is_that_of_the_score(score):
    p = np.random.default_rng(4).dirichlet(np.full(6, 0.4), 500)
    target = np.where(np.random.default_rng(5).random(500) < 0.7, p.argmax(1), 4)
    right = (target < 3) & (p[:, :3].argmax(1) == target)
    threshold, rates = choose_threshold(p, target, 3, score=score)
    called = answers(p, 3, threshold, score) == 3
    assert rates["known_lost"] == called[right].mean() <= 0.05
    assert rates["other_found"] == called[target >= 3].mean() > 0.1


def test_each_group_has_the_threshold_of_the_images_that_look_like_it():
    """Known classes 0 and 1 are read surely, 2 is not: it would lose half of its images."""
    rng = np.random.default_rng(6)
    group = np.array(["common", "common", "few"])

    def images(of: int, low: float, high: float, count: int) -> np.ndarray:
        return _probabilities(rng.uniform(low, high, count).tolist(), [of] * count)

    p = np.vstack([images(0, 0.9, 0.99, 400), images(2, 0.5, 0.95, 40)])
    p = np.vstack([p, images(1, 0.3, 0.6, 60), images(2, 0.3, 0.45, 30)])
    target = np.repeat([0, 2, 4, 5], [400, 40, 60, 30])
    common, _ = choose_threshold(p, target, 3)
    found = choose_by_group(p, target, group, common)
    assert found.keys() == {"common", "few"}
    for name, rows in (("common", np.r_[0:400, 440:500]), ("few", np.r_[400:440, 500:530])):
        assert found[name] == choose_threshold(p[rows], target[rows], 3)[0]
    limits = np.array([found[g] for g in group])
    lost = answers(p[400:440], 3, limits) == 3
    assert lost.mean() <= 0.05 < (answers(p[400:440], 3, common) == 3).mean()
    assert (answers(p, 3, np.full(3, 0.3)) == answers(p, 3, 0.3)).all()
    # the rates are those of the thresholds in force
    assert rates_at(p, target, 3, common) == choose_threshold(p, target, 3)[1]
    answer = answers(p, 3, limits)
    right = p[:440].argmax(1) == target[:440]
    assert rates_at(p, target, 3, limits) == pytest.approx(
        {
            "known_right": (answer[:440] == target[:440]).mean(),
            "known_lost": (answer[:440] == 3)[right].mean(),
            "other_found": (answer[440:] == 3).mean(),
        }
    )
    assert rates_at(p, target, 3, limits) != rates_at(p, target, 3, common)
    # with too few to go by it has the common one
    some = np.r_[0:400, 400 : 400 + ENOUGH - 1, 440:530]
    assert choose_by_group(p[some], target[some], group, common)["few"] == common
