"""Real ink made into "other": what is changed, what is left alone."""

import torch

from classifier.strangers import with_strangers

KNOWN = 5


def _batch(count: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ls: like nothing that a mirror or a turn makes of them."""
    images = -torch.ones(count, 1, 64, 64)
    images[:, :, 8:56, 10:16] = 1
    images[:, :, 50:56, 10:50] = 1
    return images, torch.arange(count) % KNOWN, torch.arange(count) % 3


def test_only_real_images_of_known_characters_become_others():
    images, target, source = _batch(300)
    target[::7] = KNOWN + 2  # another character
    out, now = with_strangers(images, target, source, KNOWN, 1.0, 1, 0)
    changed = now != target
    assert changed.any() and (now[changed] == KNOWN).all()
    assert (source[changed] == 0).all() and (target[changed] < KNOWN).all()
    same = (out == images).flatten(1).all(1)
    assert torch.equal(same, ~changed)  # a picture changes exactly where its target does


def test_share_and_purity():
    images, target, source = _batch(3000)
    first = with_strangers(images, target, source, KNOWN, 0.25, 1, 4)
    again = with_strangers(images, target, source, KNOWN, 0.25, 1, 4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], with_strangers(images, target, source, KNOWN, 0.25, 1, 5)[1])
    # four of six kinds can change an L; equal halves are never joined
    share = (first[1] != target).sum() / (source == 0).sum()
    assert abs(share - 0.25 * 4 / 6) < 0.04
    assert torch.equal(with_strangers(images, target, source, KNOWN, 0.0, 1, 4)[0], images)


def test_what_a_mirror_does_not_change_is_left_alone():
    images = -torch.ones(100, 1, 64, 64)
    images[:, :, 8:56, 29:35] = 1
    images[:, :, 29:35, 8:56] = 1  # a plus: the same from all sides
    target, source = torch.zeros(100, dtype=torch.int64), torch.zeros(100, dtype=torch.int64)
    out, now = with_strangers(images, target, source, KNOWN, 1.0, 1, 0)
    assert torch.equal(out, images) and torch.equal(now, target)


def test_unlike_halves_are_joined():
    images, _, _ = _batch(200)
    images[::2] = images[::2].flip(2).flip(3)  # half of them stand on their heads
    target, source = torch.arange(200) % 2, torch.zeros(200, dtype=torch.int64)
    out, now = with_strangers(images, target, source, KNOWN, 1.0, 3, 0)
    changed = out[now == KNOWN]
    whole = torch.stack([images[0], images[1]])
    whole = torch.cat([whole, whole.flip(2), whole.flip(3), whole.rot90(1, (2, 3))])
    whole = torch.cat([whole, whole.rot90(2, (2, 3))])
    recombined = [not (x == whole).flatten(1).all(1).any() for x in changed]
    assert sum(recombined) > 5
