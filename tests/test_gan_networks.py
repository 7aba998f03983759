"""The generator keeps content by construction; the pieces it is made of do what their names say."""

import torch

from gan.networks import BendingGenerator, Discriminator, Recogniser, bend, thicker, thinner


def _glyphs(count: int = 6) -> torch.Tensor:
    """Strokes at random places: [B, 1, 64, 64] in -1..1."""
    draws = torch.Generator().manual_seed(3)
    x = -torch.ones(count, 1, 64, 64)
    for i in range(count):
        for _ in range(4):
            r, c = torch.randint(8, 48, (2,), generator=draws).tolist()
            x[i, 0, r : r + 4, c : c + 14] = 1
            x[i, 0, c : c + 14, r : r + 3] = 1
    return x


def test_bend_without_change_returns_its_input():
    ink = (_glyphs() + 1) / 2
    same = bend(ink, torch.zeros(6, 6), torch.zeros(6, 2, 16, 16))
    assert (same - ink).abs().max() < 1e-5


def test_bend_moves_ink_by_the_field():
    ink = (_glyphs() + 1) / 2
    field = torch.zeros(6, 2, 16, 16)
    field[:, 0] = 2 * 4 / 64  # sample 4 pixels further right: the picture moves 4 to the left
    moved = bend(ink, torch.zeros(6, 6), field)
    assert (moved[..., :-4] - ink[..., 4:]).abs().max() < 1e-4


def test_thicker_and_thinner_order_the_ink():
    ink = (_glyphs() + 1) / 2
    assert (thicker(ink) >= ink).all() and (thinner(ink) <= ink).all()
    assert thicker(ink).sum() > 1.2 * ink.sum() and thinner(ink).sum() < 0.8 * ink.sum()
    # a bar 5 wide loses a pixel on each side and gets it back
    bar = torch.zeros(1, 1, 32, 32)
    bar[..., 10:15, 4:28] = 1
    assert torch.equal(thicker(thinner(bar)), bar)


def test_untrained_generator_already_draws_its_glyph():
    torch.manual_seed(0)
    generator = BendingGenerator(16).eval()
    glyphs = _glyphs(6)
    with torch.no_grad():
        out = generator(glyphs, torch.randn(6, 16), torch.randn_like(glyphs))
    assert out.shape == glyphs.shape and out.abs().max() <= 1.05
    flat_out, flat_in = (out + 1).flatten(1), (glyphs + 1).flatten(1)
    likeness = torch.nn.functional.cosine_similarity(flat_out[:, None], flat_in[None], dim=2)
    # each image is nearest to its own glyph, by far
    assert (likeness.argmax(1) == torch.arange(6)).all()
    assert likeness.diagonal().min() > 0.8


def test_no_weights_can_paint_on_paper():
    """Whatever the weights, ink comes from the glyph: a blank glyph stays blank."""
    torch.manual_seed(1)
    generator = BendingGenerator(16)
    with torch.no_grad():
        for p in generator.parameters():
            p.mul_(5).add_(torch.randn_like(p) * 0.5)
        out = generator(-torch.ones(4, 1, 64, 64), torch.randn(4, 16), torch.randn(4, 1, 64, 64))
    assert (out < -0.99).all()


def test_style_reaches_the_picture_and_gradients_reach_every_weight():
    torch.manual_seed(0)
    generator = BendingGenerator(16)
    glyphs, style = _glyphs(), torch.randn(6, 16, requires_grad=True)
    out = generator(glyphs, style, torch.randn_like(glyphs))
    out.square().sum().backward()
    assert style.grad is not None and style.grad.abs().sum() > 0
    for name, p in generator.named_parameters():
        assert p.grad is not None, name


def test_discriminator_and_recogniser_shapes():
    glyphs = _glyphs(3)
    assert Discriminator(64)(glyphs, glyphs).shape == (3,)
    assert Discriminator(48)(glyphs[..., :48, :48], glyphs[..., :48, :48]).shape == (3,)
    network = Recogniser(7).eval()
    assert network(glyphs).shape == (3, 7) and network.features(glyphs).shape == (3, 192)
