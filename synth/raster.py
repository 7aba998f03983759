"""Bent outlines -> uint8 images, by FreeType's anti-aliasing rasteriser called directly.

Pillow's way loads and hints a glyph per call and knows no bent outlines; here FreeType gets
outlines in 26.6 fixed point and writes into numpy's memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import freetype.raw as ft
import numpy as np
from freetype import get_handle

from synth.canvas import Canvas
from synth.handwriting import Shapes
from synth.outlines import RawOutline


def rasterise(shapes: Shapes, canvas: Canvas) -> np.ndarray:
    """-> [N, H, W] uint8, ink 255 on 0, non-zero winding (overlapping strokes stay ink)."""
    points = shapes.points.astype(np.float64)
    points[:, 1] = canvas.size_px - points[:, 1]
    tags = np.ones(len(points), np.uint8)
    return _fill(points, tags, shapes.contour_starts, shapes.sample_starts, canvas.size_px)


def plain_pictures(glyphs: Sequence[RawOutline], size_px: int, margin_px: float) -> np.ndarray:
    """-> [N, size_px, size_px] uint8: each glyph's points centred, filling the box."""
    if not glyphs:
        return np.zeros((0, size_px, size_px), np.uint8)
    points = np.concatenate([g.points for g in glyphs]).astype(np.float64)
    n_points = np.array([len(g.points) for g in glyphs])
    starts = np.concatenate([[0], np.cumsum(n_points)])
    n_contours = [len(g.ends) for g in glyphs]
    ends = np.concatenate([g.ends for g in glyphs]).astype(np.int64)
    contour_starts = np.append(0, ends + 1 + np.repeat(starts[:-1], n_contours))
    # most fonts put points where a curve turns back: then this box is the ink's
    low = np.minimum.reduceat(points, starts[:-1])
    high = np.maximum.reduceat(points, starts[:-1])
    scale = (size_px - 2 * margin_px) / np.maximum((high - low).max(1), 1)
    points -= np.repeat((low + high) / 2, n_points, 0)
    points *= np.repeat(scale, n_points)[:, None]
    points += size_px / 2
    tags = np.concatenate([g.tags for g in glyphs])
    return _fill(points, tags, contour_starts, np.append(0, np.cumsum(n_contours)), size_px)


def _fill(
    points: np.ndarray,  # [P, 2] float64 px, y up
    tags: np.ndarray,  # [P] uint8, FreeType's
    contour_starts: np.ndarray,  # [C + 1] into points
    sample_starts: np.ndarray,  # [N + 1] into contours
    size: int,
) -> np.ndarray:
    """-> [N, size, size] uint8"""
    count = len(sample_starts) - 1
    images = np.zeros((count, size, size), np.uint8)
    limit = 16 * size * 64  # far outside is as good as outside; FreeType refuses more than 16 bit
    fixed = np.clip(np.rint(points * 64), -limit, limit)
    fixed, tags = np.ascontiguousarray(fixed.astype(np.int64)), np.ascontiguousarray(tags)

    outline, bitmap = ft.FT_Outline(), ft.FT_Bitmap()
    bitmap.rows = bitmap.width = bitmap.pitch = size
    bitmap.num_grays, bitmap.pixel_mode = 256, ft.FT_PIXEL_MODE_GRAY
    library = get_handle()
    points_at, tags_at, images_at = fixed.ctypes.data, tags.ctypes.data, images.ctypes.data
    # looked up once: these casts cost as much as a small glyph
    vector_p, buffer_p = type(outline.points), type(bitmap.buffer)
    tags_p, ends_p = type(outline.tags), type(outline.contours)
    n_contours = np.diff(sample_starts)
    point_starts = contour_starts[sample_starts]
    if np.diff(point_starts).max(initial=0) > np.iinfo(np.int16).max:
        raise ValueError("an outline of more than 32,767 points")
    own_ends = (contour_starts[1:] - 1 - np.repeat(point_starts[:-1], n_contours)).astype(np.int16)
    ends_at = own_ends.ctypes.data
    outline_at, bitmap_at = ctypes.byref(outline), ctypes.byref(bitmap)
    for i, (first, n, start, stop) in enumerate(
        zip(
            sample_starts.tolist(),
            n_contours.tolist(),
            point_starts.tolist(),
            point_starts[1:].tolist(),
            strict=False,
        )
    ):
        outline.n_contours, outline.n_points = n, stop - start
        outline.points = ctypes.cast(points_at + 16 * start, vector_p)
        outline.tags = ctypes.cast(tags_at + start, tags_p)
        outline.contours = ctypes.cast(ends_at + 2 * first, ends_p)
        bitmap.buffer = ctypes.cast(images_at + i * size * size, buffer_p)
        if error := ft.FT_Outline_Get_Bitmap(library, outline_at, bitmap_at):
            raise RuntimeError(f"FreeType could not draw sample {i} (error {error})")
    return images
