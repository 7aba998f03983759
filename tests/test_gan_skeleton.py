"""Thinning against a reference pixel by pixel; the ranked Hausdorff distance against all pairs."""

import numpy as np
from conftest import draw_strokes
from scipy import ndimage
from scipy.spatial.distance import cdist

from gan.skeleton import INK_FROM, fitted_hausdorff_px, hausdorff_px, skeletons


def drawings(count: int, first: int = 0) -> np.ndarray:
    """[count, 72, 72] uint8 ink."""
    return np.stack([255 - np.asarray(draw_strokes(first + i)) for i in range(count)])


def reference(ink: np.ndarray) -> np.ndarray:
    """Zhang and Suen 1984, as the paper words it: one pixel after the other."""
    ink = np.pad(ink, 1)
    while True:
        gone_in_round = 0
        for half in (0, 1):
            gone = []
            for y, x in zip(*np.nonzero(ink), strict=True):
                p2, p3, p4 = ink[y - 1, x], ink[y - 1, x + 1], ink[y, x + 1]
                p5, p6, p7 = ink[y + 1, x + 1], ink[y + 1, x], ink[y + 1, x - 1]
                p8, p9 = ink[y, x - 1], ink[y - 1, x - 1]
                ring = [p2, p3, p4, p5, p6, p7, p8, p9]
                turns = sum(not a and b for a, b in zip(ring, ring[1:] + ring[:1], strict=True))
                pair = ((p2, p4, p6), (p4, p6, p8)) if half == 0 else ((p2, p4, p8), (p2, p6, p8))
                if 2 <= sum(ring) <= 6 and turns == 1 and not any(all(t) for t in pair):
                    gone.append((y, x))
            for at in gone:
                ink[at] = False
            gone_in_round += len(gone)
        if not gone_in_round:
            return ink[1:-1, 1:-1]


def test_thinning_is_that_of_the_paper():
    images = drawings(4)
    for image, thin in zip(images, skeletons(images), strict=True):
        assert (thin == reference(image >= INK_FROM)).all()


def test_a_skeleton_is_thin_and_in_one_piece_where_the_drawing_is():
    images = drawings(8)
    for image, thin in zip(images, skeletons(images), strict=True):
        ink = image >= INK_FROM
        assert 0 < thin.sum() < 0.5 * ink.sum() and not (thin & ~ink).any()
        pieces = [ndimage.label(m, np.ones((3, 3)))[1] for m in (ink, thin)]
        assert pieces[0] == pieces[1]


def test_pen_width_leaves_the_skeleton_in_its_place():
    thin = np.zeros((1, 64, 64), np.uint8)
    thin[0, 30:33, 10:50] = 255
    thick = ndimage.grey_dilation(thin, (1, 5, 5))
    assert max(d[0] for d in hausdorff_px(skeletons(thin), skeletons(thick))) < 3


def test_distances_are_those_of_all_pairs():
    a, b = skeletons(drawings(6)), skeletons(drawings(6, 50))
    for rank in (0.5, 0.95):
        found = hausdorff_px(a, b, rank)
        for first, second, here, there in zip(a, b, *found, strict=True):
            pairs = cdist(np.argwhere(first), np.argwhere(second))
            for nearest, value in ((pairs.min(1), here), (pairs.min(0), there)):
                # at least that share lies within it, and less than that share within less
                assert np.isclose(nearest, value).any()
                assert (nearest <= value + 1e-9).mean() >= rank >= (nearest < value - 1e-9).mean()


def test_nothing_is_far_from_everything():
    drawn = skeletons(drawings(1))
    blank = np.zeros_like(drawn)
    for pair in ((drawn, blank), (blank, drawn), (blank, blank)):
        assert np.isinf(hausdorff_px(*pair)).all()


def moved(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """[H, W] uint8 -> the same, slanted and stretched about its middle."""
    middle = np.array(image.shape) / 2 - 0.5
    return ndimage.affine_transform(image, matrix, middle - matrix @ middle, order=1)


def test_a_leaning_hand_is_near_its_glyph_and_another_character_is_not():
    glyphs = drawings(12)
    leaning = np.stack([moved(g, np.array([[1.1, 0.0], [0.25, 0.9]])) for g in glyphs])
    plain = np.maximum(*hausdorff_px(skeletons(leaning), skeletons(glyphs)))
    fitted = np.maximum(*fitted_hausdorff_px(skeletons(leaning), skeletons(glyphs)))
    assert np.median(plain) > 5 and np.median(fitted) < 2 and (fitted < plain).all()
    others = np.maximum(*fitted_hausdorff_px(skeletons(leaning), skeletons(np.roll(glyphs, 1, 0))))
    assert np.median(others) > 2.5 * np.median(fitted) and others.min() > fitted.max()


def test_a_lost_stroke_is_far_even_after_the_fit():
    whole = np.zeros((1, 64, 64), np.uint8)
    for row in (10, 30, 50):
        whole[0, row : row + 3, 10:54] = 255
    whole[0, 10:53, 31:34] = 255
    lost = whole.copy()
    lost[0, 48:, :] = 0
    assert max(d[0] for d in fitted_hausdorff_px(skeletons(whole), skeletons(whole))) < 0.5
    assert max(d[0] for d in fitted_hausdorff_px(skeletons(lost), skeletons(whole))) > 6


def test_nothing_is_fitted_to_nothing():
    drawn = skeletons(drawings(1))
    blank = np.zeros_like(drawn)
    for pair in ((drawn, blank), (blank, drawn), (blank, blank)):
        assert np.isinf(fitted_hausdorff_px(*pair)).all()
