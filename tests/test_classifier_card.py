"""What a model says of itself, and answers from probabilities."""

import json
from dataclasses import replace

import numpy as np
import pytest

from classifier.card import Card
from classifier.rejection import OTHER_SCORES, answers, other_score
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError

CARD = Card("compact", Alphabet.of("永國銀"), ("三", "水"), Canvas(), 0.4, {"seed": 1})


def test_a_card_reads_back_as_written():
    assert Card.parse(CARD.to_json(), "x") == CARD
    assert CARD.classes == 6
    three = replace(CARD, members=3)
    assert Card.parse(three.to_json(), "x") == three
    written = json.loads(CARD.to_json())
    del written["members"]  # as files were before there could be several
    assert Card.parse(json.dumps(written), "x") == CARD


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("canvas"), "damaged model"),
        (lambda w: w.update(format=9), "format 9, this reads 1"),
        (lambda w: w.update(alphabet=["A"]), "has digest"),
        (lambda w: w.update(alphabet=["b", "a"]), "damaged model"),
        (lambda w: w.update(threshold="high"), "damaged model"),
        (lambda w: w.update(members=10**9), "1000000000 networks, 1 to 16"),
        (lambda w: w.update(members="two"), "damaged model"),
        (lambda w: w["canvas"].update(colour="red"), "damaged model"),
    ],
)
def test_a_wrong_card_is_one_clear_error(change, says):
    written = json.loads(CARD.to_json())
    change(written)
    with pytest.raises(InputError, match=says) as raised:
        Card.parse(json.dumps(written), "somewhere")
    assert "somewhere" in str(raised.value) and "\n" not in str(raised.value)
    with pytest.raises(InputError, match="damaged model"):
        Card.parse(CARD.to_json()[:-9], "somewhere")


def test_predictions_are_the_rejection_rule_with_the_best_first():
    p = np.random.default_rng(3).dirichlet(np.full(6, 0.4), 200).astype(np.float32)
    found = CARD.predictions(p, top=2)
    numbers, score = answers(p, 3, CARD.threshold), other_score(p, 3)
    assert {n for n in numbers} == {0, 1, 2, 3}
    for row, number, other, one in zip(p, numbers, score, found, strict=True):
        assert one.label == CARD.alphabet.classes[number]
        assert one.other == pytest.approx(other)
        assert one.confidence == pytest.approx(other if number == 3 else row[number])
        best = sorted(range(3), key=lambda i: -row[i])[:2]
        assert [char for char, _ in one.top] == [CARD.alphabet.chars[i] for i in best]
        assert [q for _, q in one.top] == pytest.approx([row[i] for i in best])


def test_more_than_there_are_and_no_image():
    p = np.full((1, 6), 1 / 6, np.float32)
    assert len(CARD.predictions(p, top=50)[0].top) == 3
    assert CARD.predictions(np.zeros((0, 6), np.float32), top=5) == []


@pytest.mark.parametrize("score", OTHER_SCORES)
def test_a_card_keeps_the_score_that_its_threshold_is_of(score):
    """Through the text, which is all that an ONNX file and the service have of it."""
    card = Card.parse(replace(CARD, info={"config": {"other_score": score}}).to_json(), "x")
    assert card.score == score and CARD.score == "norms"
    p = np.random.default_rng(3).dirichlet(np.full(6, 0.4), 200).astype(np.float32)
    found = card.predictions(p)
    assert np.allclose([one.other for one in found], other_score(p, 3, score))
    numbers = answers(p, 3, CARD.threshold, score)
    assert [one.label for one in found] == [card.alphabet.classes[i] for i in numbers]


@pytest.mark.parametrize(
    ("info", "says"),
    [
        ({"config": {"other_score": "magic"}}, "other score 'magic'"),
        ({"config": []}, "damaged model"),
        ([], "damaged model"),
    ],
)
def test_a_card_with_a_score_that_cannot_be_known_is_one_clear_error(info, says):
    with pytest.raises(InputError, match=says):
        Card.parse(replace(CARD, info=info).to_json(), "somewhere")


def test_a_card_answers_by_the_threshold_of_the_class_that_an_image_looks_like():
    own = replace(CARD, info={"thresholds": {"永": 0.1, "銀": 0.7}})  # 國 has the common one
    card = Card.parse(own.to_json(), "x")
    assert np.allclose(card.limits, [0.4, 0.1, 0.7]) and CARD.limits == 0.4
    p = np.random.default_rng(3).dirichlet(np.full(6, 0.4), 200).astype(np.float32)
    score, best = other_score(p, 3), p[:, :3].argmax(1)
    wanted = np.where(score > np.array([0.4, 0.1, 0.7])[best], 3, best)
    assert [one.label for one in card.predictions(p)] == [card.alphabet.classes[i] for i in wanted]
    for info in ({"thresholds": {"永": "high"}}, {"thresholds": [1]}):
        with pytest.raises(InputError, match="damaged model"):
            Card.parse(replace(CARD, info=info).to_json(), "somewhere")
