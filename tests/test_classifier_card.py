"""What a model says of itself, and answers from probabilities."""

import json
from dataclasses import replace

import numpy as np
import pytest

from classifier.card import Card
from classifier.rejection import answers, other_score
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
