"""The recogniser's doubts: judged by batch norms that belong to its weights."""

import copy
from collections import deque

import numpy as np
import torch
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
