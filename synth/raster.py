"""Bent outlines -> uint8 images, by FreeType's anti-aliasing rasteriser called directly.

Pillow's way loads and hints a glyph per call and knows no bent outlines; here FreeType gets
outlines in 26.6 fixed point and writes into numpy's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import repeat

import freetype.raw as ft
import numpy as np
from freetype import get_handle

from synth.canvas import Canvas
from synth.glyphs import RawBatch, RawOutline, address
from synth.handwriting import Shapes


def rasterise(shapes: Shapes, canvas: Canvas) -> np.ndarray:
    """-> [N, H, W] uint8, ink 255 on 0, non-zero winding (overlapping strokes stay ink)."""
    points = shapes.points.astype(np.float64) * 64
    points[:, 1] = canvas.size_px * 64 - points[:, 1]
    # far outside is as good as outside; FreeType refuses more than 16 bit
    np.clip(points, -_FAR_PX * 64, _FAR_PX * 64, out=points)
    n_contours = np.diff(shapes.sample_starts)
    starts = shapes.contour_starts[shapes.sample_starts]
    ends = shapes.contour_starts[1:] - 1 - np.repeat(starts[:-1], n_contours)
    tags = np.ones(len(points), np.uint8)
    return _fill(points, tags, ends, np.diff(starts), n_contours, canvas.size_px)


def plain_pictures(
    glyphs: Sequence[RawOutline] | RawBatch, size_px: int, margin_px: float
) -> np.ndarray:
    """-> [N, size_px, size_px] uint8: each glyph's points centred, filling the box."""
    batch = glyphs if isinstance(glyphs, RawBatch) else RawBatch.of(glyphs)
    n_points = batch.n_points
    if not len(n_points):
        return np.zeros((0, size_px, size_px), np.uint8)
    starts = n_points.cumsum() - n_points
    # most fonts put points where a curve turns back: then this box is the ink's
    low = np.minimum.reduceat(batch.points, starts)
    high = np.maximum.reduceat(batch.points, starts)
    scale = 64 * (size_px - 2 * margin_px) / np.maximum((high - low).max(1, keepdims=True), 1)
    shift = 32 * size_px - (low + high) / 2 * scale
    # once for x and once for y: to broadcast a column takes numpy twice as long
    points = np.repeat(np.repeat(scale, 2, 1), n_points, 0)
    points *= batch.points
    points += np.repeat(shift, n_points, 0)
    return _fill(points, batch.tags, batch.ends, n_points, batch.n_contours, size_px)


def _records(struct: type[ctypes.Structure], names: Sequence[str]) -> np.dtype:
    """A numpy layout of a C struct's named fields, addresses as integers."""
    fields = [getattr(struct, name) for name in names]
    return np.dtype(
        {
            "names": list(names),
            "offsets": [f.offset for f in fields],
            "formats": [f"i{f.size}" for f in fields],
            "itemsize": ctypes.sizeof(struct),
        }
    )


_OUTLINES = _records(
    ft.FT_Outline, ("n_contours", "n_points", "points", "tags", "contours", "flags")
)
_BITMAPS = _records(ft.FT_Bitmap, ("rows", "width", "pitch", "buffer", "num_grays", "pixel_mode"))
_FAR_PX = 511  # beyond every canvas's box, which ends at 507 of 512 px

# Given plain addresses: the wrapper's pointer objects cost as much as a small glyph. Python's lock
# stays held, since one FreeType library is not made for several threads.
_get_bitmap = ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(
    address(ft.FT_Outline_Get_Bitmap)
)
# FreeType works in a pool of some 680 cells, one for each pixel that an edge touches. Where that
# overflows it starts again in two halves: such a glyph is given in halves at once.
_CELLS = 640


def _fill(
    points: np.ndarray,  # [P, 2] float64, 64ths of a px, y up; overwritten
    tags: np.ndarray,  # [P] uint8, FreeType's
    ends: np.ndarray,  # [C] each contour's last point, counted from its glyph's first
    n_points: np.ndarray,  # [N] of each glyph
    n_contours: np.ndarray,  # [N] of each glyph
    size: int,
) -> np.ndarray:
    """-> [N, size, size] uint8"""
    count, half = len(n_points), size // 2
    if n_points.max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError("an outline of more than 32,767 points")
    images = np.zeros((count, size, size), np.uint8)
    np.rint(points, out=points)
    fixed, tags = points.astype(np.int64, order="C"), np.ascontiguousarray(tags)
    ends, starts = ends.astype(np.int16), n_points.cumsum() - n_points
    crowded = _crowded(points, starts, n_points)
    # every glyph's structs, filled for all at once
    outlines = np.zeros(count, _OUTLINES)
    outlines["n_contours"], outlines["n_points"] = n_contours, n_points
    outlines["points"] = fixed.ctypes.data + 16 * starts
    outlines["tags"] = tags.ctypes.data + starts
    outlines["contours"] = ends.ctypes.data + 2 * (n_contours.cumsum() - n_contours)
    pictures = images.ctypes.data + size * size * np.arange(count)
    bitmaps = np.zeros(count, _BITMAPS)
    bitmaps["width"], bitmaps["pitch"] = size, size
    bitmaps["num_grays"], bitmaps["pixel_mode"] = 256, ft.FT_PIXEL_MODE_GRAY
    bitmaps["rows"] = np.where(crowded, half, size)
    bitmaps["buffer"] = pictures + np.where(crowded, size - half, 0) * size
    _draw(outlines, bitmaps)
    if crowded.any():  # of these the lower half so far
        fixed[:, 1] -= 64 * half
        bitmaps["rows"], bitmaps["buffer"] = size - half, pictures
        _draw(outlines[crowded], bitmaps[crowded])
    return images


def _draw(outlines: np.ndarray, bitmaps: np.ndarray) -> None:
    """FreeType's structs [N], [N]: each outline into its bitmap."""
    library = ctypes.cast(get_handle(), ctypes.c_void_p).value
    for error in map(_get_bitmap, repeat(library), _addresses(outlines), _addresses(bitmaps)):
        if error:
            raise RuntimeError(f"FreeType could not draw a glyph (error {error})")


def _addresses(structs: np.ndarray) -> range:
    first = structs.ctypes.data
    return range(first, first + structs.nbytes, structs.itemsize)


def _crowded(points: np.ndarray, starts: np.ndarray, n_points: np.ndarray) -> np.ndarray:
    """[P, 2] 64ths of a px, [N] first points -> [N] bool: do its edges touch too many pixels?

    Overwrites the points: fresh memory costs more here than arithmetic.
    """
    points[:-1] -= points[1:]
    points[starts + n_points - 1] = 0  # from a glyph's last point no edge leads to the next glyph
    np.abs(points, out=points)
    length = np.add.reduceat(points, starts).sum(1)
    return length > 64 * _CELLS
