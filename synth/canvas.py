"""Image geometry and the one pixel codec.

Every image, real, rendered or asked about over HTTP, becomes uint8 [H, W] here: ink high on 0,
the ink centred and scaled to a fixed box, paper tone and ink strength taken out. float [-1, 1] is
the same picture for a network.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from synth.errors import InputError

MEAN, STD = 127.5, 127.5  # the normalisation that DALI, torch and numpy share
INK_FULL = 255
INK_FROM = 80  # more than this is writing where its extent is measured, less may be blur
NO_MEMORY = "not enough memory to decode it"  # which may be no fault of the file
MAX_PIXELS = 40_000_000  # a decoded image beyond this is refused before it is decoded


@dataclass(frozen=True)
class Canvas:
    """Where the ink stands in an image."""

    size_px: int = 64  # height and width of the image
    margin_px: int = 5  # paper left free on each side of the ink's longer extent

    @property
    def box_px(self) -> int:
        return self.size_px - 2 * self.margin_px

    @property
    def zoom(self) -> float:
        """Its box by the usual one's: lengths in px are set for that."""
        return self.box_px / (Canvas.size_px - 2 * Canvas.margin_px)


def to_float(images: np.ndarray) -> np.ndarray:
    """[...] uint8 0..255 -> [...] float32 -1..1."""
    return (images.astype(np.float32) - np.float32(MEAN)) * np.float32(1 / STD)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[...] float -1..1 -> [...] uint8, the inverse of `to_float`; values outside are clipped."""
    return np.clip(np.rint(images * STD + MEAN), 0, 255).astype(np.uint8)


def to_gray(image: Image.Image) -> np.ndarray:
    """Any mode that Pillow opens -> [h, w] uint8 as seen on white paper.

    Raises InputError for pixels that are no finite numbers, or that Pillow cannot convert.
    """
    mode = image.mode
    try:
        if mode.startswith(("I", "F")):  # 16 and 32 bit
            return _gray_of_numbers(np.asarray(image, dtype=np.float32))
        if mode in ("LAB", "La"):  # Pillow knows no direct way from these
            image = image.convert({"LAB": "RGB", "La": "LA"}[mode])
        if image.has_transparency_data:
            # a transparent background would turn black in a plain conversion: put it on white first
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("L"))
    except InputError:
        raise
    except MemoryError:
        raise InputError(NO_MEMORY) from None
    except Exception as error:  # of a palette or colour that a damaged file names, say
        line = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"pixels of mode {mode} that cannot be converted ({line})") from None


def _gray_of_numbers(values: np.ndarray) -> np.ndarray:
    """[h, w] float32 -> [h, w] uint8."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise InputError("pixels that are no finite numbers")
    if low == high < 0:
        return np.zeros(values.shape, np.uint8)
    if low < 0:  # no picture by itself: stretch what is there; halves, for the whole may overflow
        return ((values / 2 - low / 2) * (255 / (high / 2 - low / 2))).astype(np.uint8)
    # as many bits as the tones need: stretched to its own range, blank paper would turn to ink
    white = 1.0 if high <= 1 else 2.0 ** max(8, int(high).bit_length()) - 1
    return np.rint(values * (255 / white)).astype(np.uint8)


def ink_of(gray: np.ndarray) -> np.ndarray:
    """[h, w] uint8, any polarity and paper -> [h, w] uint8, ink high on 0.

    Paper is the common tone of the border (a form's cell has its paper there); what is lighter or
    darker than it, whichever is the stronger, is ink. Ink depends on a pixel's tone alone, so it is
    worked out for the 256 tones and looked up.
    """
    edge = max(1, min(gray.shape) // 16)
    border = (gray[:edge], gray[-edge:], gray[:, :edge], gray[:, -edge:])
    paper = _median(np.concatenate([part.ravel() for part in border]))
    counts = np.bincount(gray.ravel(), minlength=256)
    darker = np.clip(paper - np.arange(256.0), 0, None)
    lighter = np.clip(np.arange(256.0) - paper, 0, None)
    is_dark = counts @ np.square(darker) >= counts @ np.square(lighter)
    ink, inkiest_first = (darker, 1) if is_dark else (lighter, -1)
    if gray.size < 400:
        high = float(np.percentile(ink[gray], 99.5))
    else:
        high = _top(counts[::inkiest_first], ink[::inkiest_first])
    if high < 12:  # nothing but paper grain: 12 of 255 is less than the faintest pencil
        return np.zeros_like(gray)
    # paper grain: what lies under a tenth of the full ink is paper
    ink = np.clip((ink - 0.10 * high) * (INK_FULL / (0.82 * high)), 0, INK_FULL)
    return ink.astype(np.uint8)[gray]


def _median(tones: np.ndarray) -> float:
    """[n] uint8 -> what numpy's median is, by counting."""
    through = np.cumsum(np.bincount(tones, minlength=256))
    middle = ((len(tones) - 1) // 2, len(tones) // 2)
    return float(np.searchsorted(through, middle, "right").mean())


def _top(counts: np.ndarray, ink: np.ndarray) -> float:
    """The tone of the stroke's core: the mean of the inkiest 1.5 % of the pixels.

    counts: [256] pixels of each tone; ink: [256] how much ink that tone is, the most first.
    """
    through = np.cumsum(counts)
    total = int(through[-1])
    wanted = min(total, max(4, int(total * 0.015)))
    np.minimum(through, wanted, out=through)
    through[1:] -= through[:-1]
    return float(through @ ink) / wanted


def ink_box(ink: np.ndarray) -> tuple[int, int, int, int] | None:
    """[h, w] uint8 -> (top, left, bottom, right) of the writing, or None for a blank image.

    Specks (under 0.4 % of the ink) and lines that run along an edge (a form's printed cell) do not
    count; what remains is the box of all connected parts.
    """
    # the first is the paper
    there = (ink > INK_FROM).view(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(there, connectivity=8)
    height, width = ink.shape
    left, top, w, h, size = parts[1:].T
    right, bottom = left + w, top + h
    at_edge = (top == 0) | (left == 0) | (bottom == height) | (right == width)
    is_rule = at_edge & (
        ((h <= 0.06 * height) & (w >= 0.8 * width)) | ((w <= 0.06 * width) & (h >= 0.8 * height))
    )
    kept = (size >= 0.004 * size.sum()) & ~is_rule
    if not kept.any():
        return None
    return (
        int(top[kept].min()),
        int(left[kept].min()),
        int(bottom[kept].max()),
        int(right[kept].max()),
    )


def place(ink: np.ndarray, canvas: Canvas, slack_px: int = 0) -> np.ndarray:
    """[h, w] uint8 ink -> [H, W] uint8: the writing in the canvas's box, aspect kept, centred.

    `slack_px`: writing whose longer extent is at most that many px short of the box is moved, not
    scaled. Sampling a picture again for a pixel only softens it.
    """
    box = ink_box(ink)
    out = np.zeros((canvas.size_px, canvas.size_px), np.uint8)
    if box is None:
        return out
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    longer = max(height, width)
    if 0 <= canvas.box_px - longer <= slack_px:
        resized = ink[top:bottom, left:right]
    else:
        scale = canvas.box_px / longer
        new_h, new_w = max(1, round(height * scale)), max(1, round(width * scale))
        whole = Image.fromarray(ink)
        resized = np.asarray(
            whole.resize((new_w, new_h), Image.Resampling.BILINEAR, (left, top, right, bottom))
        )
    h, w = resized.shape
    y, x = (canvas.size_px - h) // 2, (canvas.size_px - w) // 2
    out[y : y + h, x : x + w] = resized
    return restretch(out)


def restretch(image: np.ndarray) -> np.ndarray:
    """[h, w] uint8: thin strokes turn gray when an image shrinks; their core gets full ink."""
    tones = np.arange(256.0)
    high = _top(np.bincount(image.ravel(), minlength=256)[::-1], tones[::-1])
    if high < 1:
        return image
    return np.minimum(tones * INK_FULL / high, INK_FULL).astype(np.uint8)[image]


def normalise(image: Image.Image, canvas: Canvas) -> np.ndarray:
    """Any image -> [H, W] uint8 on the canvas: the path of import, prediction and serving alike."""
    gray = to_gray(image)
    # large scans: no more than 4 times the canvas is needed to find the box
    limit = 4 * canvas.size_px
    if max(gray.shape) > limit:
        factor = limit / max(gray.shape)
        size = (max(1, round(gray.shape[1] * factor)), max(1, round(gray.shape[0] * factor)))
        gray = np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BOX))
    return place(ink_of(gray), canvas)
