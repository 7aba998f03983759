"""The recogniser's doubts: judged by batch norms that belong to its weights."""

import copy
from collections import deque

import numpy as np
import pytest
import torch
from interrupting import Stop
from torch.optim.swa_utils import update_bn

from gan import recogniser
from gan.networks import Recogniser


def test_labels_are_judged_with_norms_of_the_last_batches(monkeypatch):
    """At all three times the statistics are those of the 16 batches before, measured anew on the
    weights as they are; a running average is of weights that are gone."""
    rng = np.random.default_rng(0)
    seen: deque[torch.Tensor] = deque(maxlen=16)
    judged = []
    forward, judge = Recogniser.forward, recogniser.probabilities

    def noted(self, x):
        if torch.is_grad_enabled():  # a step of training
            seen.append(x.clone())
        return forward(self, x)

    def compared(network, images, wanted, device):
        twin = copy.deepcopy(network)
        update_bn(list(seen), twin)
        mine, own = twin.state_dict(), network.state_dict()
        judged.append(all(torch.equal(mine[k], own[k]) for k in own if "running" in k))
        return judge(network, images, wanted, device)

    monkeypatch.setattr(Recogniser, "forward", noted)
    monkeypatch.setattr(recogniser, "probabilities", compared)
    images = rng.integers(0, 256, (24, 32, 32), np.uint8)
    target = np.repeat(np.arange(3), 8)
    recogniser.train_recogniser(
        images, target, images, target, 3, 30, 8, 1, torch.device("cpu"), torch.float32
    )
    assert judged == [True] * 3


def _drawings(counts: dict[int, int], first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bars whose row tells the class, with other grain and length each: [n, 32, 32] and [n]."""
    of = np.repeat(list(counts), list(counts.values()))
    rng = np.random.default_rng(first)
    images = np.zeros((len(of), 32, 32), np.uint8)
    for image, c in zip(images, of, strict=True):
        image[2 + 4 * c : 5 + 4 * c, 4 : 20 + rng.integers(8)] = rng.integers(150, 256)
    return images, of


def _train(real, given, font, of, **more) -> recogniser.Trained:
    settings = {"classes": 3, "steps": 60, "batch_size": 24, "seed": 1}
    where = {"device": torch.device("cpu"), "precision": torch.float32}
    return recogniser.train_recogniser(real, given, font, of, **(settings | where | more))


def test_wrong_labels_are_doubted_and_right_ones_are_not():
    real, right = _drawings(dict.fromkeys(range(7), 16), 1)
    given, wrong = right.copy(), np.arange(112) % 16 == 5  # one of each class
    given[wrong] = (right[wrong] + 2) % 7
    font, of = _drawings(dict.fromkeys(range(7), 8), 2)
    # of many classes, as in use: label smoothing alone leaves a third of .1 to each of three
    trained = _train(real, given, font, of, classes=40, batch_size=28, steps=120)
    assert wrong.sum() == 7
    assert not trained.trusted[wrong].any()
    assert trained.trusted[~wrong].mean() > 0.95


def test_wrong_labels_that_are_most_of_a_rare_class_are_doubted():
    """Of its 9 images 6 are wrong; shown as often as the 40 of each other class together they would
    be learned by heart."""
    real, right = _drawings(dict.fromkeys(range(6), 41) | {6: 3}, 1)
    given, wrong = right.copy(), np.arange(len(right)) % 41 == 5  # one of each common class
    given[wrong] = 6
    font, of = _drawings(dict.fromkeys(range(7), 8), 2)
    trained = _train(real, given, font, of, classes=40, batch_size=28, steps=200)
    assert wrong.sum() == 6 and (given == 6).sum() == 9
    assert not trained.trusted[wrong].any()
    assert trained.trusted[~wrong].mean() > 0.95


def test_who_doubts_nearly_everything_has_learned_nothing():
    """At the bound and beyond it, and in a run: with labels at random nobody is believed less."""
    low, high = recogniser.DOUBT_BELOW / 2, 0.5
    for doubted in (0, 3, 6):  # of ten: up to MOST_DOUBTED
        given = np.array([low] * doubted + [high] * (10 - doubted), np.float32)
        assert recogniser.believed(given).tolist() == [False] * doubted + [True] * (10 - doubted)
    assert recogniser.MOST_DOUBTED == 0.6
    assert recogniser.believed(np.array([low] * 7 + [high] * 3, np.float32)).all()
    real, _ = _drawings(dict.fromkeys(range(3), 20), 1)
    anything = np.random.default_rng(0).integers(0, 40, len(real))
    font = _drawings(dict.fromkeys(range(3), 8), 2)
    trained = _train(real, anything, *font, classes=40, batch_size=12, steps=30)
    assert (trained.given < recogniser.DOUBT_BELOW).mean() > recogniser.MOST_DOUBTED
    assert trained.trusted.all()


def test_a_loss_that_is_not_finite_stops_it_with_its_step(monkeypatch):
    forward, calls = Recogniser.forward, []

    def broken(self, x):
        calls.append(x)
        return forward(self, x) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(Recogniser, "forward", broken)
    images, of = _drawings({0: 4, 1: 4, 2: 4})
    with pytest.raises(RuntimeError, match="recogniser: loss nan at step 3"):
        _train(images[:0], of[:0], images, of, steps=8)


def test_labels_are_sorted_only_when_doubts_change(monkeypatch):
    """The rendered at the start, the real in the two rounds: a store may have a million of them."""
    sort, kept = recogniser._by_class, []

    def noted(classes, keep=None):
        kept.append(None if keep is None else int(keep.sum()))
        return sort(classes, keep)

    monkeypatch.setattr(recogniser, "_by_class", noted)
    monkeypatch.setattr(recogniser, "believed", lambda given: np.arange(len(given)) < 20)
    real, of = _drawings({0: 10, 1: 10, 2: 4}, 1)
    _train(real, of, *_drawings({0: 8, 1: 8, 2: 8}, 2), steps=20, batch_size=12)
    assert kept == [None, 20, 20]


@pytest.mark.parametrize(
    ("stop_at", "precision"),
    [
        *((step, torch.float32) for step in (7, 16, 17, 24, 29)),
        (16, torch.bfloat16),  # may be emulated here
    ],
)
def test_interrupted_it_ends_as_unbroken(stop_at, precision, tmp_path, monkeypatch, capsys):
    """Rounds of doubt are at steps 12 and 21, checkpoints after every fifth."""
    forward, computed = Recogniser.forward, set()

    def noted(self, x):
        logits = forward(self, x)
        if torch.is_grad_enabled():  # a step of training
            computed.add(logits.dtype)
        return logits

    monkeypatch.setattr(Recogniser, "forward", noted)
    real, given = _drawings({0: 10, 1: 10, 2: 1}, 1)
    given[:2] = 1  # to be doubted
    font, of = _drawings({0: 8, 1: 8, 2: 8}, 2)
    settings = {"steps": 30, "batch_size": 12, "checkpoint_every": 5, "precision": precision}
    whole = _train(real, given, font, of, **settings)

    def stop(*_, **__):
        if len(calls) == stop_at:
            raise Stop
        calls.append(1)
        return jitter(*_)

    jitter, calls = recogniser.jitter, []
    monkeypatch.setattr(recogniser, "jitter", stop)
    path = tmp_path / "checkpoints" / "recogniser.ckpt"
    with pytest.raises(Stop):
        _train(real, given, font, of, **settings, checkpoint=path)
    monkeypatch.setattr(recogniser, "jitter", jitter)
    again = _train(real, given, font, of, **settings, checkpoint=path)
    assert f"going on at step {stop_at // 5 * 5} of 30" in capsys.readouterr().out
    assert np.array_equal(again.given, whole.given)
    one, other = whole.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert computed == {precision}
