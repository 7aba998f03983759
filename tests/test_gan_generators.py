"""What the generators keep of their glyph, and what they can lose; their pieces do what their names
say."""

import pytest
import torch

from gan.generators import (
    FIELDS,
    FIT_ROOM,
    BendingGenerator,
    PaintingGenerator,
    _sampled,
    bend_to_fit,
    displacement,
    fitted,
    hand_matrix,
    thicker,
    thinner,
)

SAME = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])


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


def bend(ink: torch.Tensor, matrix: torch.Tensor, fields: list[torch.Tensor]) -> torch.Tensor:
    """As `bend_to_fit` bends, without fitting."""
    height, width = ink.shape[2:]
    none = torch.zeros(len(ink), 2, 1, 1)
    moves = displacement([*fields, none], height, width)
    return _sampled(ink, matrix, moves, SAME.expand(len(ink), -1, -1), height, width)


def _still(cells: int) -> torch.Tensor:
    return torch.zeros(6, 2, cells, cells)


def test_bend_without_change_returns_its_input():
    ink = (_glyphs() + 1) / 2
    same = bend(ink, hand_matrix(torch.zeros(6, 3)), [_still(n) for n, _ in FIELDS])
    assert (same - ink).abs().max() < 1e-5


def test_fields_of_all_scales_add_up():
    ink = (_glyphs() + 1) / 2
    coarse, fine = _still(4), _still(16)
    coarse[:, 0] = 2 * 3 / 64  # sample 3 pixels further right: the picture moves 3 to the left
    fine[:, 0] = 2 * 1 / 64
    moved = bend(ink, SAME.expand(6, -1, -1), [coarse, fine])
    assert (moved[..., :-4] - ink[..., 4:]).abs().max() < 1e-4


def test_in_one_field_neighbours_keep_their_order():
    """Whatever its values: where a pixel comes from is linear in them, so the worst sum of the
    field's values at their limits is that of the sizes."""
    for cells, limit in FIELDS:
        each = torch.eye(cells * cells).view(-1, 1, cells, cells).expand(-1, 2, -1, -1)
        moves = _sources([limit * each]) - _sources([0 * each])  # what one value alone does
        for axis in (0, 1):  # along rows, along columns
            worst = moves[..., axis].diff(dim=2 - axis).abs().sum(0).max() / (2 / 64)
            assert 0.15 < 1 - worst < 0.25  # px between neighbours that were one apart


def test_the_sum_of_the_fields_can_fold_the_picture():
    """The shares that `gan.generators` tells."""
    draws = torch.Generator().manual_seed(0)
    normal = [torch.randn(200, 2, n, n, generator=draws) for n, _ in FIELDS]
    extreme = [limit * x.sign() for x, (_, limit) in zip(normal, FIELDS, strict=True)]
    usual = [limit * x.tanh() for x, (_, limit) in zip(normal, FIELDS, strict=True)]
    for field in extreme:
        assert _folded(_sources([field])).mean() < 1e-4  # one alone: hardly any
    assert 0.04 < _folded(_sources(extreme)).mean() < 0.06
    assert 0.0005 < _folded(_sources(usual)).mean() < 0.003


def _sources(fields: list[torch.Tensor]) -> torch.Tensor:
    """[B, 64, 64, 2]: where each pixel comes from, in half image widths."""
    x = (2 * torch.arange(64.0) + 1) / 64 - 1
    here = torch.stack([x.expand(64, -1), x[:, None].expand(-1, 64)], -1)
    return here + displacement(fields, 64, 64).permute(0, 2, 3, 1)


def _folded(grid: torch.Tensor) -> torch.Tensor:
    """[B, H, W, 2] -> [B, H - 1, W - 1] float: 1 where a cell between pixels is turned over."""
    right = grid[:, :-1, 1:] - grid[:, :-1, :-1]
    down = grid[:, 1:, :-1] - grid[:, :-1, :-1]
    return (right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] <= 0).float()


def test_hands_slant_stretch_and_turn_without_changing_the_area():
    torch.manual_seed(0)
    matrices = hand_matrix(3 * torch.randn(50, 3))
    assert torch.allclose(torch.linalg.det(matrices[:, :, :2]), torch.ones(50), atol=1e-5)
    assert (matrices[:, :, 2] == 0).all()
    slanted = hand_matrix(torch.tensor([[9.0, 0, 0]]))[0, :, :2]
    assert torch.allclose(slanted, torch.tensor([[1, 0.4], [0, 1]]), atol=1e-4)


def test_slanted_ink_stays_in_the_middle_and_is_not_cut():
    """Whatever the hand, the longer extent is the glyph's, as the importer leaves it."""
    frame = torch.zeros(40, 1, 64, 64)
    frame[:, :, 5:59, 5:59] = 1
    frame[:, :, 9:55, 9:55] = 0
    frame = frame.roll(2, 3)  # not quite in the middle
    torch.manual_seed(0)
    out = bend(frame, fitted(hand_matrix(2 * torch.randn(40, 3)), frame), [])
    for image in out[:, 0] > 0.5:
        rows, columns = (image.any(axis).nonzero()[:, 0] for axis in (1, 0))
        extents = [int(at[-1] - at[0]) + 1 for at in (rows, columns)]
        assert abs(max(extents) - 54) <= 2
        assert all(abs(int(at[0] + at[-1]) - 63) <= 2 for at in (rows, columns))
    blank = torch.zeros(2, 1, 64, 64)
    assert torch.isfinite(fitted(hand_matrix(torch.randn(2, 3)), blank)).all()


def _longer_and_middle(image: torch.Tensor) -> tuple[int, list[int]]:
    """[H, W] bool -> its ink's longer extent, and twice the middle of its rows and columns, px."""
    at = [image.any(axis).nonzero()[:, 0] for axis in (1, 0)]
    return max(int(a[-1] - a[0]) + 1 for a in at), [int(a[0] + a[-1]) for a in at]


@pytest.mark.parametrize("thick", [2, 5])
def test_bent_ink_stands_where_the_ink_stood(thick):
    """Also where the fields alone would push it out of the picture, or leave half of its box."""
    frame = torch.zeros(60, 1, 64, 64)
    frame[:, :, 5:59, 9:55] = 1
    frame[:, :, 5 + thick : 59 - thick, 9 + thick : 55 - thick] = 0
    torch.manual_seed(0)
    fields = [limit * torch.randn(60, 2, n, n).sign() for n, limit in FIELDS]
    matrix = fitted(hand_matrix(0.5 * torch.randn(60, 3)), frame)
    loose = [_longer_and_middle(i > 0.4)[0] for i in bend(frame, matrix, fields)[:, 0]]
    assert max(loose) == 64  # cut off
    extents = []
    for image in bend_to_fit(frame, matrix, fields)[:, 0] > 0.4:
        longer, (rows, columns) = _longer_and_middle(image)
        assert abs(longer - 54) <= 2 and abs(rows - 63) <= 2 and abs(columns - 63) <= 2
        extents.append(longer)
    assert sum(extents) / len(extents) == pytest.approx(54, abs=0.5)


def test_fitting_changes_nothing_that_fits_already():
    """Nor a blank, nor where the ink stands: it aims at the glyph's own box."""
    ink = (_glyphs() + 1) / 2
    ink[5] = 0
    same = bend_to_fit(ink, SAME.expand(6, -1, -1), [_still(n) for n, _ in FIELDS])
    assert (same - ink).abs().max() < 1e-4
    assert ink.flatten(1).any(1).tolist() == [True] * 5 + [False]


def test_fitting_takes_one_sampling_and_passes_its_gradient():
    """A line one pixel wide keeps its ink; a second sampling would spread it."""
    line = torch.zeros(1, 1, 64, 64)
    line[..., 5:59, 30] = line[..., 31, 5:59] = 1
    coarse = torch.zeros(1, 2, 4, 4, requires_grad=True)
    # everything a half pixel to the left and four up: back in the middle, no half pixel is left
    moved = coarse + torch.tensor([1 / 64, 8 / 64]).view(1, 2, 1, 1)
    out = bend_to_fit(line, SAME, [moved])
    assert out[0, 0, 8:30, 29:32].max(1).values.min() > 0.97  # twice sampled: .5
    out[..., :32].sum().backward()
    assert coarse.grad is not None and coarse.grad.abs().sum() > 0


def test_what_is_left_of_lost_ink_is_not_blown_up():
    dot = torch.zeros(1, 1, 64, 64)
    dot[..., 5:59, 5:59] = 1
    shrunk = torch.tensor([[[6.0, 0, 0], [0, 6, 0]]])  # six pixels of the picture to one
    out = bend_to_fit(dot, shrunk, [_still(4)[:1]])
    assert _longer_and_middle(out[0, 0] > 0.4)[0] == pytest.approx(54 / 6 * FIT_ROOM, abs=2)


def test_thicker_and_thinner_order_the_ink():
    ink = (_glyphs() + 1) / 2
    assert (thicker(ink) >= ink).all() and (thinner(ink) <= ink).all()
    assert thicker(ink).sum() > 1.2 * ink.sum() and thinner(ink).sum() < 0.8 * ink.sum()
    # a bar 5 wide loses a pixel on each side and gets it back
    bar = torch.zeros(1, 1, 32, 32)
    bar[..., 10:15, 4:28] = 1
    assert torch.equal(thicker(thinner(bar)), bar)


def _blurred(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(x + 1, 8, stride=4).flatten(1)


@pytest.mark.parametrize("kind", [BendingGenerator, PaintingGenerator])
def test_untrained_generator_already_draws_its_glyph(kind):
    torch.manual_seed(0)
    generator, glyphs = kind(16).eval(), _glyphs(6)
    ink = (glyphs + 1) / 2
    glyphs = 2 * bend(ink, fitted(SAME.expand(6, -1, -1), ink), []) - 1  # as glyphs come: centred
    with torch.no_grad():
        out = generator(glyphs, torch.randn(6, 16), torch.randn_like(glyphs))
    assert out.shape == glyphs.shape and out.abs().max() <= 1.05
    likeness = torch.nn.functional.cosine_similarity(
        _blurred(out)[:, None], _blurred(glyphs)[None], dim=2
    )
    # each image is nearest to its own glyph
    assert (likeness.argmax(1) == torch.arange(6)).all()
    assert likeness.diagonal().min() > 0.7


def test_an_untrained_bending_generator_already_has_many_hands():
    """Over styles, slant, pen and place of the parts vary about as hands do."""
    torch.manual_seed(0)
    generator = BendingGenerator(48)
    cross = -torch.ones(200, 1, 64, 64)
    cross[:, 0, 10:54, 30:34] = 1
    styles, noise = torch.randn(200, 48), torch.zeros(200, 1, 64, 64)
    with torch.no_grad():
        ink = (generator(cross, styles, noise) + 1) / 2
        again = (generator(cross, styles, noise) + 1) / 2
    assert torch.equal(ink, again)
    column = torch.arange(64.0)

    def middle(rows: slice) -> torch.Tensor:
        part = ink[:, 0, rows].sum(1)
        return (part * column).sum(1) / part.sum(1)

    slant = torch.atan((middle(slice(38, 50)) - middle(slice(14, 26))) / 24).rad2deg()
    assert 4 < slant.std() < 16
    width = ink[:, 0, 20:44].sum(2).mean(1)
    assert 0.1 < width.std() / width.mean() < 0.4


def test_no_weights_can_paint_on_paper():
    """Whatever the weights, ink comes from the glyph: a blank glyph stays blank."""
    torch.manual_seed(1)
    generator = BendingGenerator(16)
    with torch.no_grad():
        for p in generator.parameters():
            p.mul_(5).add_(torch.randn_like(p) * 0.5)
        out = generator(-torch.ones(4, 1, 64, 64), torch.randn(4, 16), torch.randn(4, 1, 64, 64))
    assert (out < -0.99).all()


@pytest.mark.parametrize(
    ("press", "grain", "stays"),
    [((50.0, 0.0, 0.0, 0.0), 0.0, True), ((0.0, 50.0, 0.0, -50.0), -50.0, False)],
    ids=["the thin pen", "the palest ink"],
)
def test_weights_can_lose_a_stroke(press, grain, stays):
    """The thin one of two, or both: what `gan.checks` compares skeletons for."""
    torch.manual_seed(0)
    generator = BendingGenerator(16)
    cross = -torch.ones(1, 1, 64, 64)
    cross[..., 31:33, 5:59] = 1
    cross[..., 5:59, 29:35] = 1
    with torch.no_grad():
        for layer in (*generator.field, *generator.sweep, generator.hand, generator.press):
            layer.weight.zero_()
        generator.press.bias.copy_(torch.tensor(press))
        generator.grain[-1].bias.fill_(grain)
        ink = (generator(cross, torch.zeros(1, 16), torch.zeros_like(cross))[0, 0] + 1) / 2
    assert ink[28:36, 8:24].max() < 0.1
    assert (ink[8:24, 31:33].min() > 0.3) == stays


def test_the_painting_one_can():
    torch.manual_seed(1)
    generator = PaintingGenerator(16)
    with torch.no_grad():
        generator.paint.bias.fill_(4)
        out = generator(-torch.ones(1, 1, 64, 64), torch.randn(1, 16), torch.randn(1, 1, 64, 64))
    assert out.max() > 0.5


def test_coordinates_stay_exact_under_autocast():
    """bfloat16 has 8 bits: in it a point at the edge of 64 px would lie up to .06 px beside."""
    torch.manual_seed(0)
    raw, ink = torch.randn(6, 3), (_glyphs() + 1) / 2
    fields = [0.1 * torch.randn(6, 2, n, n) for n, _ in FIELDS]

    def ways() -> list[torch.Tensor]:
        matrix = hand_matrix(raw)
        placed = fitted(matrix, ink)
        # where each pixel comes from: a picture that is its own coordinates
        across = torch.linspace(0, 1, 64).expand(6, 1, 64, 64).contiguous()
        return [matrix, placed, *(bend_to_fit(x, placed, fields) for x in (across, ink))]

    wanted = ways()
    with torch.autocast("cpu", torch.bfloat16):
        found = ways()
    for a, b in zip(wanted, found, strict=True):
        assert b.dtype == torch.float32 and torch.equal(a, b)
