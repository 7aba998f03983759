"""Images of a data set -> their pixels on the canvas, decoded by all cores, in a file of their own.

The parent reads and writes; the workers decode. What is in memory is bounded, and the result does
not depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np

from synth.alphabet import OTHER
from synth.canvas import Canvas
from synth.command import progress
from synth.decode import decode, decode_as_is
from synth.errors import InputError
from synth.found import Found, Listing
from synth.workers import in_order

MAX_FILE_BYTES = 64 * 2**20  # a larger image file is skipped
CHUNK_IMAGES, CHUNK_BYTES = 64, 16 * 2**20  # what one task of a worker holds at most

Decoded = tuple[np.ndarray, list[str]]  # [n, H, W] uint8, n reasons ("" for a good image)


def spool_images(
    listing: Listing,
    found: Sequence[Found],
    canvas: Canvas,
    as_is: bool,  # the images are on the canvas already
    workers: int,
    spool: IO[bytes],
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Decodes all. Returns the usable images in order, [n, H, W] uint8, a memory map of the spool;
    which of `found` they are, [N] bool; and path -> reason of the skipped ones."""
    skipped: dict[str, str] = {}
    kept: list[bool] = []
    with progress(len(found), "image", "import") as bar:
        for chunk, images, reasons in _decoded(listing, found, canvas, as_is, workers):
            for one, image, reason in zip(chunk, images, reasons, strict=True):
                if not reason and one.label != OTHER and not image.any():
                    reason = "blank"
                kept.append(not reason)
                if reason:
                    skipped[one.path] = reason
                else:
                    spool.write(image.tobytes())
            bar.update(len(chunk))
    spool.flush()
    shape = (sum(kept), canvas.size_px, canvas.size_px)
    good = np.array(kept, bool)
    if not good.any():
        return np.zeros(shape, np.uint8), good, skipped
    return np.memmap(spool, np.uint8, "r", shape=shape), good, skipped


def _decoded(
    listing: Listing, found: Sequence[Found], canvas: Canvas, as_is: bool, workers: int
) -> Iterator[tuple[list[Found], np.ndarray, list[str]]]:
    """The chunks of `found` in order, decoded by `workers` processes."""
    workers = max(1, min(workers, -(-len(found) // CHUNK_IMAGES)))
    if workers == 1:
        for chunk, data in _chunks(listing, found):
            yield chunk, *_decode_chunk(data, canvas, as_is)
        return
    items = ((chunk, (data, canvas, as_is)) for chunk, data in _chunks(listing, found))
    for chunk, decoded in in_order(_decode_chunk, items, workers, ahead=2 * workers):
        yield chunk, *decoded


def _chunks(
    listing: Listing, found: Sequence[Found]
) -> Iterator[tuple[list[Found], list[bytes | str]]]:
    """Images with the bytes of their files, or the reason (a str) where they cannot be read."""
    chunk: list[Found] = []
    data: list[bytes | str] = []
    total_bytes = 0
    for one in found:
        chunk.append(one)
        data.append(_read(listing, one))
        total_bytes += len(data[-1])
        if len(chunk) == CHUNK_IMAGES or total_bytes >= CHUNK_BYTES:
            yield chunk, data
            chunk, data, total_bytes = [], [], 0
    if chunk:
        yield chunk, data


def _read(listing: Listing, found: Found) -> bytes | str:
    if found.bytes_on_disk > MAX_FILE_BYTES:
        return f"{found.bytes_on_disk / 2**20:.0f} MiB, the limit is {MAX_FILE_BYTES / 2**20:.0f}"
    try:
        return listing.read(found)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except InputError as error:
        return str(error)


def _decode_chunk(data: Sequence[bytes | str], canvas: Canvas, as_is: bool) -> Decoded:
    images = np.zeros((len(data), canvas.size_px, canvas.size_px), np.uint8)
    reasons = [""] * len(data)
    for i, one in enumerate(data):
        if isinstance(one, str):
            reasons[i] = one
            continue
        try:
            images[i] = (decode_as_is if as_is else decode)(one, canvas)
        except InputError as error:
            reasons[i] = str(error)
    return images, reasons
