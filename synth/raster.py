"""Bent outlines -> uint8 images, by FreeType's anti-aliasing rasteriser called directly.

Pillow's way loads and hints a glyph per call and knows no bent outlines; here FreeType gets
outlines in 26.6 fixed point and writes into numpy's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import freetype.raw as ft
import numpy as np
from freetype import get_handle

from synth.canvas import Canvas
from synth.glyphs import RawBatch, RawOutline
from synth.handwriting import Shapes


def rasterise(shapes: Shapes, canvas: Canvas) -> np.ndarray:
    """-> [N, H, W] uint8, ink 255 on 0, non-zero winding (overlapping strokes stay ink)."""
    points = shapes.points.astype(np.float64) * 64
    points[:, 1] = canvas.size_px * 64 - points[:, 1]
    # far outside is as good as outside; FreeType refuses more than 16 bit
    np.clip(points, -_FAR_PX * 64, _FAR_PX * 64, out=points)
    tags = np.ones(len(points), np.uint8)
    return _fill(points, tags, shapes.contour_starts, shapes.sample_starts, canvas.size_px)


def plain_pictures(
    glyphs: Sequence[RawOutline] | RawBatch, size_px: int, margin_px: float
) -> np.ndarray:
    """-> [N, size_px, size_px] uint8: each glyph's points centred, filling the box."""
    batch = glyphs if isinstance(glyphs, RawBatch) else RawBatch.of(glyphs)
    if not len(batch.n_points):
        return np.zeros((0, size_px, size_px), np.uint8)
    starts = np.append(0, np.cumsum(batch.n_points))
    contour_starts = np.append(0, batch.ends + 1 + np.repeat(starts[:-1], batch.n_contours))
    # most fonts put points where a curve turns back: then this box is the ink's
    low = np.minimum.reduceat(batch.points, starts[:-1])
    high = np.maximum.reduceat(batch.points, starts[:-1])
    scale = 64 * (size_px - 2 * margin_px) / np.maximum((high - low).max(1), 1)
    shift = 32 * size_px - (low + high) / 2 * scale[:, None]
    points = batch.points * np.repeat(scale, batch.n_points)[:, None]
    points += np.repeat(shift, batch.n_points, 0)
    sample_starts = np.append(0, np.cumsum(batch.n_contours))
    return _fill(points, batch.tags, contour_starts, sample_starts, size_px)


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
_FAR_PX = 500


def _quick(function: Any, result: Any, *arguments: Any) -> Any:
    """A C function that takes plain addresses.

    The wrapper's pointer objects cost as much as a small glyph. Python's lock stays held, since one
    FreeType library is not made for several threads.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value
    return ctypes.PYFUNCTYPE(result, *arguments)(address)


_draw = _quick(ft.FT_Outline_Get_Bitmap, ctypes.c_int, *[ctypes.c_void_p] * 3)
_move = _quick(ft.FT_Outline_Translate, None, ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
# FreeType works in a pool of some 680 cells, one for each pixel that an edge touches. Where that
# overflows it starts again in two halves: such a glyph is given in halves at once.
_CELLS = 640


def _fill(
    points: np.ndarray,  # [P, 2] float64, 64ths of a px, y up; overwritten
    tags: np.ndarray,  # [P] uint8, FreeType's
    contour_starts: np.ndarray,  # [C + 1] into points
    sample_starts: np.ndarray,  # [N + 1] into contours
    size: int,
) -> np.ndarray:
    """-> [N, size, size] uint8"""
    count = len(sample_starts) - 1
    images = np.zeros((count, size, size), np.uint8)
    np.rint(points, out=points)
    fixed, tags = points.astype(np.int64, order="C"), np.ascontiguousarray(tags)
    n_contours = np.diff(sample_starts)
    point_starts = contour_starts[sample_starts]
    n_points = np.diff(point_starts)
    if n_points.max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError("an outline of more than 32,767 points")
    own_ends = (contour_starts[1:] - 1 - np.repeat(point_starts[:-1], n_contours)).astype(np.int16)
    # every glyph's structs, filled for all at once
    outlines = np.zeros(count, _OUTLINES)
    outlines["n_contours"], outlines["n_points"] = n_contours, n_points
    outlines["points"] = fixed.ctypes.data + 16 * point_starts[:-1]
    outlines["tags"] = tags.ctypes.data + point_starts[:-1]
    outlines["contours"] = own_ends.ctypes.data + 2 * np.asarray(sample_starts[:-1])
    half = size // 2
    parts = ((0, size), (0, size - half), (size - half, half))  # all, upper and lower half
    bitmaps = [_bitmaps(images, top, rows) for top, rows in parts]
    library = ctypes.cast(get_handle(), ctypes.c_void_p).value
    outline, step = outlines.ctypes.data, 0
    at = [b.ctypes.data for b in bitmaps]
    for i, crowded in enumerate(_crowded(points, point_starts)):
        if crowded:
            error = _draw(library, outline, at[2] + step)
            _move(outline, 0, -64 * half)
            error = _draw(library, outline, at[1] + step) or error
        else:
            error = _draw(library, outline, at[0] + step)
        if error:
            raise RuntimeError(f"FreeType could not draw sample {i} (error {error})")
        outline += _OUTLINES.itemsize
        step += _BITMAPS.itemsize
    return images


def _bitmaps(images: np.ndarray, top: int, rows: int) -> np.ndarray:
    """FreeType's bitmaps [N] of rows top .. top + rows of [N, size, size] uint8."""
    count, size, _ = images.shape
    bitmaps = np.zeros(count, _BITMAPS)
    bitmaps["rows"], bitmaps["width"], bitmaps["pitch"] = rows, size, size
    bitmaps["num_grays"], bitmaps["pixel_mode"] = 256, ft.FT_PIXEL_MODE_GRAY
    bitmaps["buffer"] = images.ctypes.data + (np.arange(count) * size + top) * size
    return bitmaps


def _crowded(points: np.ndarray, point_starts: np.ndarray) -> list[bool]:
    """[P, 2] 64ths of a px, [N + 1] -> for each glyph whether its edges touch too many pixels.

    Overwrites the points: fresh memory costs more here than arithmetic.
    """
    points[:-1] -= points[1:]
    np.abs(points, out=points)
    length = np.add.reduceat(points, point_starts[:-1]).sum(1)
    return (length > 64 * _CELLS).tolist()
