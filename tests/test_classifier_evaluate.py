"""The figures of a split: what of them is apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_classifier_held_out import store_of

from classifier.evaluate import evaluate
from classifier.rejection import OTHER_SCORES, answers, other_score
from synth.quota import real_counts

ROWS = [
    *[("A", "A", "character")] * 4,
    *[("B", "B", "character")] * 2,
    *[("C", "C", "character")] * 2,
    *[("other", "X", "unknown")] * 3,  # trained on
    *[("other", "Y", "unknown")] * 2,  # never
    *[("other", "", "unknown")] * 2,
    *[("other", "", "blank")] * 2,
    *[("other", "A", "cut")] * 1,
]
CALLED = [5, 6, 8, 9, 11, 13, 15]  # rows that are called other


def test_others_and_false_alarms_are_told_apart(tmp_path: Path) -> None:
    store = store_of(tmp_path / "test", "real", [(*row, "test") for row in ROWS])
    p = np.full((len(ROWS), 4), 0.01)
    p[np.arange(len(ROWS)), np.where(store.classes() < 3, store.classes(), 0)] = 0.9
    p[CALLED] = [0.01, 0.01, 0.01, 0.9]
    counts = {"A": 60, "B": 20, "C": 3}
    figures = evaluate(p, store, np.arange(len(ROWS)), 0.5, counts, {"X", "Q"}).figures
    assert figures["others"] == {
        "seen": {"images": 3, "called_other": pytest.approx(2 / 3)},
        "unseen": {"images": 2, "called_other": 0.5},
        "unknown": {"images": 2, "called_other": 0.5},
        "blank": {"images": 2, "called_other": 0.5},
        "cut": {"images": 1, "called_other": 0.0},
    }
    assert figures["false_other_by_group"] == {
        "common": {"images": 4, "called_other": 0.0},
        "rare": {"images": 2, "called_other": 0.5},
        "few": {"images": 2, "called_other": 0.5},
    }
    assert figures["false_other"] == 2 / 8
    json.dumps(figures)
    unaware = evaluate(p, store, np.arange(len(ROWS)), 0.5, counts).figures["others"]
    assert "seen" not in unaware and unaware["unseen"]["images"] == 5
    assert real_counts(store)["A"] == 0  # test images are no training images


@pytest.mark.parametrize("score", OTHER_SCORES)
def test_an_evaluation_is_by_the_score_that_is_asked_for(tmp_path: Path, score: str) -> None:
    store = store_of(tmp_path / "test", "real", [(*row, "test") for row in ROWS])
    p = np.random.default_rng(1).dirichlet(np.full(7, 0.5), len(ROWS))
    found = evaluate(p, store, np.arange(len(ROWS)), 0.4, {}, (), score)
    assert np.array_equal(found.score, other_score(p, 3, score))
    assert np.array_equal(found.answer, answers(p, 3, 0.4, score))
