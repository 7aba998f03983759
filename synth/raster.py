"""Bent outlines -> uint8 images, by FreeType's anti-aliasing rasteriser called directly.

Pillow's way loads and hints a glyph per call and knows no bent outlines; here FreeType gets polygons
in 26.6 fixed point and writes into numpy's memory.
"""

from __future__ import annotations

import ctypes

import freetype.raw as ft
import numpy as np
from freetype import get_handle

from synth.canvas import Canvas
from synth.handwriting import Shapes


def rasterise(shapes: Shapes, canvas: Canvas) -> np.ndarray:
    """-> [N, H, W] uint8, ink 255 on 0, non-zero winding (overlapping strokes stay ink)."""
    size = canvas.size_px
    count = len(shapes.sample_starts) - 1
    images = np.zeros((count, size, size), np.uint8)
    fixed = np.rint(shapes.points.astype(np.float64) * 64)
    fixed[:, 1] = size * 64 - fixed[:, 1]  # FreeType's y is up, a positive pitch starts at the top
    limit = 16 * size * 64  # far outside is as good as outside; FreeType refuses more than 16 bit
    fixed = np.ascontiguousarray(np.clip(fixed, -limit, limit).astype(np.int64))
    tags = np.ones(len(fixed), np.uint8)
    ends = (shapes.contour_starts[1:] - 1).astype(np.int64)

    outline, bitmap = ft.FT_Outline(), ft.FT_Bitmap()
    bitmap.rows = bitmap.width = bitmap.pitch = size
    bitmap.num_grays, bitmap.pixel_mode = 256, ft.FT_PIXEL_MODE_GRAY
    library = get_handle()
    points_at, tags_at, images_at = fixed.ctypes.data, tags.ctypes.data, images.ctypes.data
    # looked up once: these casts cost as much as a small glyph
    vector_p, buffer_p = type(outline.points), type(bitmap.buffer)
    tags_p, ends_p = type(outline.tags), type(outline.contours)
    ends_type = np.dtype(ends_p._type_) if hasattr(ends_p, "_type_") else np.dtype(np.int16)
    for i in range(count):
        first, last = shapes.sample_starts[i], shapes.sample_starts[i + 1]
        start, stop = int(shapes.contour_starts[first]), int(shapes.contour_starts[last])
        own_ends = (ends[first:last] - start).astype(ends_type)
        outline.n_contours, outline.n_points = int(last - first), stop - start
        outline.points = ctypes.cast(points_at + 16 * start, vector_p)
        outline.tags = ctypes.cast(tags_at + start, tags_p)
        outline.contours = ctypes.cast(own_ends.ctypes.data, ends_p)
        bitmap.buffer = ctypes.cast(images_at + i * size * size, buffer_p)
        if error := ft.FT_Outline_Get_Bitmap(library, ctypes.byref(outline), ctypes.byref(bitmap)):
            raise RuntimeError(f"FreeType could not draw sample {i} (error {error})")
    return images
