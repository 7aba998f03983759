"""Batches of the GAN: pure in (seed, step), one character a pair, disjoint ranks."""

import numpy as np
import torch

from gan.data import PairLoader
from gan.glyphs import Glyphs


def _loader(seed: int = 1, rank: int = 0, world: int = 1, batch: int = 64) -> PairLoader:
    """Pictures whose gray level says which character they show."""
    chars = tuple("abcdefg")

    def pictures(of: np.ndarray) -> np.ndarray:
        return np.repeat(of.astype(np.uint8) * 30, 16 * 16).reshape(-1, 16, 16)

    of = np.repeat(np.arange(7), 10)
    glyphs = Glyphs(pictures(of), of, chars)
    real_of = np.repeat(np.arange(6), [40, 20, 10, 5, 1, 2])  # the seventh has no real image
    return PairLoader(pictures(real_of), real_of, glyphs, glyphs, batch, 50, seed, rank, world)


def _chars(x: torch.Tensor) -> np.ndarray:
    return np.rint(((x[:, 0, 0, 0].numpy() + 1) * 127.5) / 30).astype(int)


def test_a_pair_shows_one_character():
    batch = _loader().batch(3)
    assert batch["real"].shape == (64, 1, 16, 16) and batch["real"].dtype == torch.float32
    for name in ("real", "content", "reference"):
        assert (_chars(batch[name]) == batch["char"].numpy()).all(), name


def test_pure_in_seed_and_step():
    first, again, other = _loader().batch(5), _loader().batch(5), _loader(seed=2).batch(5)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["char"], other["char"])
    assert not torch.equal(first["char"], _loader().batch(6)["char"])


def test_resumed_loader_gives_the_steps_that_are_left():
    whole = list(_loader())
    rest = _loader()
    rest.start_step = 30
    rest = list(rest)
    assert len(whole) == 50 and len(rest) == 20
    assert all(torch.equal(a["real"], b["real"]) for a, b in zip(whole[30:], rest, strict=True))


def test_ranks_share_a_batch():
    whole = _loader().batch(4)
    parts = [_loader(rank=r, world=2).batch(4) for r in (0, 1)]
    for name, values in whole.items():
        # disjoint, and together the batch of one process, in its order
        assert torch.equal(torch.stack([p[name] for p in parts], 1).flatten(0, 1), values), name


def test_style_images_are_of_any_class():
    batch = _loader(batch=4000).batch(0)
    same = _chars(batch["style_image"]) == batch["char"].numpy()
    counts = np.bincount(_chars(batch["style_image"]), minlength=7)
    expected = 4000 * np.array([40, 20, 10, 5, 1, 2, 0]) / 78  # every image is as likely
    sigma = np.sqrt(np.maximum(expected * (1 - expected / 4000), 1))
    assert (np.abs(counts - expected) < 3.5 * sigma).all()
    # independent of the character of the pair
    share = np.bincount(batch["char"].numpy(), minlength=7) / 4000
    chance = (share * expected / 4000).sum()
    assert abs(same.mean() - chance) < 3.5 * np.sqrt(chance * (1 - chance) / 4000)


def test_classes_are_shown_by_the_root_of_their_images():
    loader = _loader(batch=4000)
    counts = np.bincount(loader.batch(0)["char"].numpy(), minlength=7)
    share = np.sqrt([40, 20, 10, 5, 1, 2, 0])
    expected = 4000 * share / share.sum()
    sigma = np.sqrt(np.maximum(expected * (1 - expected / 4000), 1))
    assert (np.abs(counts - expected) < 3.5 * sigma).all()
    assert counts[6] == 0


def test_styles_that_are_noise_need_no_image():
    """The rest of the batch is the same."""
    with_images, without = _loader(), _loader()
    without.style_images = False
    one, other = with_images.batch(3), without.batch(3)
    assert one.keys() - other.keys() == {"style_image"}
    assert all(torch.equal(one[k], other[k]) for k in other)


def test_a_reference_is_in_another_font_where_there_is_one():
    """The gray level says which font: seven of two characters, one of the third."""
    fonts = np.array([*range(7), *range(7), *[3] * 7])
    of = np.repeat(np.arange(3), 7)
    images = np.repeat(fonts.astype(np.uint8) * 30, 256).reshape(-1, 16, 16)
    glyphs = Glyphs(images, of, ("a", "b", "c"), fonts)
    real_of = np.repeat(np.arange(3), 5)
    loader = PairLoader(images[:15], real_of, glyphs, glyphs, 600, 5, 1)
    batch = loader.batch(0)
    content, reference = _chars(batch["content"]), _chars(batch["reference"])
    alone = batch["char"].numpy() == 2
    assert (content != reference)[~alone].all() and (reference[alone] == 3).all()
    counts = np.bincount(reference[~alone], minlength=7)
    assert (counts > 0.4 * counts.mean()).all()  # each of the others comes
    # where fonts are not known, any will do
    unknown = Glyphs(images, of, ("a", "b", "c"))
    any_font = PairLoader(images[:15], real_of, unknown, unknown, 600, 5, 1).batch(0)
    assert (_chars(any_font["content"]) == _chars(any_font["reference"]))[~alone].any()
