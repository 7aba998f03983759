"""Elastic bending and pen weight on a batch."""

import torch

from classifier.bending import Bending


def _bars() -> torch.Tensor:
    x = -torch.ones(64, 1, 64, 64)
    x[:, :, 20:44, 30:34] = 1
    return x


def test_pure_in_seed_and_step():
    x = _bars()
    a, b = (Bending().apply(x, 1, 7) for _ in range(2))
    assert torch.equal(a, b)
    for other in ((2, 7), (1, 8)):
        assert not torch.equal(a, Bending().apply(x, *other))


def test_processes_together_bend_as_one():
    x = _bars() + torch.arange(64).view(64, 1, 1, 1) / 100
    whole = Bending().apply(x, 1, 7)
    for rank in range(2):
        assert torch.equal(Bending().apply(x[rank::2], 1, 7, rank, 2), whole[rank::2])


def test_nothing_asked_nothing_done():
    assert torch.equal(Bending(0.0, 5, 0.0).apply(_bars(), 1, 1), _bars())


def test_displacement_has_the_stated_size():
    """The rows' centres of ink move by a strength uniform in 0..1 times a normal of elastic_px."""
    x = _bars()
    moved = Bending(elastic_px=3.0, pen=0.0).apply(x, 1, 0)
    ink = (moved + 1)[:, 0, 32]  # the row in the middle
    centre = (ink * torch.arange(64)).sum(1) / ink.sum(1)
    spread = (centre - 31.5).square().mean().sqrt()
    assert 0.6 < spread < 3.0  # sqrt(1 / 3) * 3 = 1.7 at a node, less between nodes
    assert moved.min() >= -1 - 1e-5 and moved.max() <= 1 + 1e-5


def test_pen_widens_and_thins_but_never_moves():
    x = _bars()
    out = Bending(elastic_px=0.0, pen=1.0).apply(x, 1, 0)
    area = (out + 1).sum((1, 2, 3)) / 2
    plain = 24 * 4
    assert area.min() < 0.75 * plain and area.max() > 1.25 * plain
    columns = (out + 1).sum((1, 2))
    centre = (columns * torch.arange(64)).sum(1) / columns.sum(1)
    assert (centre - 31.5).abs().max() < 1e-3
