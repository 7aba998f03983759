"""A character on its sheet, scanned again and imported as a real image is.

Low resolution, shaded paper, a form's coloured lines, a neighbour's strokes and JPEG leave their
marks through the real import alone: most paper vanishes there, but edges get rough, a dark side
stays as a wash, a line that touches the writing stays, and a neighbour makes the writing small.

The paper is drawn, not taken from the real data's margins: a store has none. The import takes the
paper's tone and grain out, stretches what is left and empties the margins; and since a rendered
sheet goes through the same import, all that a real margin could add is what that leaves of it.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from synth import chance
from synth.canvas import INK_FULL, Canvas, ink_of, place
from synth.style import Draw

_SHEET = 23  # stream of `synth.chance`
# Luma (ITU-R BT.601) of printed lines: red (225, 130, 120), blue (125, 165, 225), gray 178.
_LINES = (157, 160, 178)


def sheets(field: np.ndarray) -> np.ndarray:
    """[N] the records' field numbers -> [N, 16] what `scanned` draws a sheet from."""
    return chance.uniform(0, _SHEET, field, 16)


def scanned(
    ink: np.ndarray,  # [H, W] uint8
    beside: np.ndarray | None,  # [H, W] uint8: a neighbour's ink; None: the same once more
    grit: np.ndarray,  # [H, W] float32: noise in tones
    draw: Draw,
    u: np.ndarray,  # [16] of `sheets`
    canvas: Canvas,
) -> np.ndarray:
    """-> [H, W] uint8, all zero where the import finds no writing. Pure."""
    writing = _writing(ink, draw.scan_px)
    if writing is None:
        return np.zeros_like(ink)
    margin = np.rint(draw.scan_px * (0.06 + 0.22 * u[:4])).astype(int)  # left, right, top, bottom
    left, right, top, bottom = margin.tolist()
    high, wide = writing.shape
    sheet = np.zeros((high + top + bottom, wide + left + right), np.float32)
    sheet[top : top + high, left : left + wide] = writing * np.float32(1 / INK_FULL)
    if draw.clutter >= 0.5:
        near = None if beside is None else _writing(beside, draw.scan_px)
        _neighbour(sheet, writing if near is None else near, margin, int(u[4] * 4))
    height, width = sheet.shape
    paper, pen = 190 + 60 * u[5], 25 + 75 * u[6]
    tone = paper - (paper - pen) * sheet
    if 0 <= draw.clutter < 0.5:
        _lines(tone, margin, _LINES[int(draw.clutter * 6)], u[7:12])
    if draw.shade:
        x, y = _ramp(width), _ramp(height)
        across, down = np.cos(2 * np.pi * u[12]), np.sin(2 * np.pi * u[12])
        side = np.add.outer(down * y, across * x) / (abs(across) + abs(down))  # -1 to 1
        tone *= 1 - draw.shade * (side + 1) / 2
    repeats = (height // len(grit) + 1, width // len(grit) + 1)
    tone = np.clip(tone + np.tile(grit, repeats)[:height, :width], 0, 255).astype(np.uint8)
    return place(ink_of(_compressed(tone, draw.jpeg)), canvas)


@lru_cache(maxsize=512)
def _ramp(count: int) -> np.ndarray:
    """[count] float32 from -1 to 1."""
    return np.linspace(-1, 1, count, dtype=np.float32)


def _writing(ink: np.ndarray, longer_px: int) -> np.ndarray | None:
    """[H, W] uint8 -> the ink's box [h, w] uint8, its longer side `longer_px`; None: no ink."""
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    if not len(rows):
        return None
    part = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = longer_px / max(part.shape)
    height, width = (max(1, round(side * scale)) for side in part.shape)
    # a scanner's pixel is the mean of what it covers
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (width, height), interpolation=how))


def _neighbour(sheet: np.ndarray, near: np.ndarray, margin: np.ndarray, side: int) -> None:
    """The near edge of the same hand's next writing, cut off by the scan's own edge."""
    deep = max(2, int(margin[side]) // 2)
    part = (near[:, -deep:], near[:, :deep], near[-deep:], near[:deep])[side] / INK_FULL
    # seen from the left, whichever side it is: its middle is level with the writing's
    view = (sheet, sheet[:, ::-1], sheet.T, sheet.T[:, ::-1])[side]
    part = (part, part[:, ::-1], part.T, part.T[:, ::-1])[side]
    before, after = (margin[2], margin[3]) if side < 2 else (margin[0], margin[1])
    first = int(before + (len(view) - before - after - len(part)) // 2)
    part = part[max(0, -first) :][: len(view) - max(0, first)]
    view = view[max(0, first) :][: len(part), : part.shape[1]]
    np.maximum(view, part, out=view)


def _lines(tone: np.ndarray, margin: np.ndarray, luma: int, u: np.ndarray) -> None:
    """The printed cell: one to four lines, somewhere between the edge and the writing."""
    height, width = tone.shape
    for side in range(4):
        if side and u[side] > 0.5:
            continue
        off = int(u[4] * (margin[side] + 1))
        thick = 1 + (max(height, width) > 90)
        view = (
            tone[:, off : off + thick],
            tone[:, width - off - thick : width - off],
            tone[off : off + thick],
            tone[height - off - thick : height - off],
        )[side]
        np.minimum(view, 0.25 * view + 0.75 * luma, out=view)


def _compressed(tone: np.ndarray, quality: int) -> np.ndarray:
    """[h, w] uint8 through JPEG of a quality; 0: as it is."""
    if not quality:
        return tone
    coded = cv2.imencode(".jpg", tone, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
