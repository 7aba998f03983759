"""The augmentation moves, whole pixels, and lets gradients through."""

import torch

from gan.augment import SHIFT_PX, shifted, shifts


def test_moves_by_the_given_pixels_and_lets_paper_in():
    images = torch.randn(3, 1, 16, 16)
    move = torch.tensor([[0, 0], [2, -1], [-3, 3]])
    out = shifted(images, move)
    assert torch.equal(out[0], images[0])
    assert torch.equal(out[1, :, 2:, :-1], images[1, :, :-2, 1:])
    assert (out[1, :, :2] == -1).all() and (out[1, :, :, -1] == -1).all()
    assert torch.equal(out[2, :, :-3, 3:], images[2, :, 3:, :-3])


def test_gradients_go_back_to_where_the_pixels_came_from():
    images = torch.zeros(1, 1, 16, 16, requires_grad=True)
    shifted(images, torch.tensor([[2, 1]]))[0, 0, 10, 10].backward()
    assert images.grad[0, 0, 8, 9] == 1 and images.grad.sum() == 1


def test_every_shift_is_as_likely():
    moves = shifts(7000, torch.Generator().manual_seed(0))
    for axis in (0, 1):
        counts = torch.bincount(moves[:, axis] + SHIFT_PX, minlength=7)
        assert len(counts) == 7
        assert ((counts - 1000).abs() < 3.5 * (1000 * 6 / 7) ** 0.5).all()
