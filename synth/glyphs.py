"""Glyphs as a font file has them: curves in font units, read from FreeType's memory, and bounded.

A font may be made to harm: FreeType follows composite glyphs, 4 copies of 4 copies of ..., to any
depth and number. What a glyph would cost is known before it is loaded, and before it is cut up.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import freetype
import freetype.raw as ft
import numpy as np

# The richest glyph of the project's fonts has one level of parts; of users' fonts, Hangul made of
# letters made of strokes has three.
MAX_PARTS, MAX_DEPTH = 256, 8


@dataclass(frozen=True)
class RawOutline:
    """One glyph as the font has it: curves, in font units, y up."""

    points: np.ndarray  # [P, 2] int64
    tags: np.ndarray  # [P] uint8 as FreeType's: bits 0 and 1: 1 on the curve, 0 conic, 2 cubic
    ends: np.ndarray  # [C] int16: each contour's last point


@dataclass(frozen=True)
class RawBatch:
    """Many glyphs as fonts have them, end to end."""

    points: np.ndarray  # [P, 2] int64
    tags: np.ndarray  # [P] uint8
    ends: np.ndarray  # [C] int64: each contour's last point, counted from its glyph's first
    n_points: np.ndarray  # [N] int64, of each glyph
    n_contours: np.ndarray  # [N] int64

    @classmethod
    def of(cls, glyphs: Sequence[RawOutline]) -> RawBatch:
        return cls(
            np.concatenate([np.zeros((0, 2), np.int64), *(g.points for g in glyphs)]),
            np.concatenate([np.zeros(0, np.uint8), *(g.tags for g in glyphs)]),
            np.concatenate([np.zeros(0, np.int64), *(g.ends for g in glyphs)]),
            np.array([len(g.points) for g in glyphs], np.int64),
            np.array([len(g.ends) for g in glyphs], np.int64),
        )


# FreeType's FT_Outline, addresses as integers: numbers of contours and points; points, tags, ends
_OUTLINE = struct.Struct("hhPPP")
_LOAD = freetype.FT_LOAD_NO_SCALE | freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP
_copy = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)


def address(function: Any) -> int:
    """Of one of FreeType's functions, to call it without the wrapper."""
    place = ctypes.cast(function, ctypes.c_void_p).value
    assert place is not None
    return place


_load = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int32)(
    address(ft.FT_Load_Glyph)
)


def raw_batch(face: freetype.Face, gids: Sequence[int]) -> RawBatch:
    """Glyphs of one face. Raises ValueError where one cannot be loaded or is blank."""
    handle = ctypes.cast(face._FT_Face, ctypes.c_void_p).value
    outline = face._FT_Face.contents.glyph.contents.outline
    copy, load, read = _copy, _load, _OUTLINE.unpack_from
    points, tags, ends, n_points, n_contours = [], [], [], [], []
    for gid in gids:
        error = load(handle, gid, _LOAD)
        contours, count, at_points, at_tags, at_ends = read(outline)
        if error or count < 3:
            raise ValueError(f"glyph {gid} is blank or damaged")
        points.append(copy(at_points, 16 * count))
        tags.append(copy(at_tags, count))
        ends.append(copy(at_ends, 2 * contours))
        n_points.append(count)
        n_contours.append(contours)
    return RawBatch(
        np.frombuffer(b"".join(points), np.int64).reshape(-1, 2),
        np.frombuffer(b"".join(tags), np.uint8),
        np.frombuffer(b"".join(ends), np.int16).astype(np.int64),
        np.array(n_points, np.int64),
        np.array(n_contours, np.int64),
    )


def raw_outline(outline: Any) -> RawOutline | None:
    """A copy of a FreeType outline, or None where it encloses nothing."""
    raw = outline._FT_Outline  # the wrapper's own `points` is a Python loop over every point
    if raw.n_points < 3 or raw.n_contours < 1:
        return None
    # copied as bytes: as_array costs more than the glyph
    points = np.frombuffer(ctypes.string_at(raw.points, 16 * raw.n_points), np.int64).reshape(-1, 2)
    if (points == points[0]).all():
        return None
    tags = np.frombuffer(ctypes.string_at(raw.tags, raw.n_points), np.uint8)
    ends = np.frombuffer(ctypes.string_at(raw.contours, 2 * raw.n_contours), np.int16)
    if np.diff(ends.astype(np.int64), prepend=-1).max() < 3:  # lines, of an engraver's font, say
        return None
    return RawOutline(points, tags, ends)


def too_complex(face: freetype.Face, gid: int) -> bool:
    """Whether a glyph is made of more than MAX_PARTS glyphs, or in more than MAX_DEPTH levels.

    Level by level, without FreeType's own recursion, which has no bound. A glyph that cannot be
    read is not too complex: loading it fails.
    """
    handle, slot = face._FT_Face, face._FT_Face.contents.glyph
    index, flags = ctypes.c_uint(), ctypes.c_uint()
    across, up, matrix = ctypes.c_int(), ctypes.c_int(), ft.FT_Matrix()
    about = [ctypes.byref(v) for v in (index, flags, across, up, matrix)]
    level, parts = [gid], 1
    for _ in range(MAX_DEPTH + 1):
        below: list[int] = []
        for part in level:
            if ft.FT_Load_Glyph(handle, part, _LOAD | freetype.FT_LOAD_NO_RECURSE):
                return False
            if slot.contents.format != freetype.FT_GLYPH_FORMAT_COMPOSITE:
                continue
            count = slot.contents.num_subglyphs
            parts += count
            if parts > MAX_PARTS:
                return True
            for k in range(count):
                if ft.FT_Get_SubGlyph_Info(slot, k, *about):
                    return False
                below.append(index.value)
        if not below:
            return False
        level = below
    return True
