"""Skeletons of drawn characters, and how far one lies from another, in pixels.

A stroke that faded away, or one that ran into its neighbour, leaves a piece of the glyph's skeleton
with nothing near it in the image's; a pen of another width leaves the skeleton where it was.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from synth.canvas import INK_FROM

_MOST_ROUNDS = 32  # a round takes a pixel off each side of a stroke


def skeletons(images: np.ndarray) -> np.ndarray:
    """[n, H, W] uint8 ink -> [n, H, W] bool, strokes one pixel wide.

    Zhang and Suen 1984, "A fast parallel algorithm for thinning digital patterns", sec. 2: its two
    alternating conditions (c), (d) and (c'), (d'), looked up for the 256 neighbourhoods, on all
    images at once.
    """
    ink = np.pad(images >= INK_FROM, [(0, 0), (1, 1), (1, 1)])
    flat = ink.reshape(-1)  # a view: what goes out of `flat` goes out of `ink`
    width = ink.shape[2]
    # p2 .. p9 of the paper: north, then clockwise
    around = (-width, 1 - width, 1, width + 1, width, width - 1, -1, -width - 1)
    for _ in range(_MOST_ROUNDS):
        before = int(np.count_nonzero(flat))
        for table in _TABLES:
            at = np.flatnonzero(flat)  # the strokes are a tenth of the picture
            code = np.zeros(len(at), np.uint8)
            for bit, step in enumerate(around):
                code |= flat[at + step].astype(np.uint8) << bit
            flat[at[table[code]]] = False
        if int(np.count_nonzero(flat)) == before:
            break
    return ink[:, 1:-1, 1:-1]


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """[256] bool each: neighbourhoods whose middle pixel goes in the first and second half round.

    Bit i of the number is p(i + 2).
    """
    p = (np.arange(256)[:, None] >> np.arange(8)) & 1  # [256, 8]: p2 .. p9
    count = p.sum(1)
    changes = ((p == 0) & (np.roll(p, -1, 1) == 1)).sum(1)
    edge = (count >= 2) & (count <= 6) & (changes == 1)
    p2, p4, p6, p8 = p[:, 0], p[:, 2], p[:, 4], p[:, 6]
    first = edge & (p2 * p4 * p6 == 0) & (p4 * p6 * p8 == 0)
    second = edge & (p2 * p4 * p8 == 0) & (p2 * p6 * p8 == 0)
    return first, second


_TABLES = _tables()


def hausdorff_px(
    first: np.ndarray, second: np.ndarray, rank: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Two stacks of skeletons [n, H, W] bool -> [n] and [n] float: within which distance of the
    second one that share of the first one lies, and the other way round. Infinite where one is
    empty.

    Huttenlocher, Klanderman and Rucklidge 1993, "Comparing images using the Hausdorff distance",
    eq. 4 (its ranked, directed distance), with exact Euclidean distances. Unlike a mean distance it
    sees one lost stroke among many; unlike the largest distance it forgives a spur.
    """
    return _directed(first, second, rank), _directed(second, first, rank)


_FIT_ROUNDS = 10
_FIT_WITHIN = (0.6, 1.6)  # scale of any direction: further is another character, not another hand


def fitted_hausdorff_px(
    images: np.ndarray, glyphs: np.ndarray, rank: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """As `hausdorff_px`, after the glyph's skeleton was slanted, stretched, turned and moved onto
    the image's: a hand that leans is no lost stroke.

    The map is that of iterative closest points: Besl and McKay 1992, "A method for registration of
    3-D shapes", sec. IV, here in two dimensions and affine. Trimming (leaving the furthest points
    out of the fit) ended further away. A map that stretches any direction by less or more than
    `_FIT_WITHIN` is no hand: the glyph stays as it is.
    """
    out = np.full((2, len(images)), np.inf)
    for i in np.flatnonzero(images.any((1, 2)) & glyphs.any((1, 2))):
        drawn = np.argwhere(images[i]).astype(float)
        tree = KDTree(drawn)
        glyph = _fitted(np.argwhere(glyphs[i]).astype(float), drawn, tree)
        out[0, i] = _ranked(KDTree(glyph).query(drawn)[0], rank)
        out[1, i] = _ranked(tree.query(glyph)[0], rank)
    return out[0], out[1]


def _fitted(glyph: np.ndarray, drawn: np.ndarray, tree: KDTree) -> np.ndarray:
    """[g, 2] points -> the same, mapped onto [d, 2] points."""
    padded = np.column_stack([glyph, np.ones(len(glyph))])
    moved = glyph
    for _ in range(_FIT_ROUNDS):
        matrix = np.linalg.lstsq(padded, drawn[tree.query(moved)[1]], rcond=None)[0]
        stretch = np.linalg.svd(matrix[:2], compute_uv=False)
        if stretch.min() < _FIT_WITHIN[0] or stretch.max() > _FIT_WITHIN[1]:
            return glyph
        moved = padded @ matrix
    return moved


def _ranked(away: np.ndarray, rank: float) -> float:
    """The distance that this share of them does not exceed."""
    nth = min(int(rank * len(away)), len(away) - 1)
    return float(np.partition(away, nth)[nth])


def _directed(points: np.ndarray, to: np.ndarray, rank: float) -> np.ndarray:
    out = np.full(len(points), np.inf)
    for i in np.flatnonzero(points.any((1, 2)) & to.any((1, 2))):
        out[i] = _ranked(ndimage.distance_transform_edt(~to[i])[points[i]], rank)
    return out
