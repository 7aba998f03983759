"""Files -> labels: decoded and normalised as at import, answered in batches, written as a table."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from classifier.export import load_model
from synth.canvas import Canvas
from synth.command import progress
from synth.corpus import SUFFIXES, decode
from synth.errors import InputError

CHUNK = 256


def find_images(places: Sequence[Path]) -> list[Path]:
    """Files, and all images in folders, in order of their paths. Raises InputError for none."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(p for p in place.rglob("*") if p.suffix.lower() in SUFFIXES)
        elif place.exists():
            found.append(place)
        else:
            raise InputError(f"{place}: no such file or folder")
    if not found:
        raise InputError(f"{', '.join(map(str, places))}: no image in it")
    return found


def predict_files(
    model_folder: Path, places: Sequence[Path], out: Path, workers: int
) -> tuple[int, int]:
    """Writes `path,label,confidence,other`; unreadable files go to `<out>.skipped` with the reason.

    Returns how many were answered and how many skipped. Raises InputError where none could be read.
    """
    if out.is_dir():
        raise InputError(f"{out}: a folder; give --out the name of a .csv file")
    model = load_model(model_folder)
    files = find_images(places)
    out.parent.mkdir(parents=True, exist_ok=True)
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    read = partial(_read, canvas=model.canvas)
    part = out.with_name(f".{out.name}.partial")
    skipped: list[tuple[str, str]] = []
    done = 0
    try:
        with (
            part.open("w", newline="", encoding="utf-8") as f,
            progress(len(files), "image", "predict") as bar,
        ):
            table = csv.writer(f)
            table.writerow(["path", "label", "confidence", "other"])
            for paths, images, broken in _mapped(read, chunks, workers):
                labels, confidence, score = model.predict(images)
                for row in zip(paths, labels, confidence, score, strict=True):
                    table.writerow([*row[:2], f"{row[2]:.4f}", f"{row[3]:.6f}"])
                done += len(paths)
                skipped += broken
                bar.update(len(paths) + len(broken))
        if done == 0:
            raise InputError(
                f"none of {len(files)} images could be read: {skipped[0][0]}: {skipped[0][1]}"
            )
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    listing = out.with_name(out.name + ".skipped")
    listing.unlink(missing_ok=True)  # of an earlier call
    if skipped:
        listing.write_text("".join(f"{p}\t{why}\n" for p, why in skipped), encoding="utf-8")
    return done, len(skipped)


def _mapped(read, chunks, workers):
    if workers <= 1 or len(chunks) == 1:
        yield from map(read, chunks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(chunks)), context) as pool:
        yield from pool.map(read, chunks)


def _read(
    paths: Sequence[Path], canvas: Canvas
) -> tuple[list[str], np.ndarray, list[tuple[str, str]]]:
    good, images, broken = [], [], []
    for path in paths:
        try:
            images.append(decode(path.read_bytes(), canvas))
            good.append(path.as_posix())
        except (InputError, OSError) as error:
            broken.append((path.as_posix(), str(error)))
    size = canvas.size_px
    stack = np.stack(images) if images else np.zeros((0, size, size), np.uint8)
    return good, stack, broken
