"""Images -> labels: decoded and normalised as at import, answered in batches, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from classifier.card import Card
from classifier.tables import open_table, require_suffix
from synth.canvas import Canvas
from synth.command import progress
from synth.decode import SUFFIXES, UNREAD_SUFFIXES, decode
from synth.errors import InputError
from synth.files import sync, write_text
from synth.found import walk
from synth.spool import MAX_FILE_BYTES
from synth.store import Store, lock_output
from synth.workers import in_order

CHUNK = 256


class Answering(Protocol):
    """What predicting needs of a model; `export.Model` and `onnx.OnnxModel` have it."""

    @property
    def card(self) -> Card: ...

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """[N, H, W] uint8 -> [N, C] float32."""
        ...


@dataclass(frozen=True)
class Read:
    """A chunk of images: those that could be read, and why the others could not."""

    paths: list[str]
    images: np.ndarray  # [n, H, W] uint8
    broken: list[tuple[str, str]]  # path, reason


def open_model(place: Path, own_code: bool = False) -> Answering:
    """A run folder, an exported folder, or an .onnx file. Raises InputError.

    A folder's model.safetensors is run by torch, on a GPU where there is one; where torch is not
    installed, or those weights are not there, its model.onnx, if it is of the same model.
    With `own_code` the classes that replaced its layers, if any, are imported and run.
    """
    if place.suffix == ".onnx":
        from classifier.onnx import load_onnx

        return load_onnx(place)
    onnx, has_torch = place / "model.onnx", find_spec("torch") is not None
    if onnx.is_file() and not (has_torch and (place / "model.safetensors").is_file()):
        from classifier.onnx import fits, load_onnx

        model = load_onnx(onnx)
        if not fits(onnx, place):
            raise InputError(
                f"{onnx}: of another model than the files beside it; export_model.py makes it "
                "anew, where torch is installed"
            )
        return model
    if not has_torch:
        raise InputError(f"{place}: no model.onnx in it, and without torch nothing else can be run")
    from classifier.export import fastest_device, load_model

    return load_model(place, own_code, fastest_device())


def find_images(places: Sequence[Path]) -> list[Path]:
    """Files, and all images in folders as an import finds them, in order of their paths.

    Images of other formats too, by their names: that they are not read is for `read_files` to tell.
    Raises InputError for none, and for a place that is neither: a pipe may never end.
    """
    found: list[Path] = []
    wanted = {*SUFFIXES, *UNREAD_SUFFIXES}
    for place in places:
        if place.is_dir():
            found += sorted(p for p in walk(place) if p.suffix.lower() in wanted)
        elif place.is_file():
            found.append(place)
        else:
            what = "neither a file nor a folder" if place.exists() else "no such file or folder"
            raise InputError(f"{place}: {what}")
    if not found:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"{', '.join(map(str, places))}: no image in it ({kinds})")
    return found


def predict_files(
    model_place: Path,
    places: Sequence[Path],  # image files, folders of images, stores
    out: Path,  # .csv, .jsonl or .parquet
    workers: int,  # processes that decode; the table does not depend on it
    top: int = 1,  # the most probable characters to write beside the label; 1: none
    own_code: bool = False,  # may a model's own layers be imported and run?
) -> tuple[int, int]:
    """Writes `path,label,confidence,other`; unreadable files go to `<out>.skipped` with the reason.

    Returns how many were answered and how many skipped. Raises InputError where none could be read.
    """
    require_suffix(out)
    if top < 1:
        raise InputError(f"--top {top}: a number of characters from 1")
    model = open_model(model_place, own_code)
    stores = [Store.open(p) for p in places if (p / "store.json").is_file()]
    folders = [p for p in places if not (p / "store.json").is_file()]
    files = find_images(folders) if folders else []
    for store in stores:
        if store.canvas != model.card.canvas:
            raise InputError(
                f"{store.path}: canvas {store.canvas}, the model wants {model.card.canvas}"
            )
    lock = lock_output(out)  # a second process would write into this one's unfinished table
    part = out.with_name(f".{out.name}.partial")
    skipped: list[tuple[str, str]] = []
    done, total = 0, len(files) + sum(map(len, stores))
    try:
        table = open_table(part, out.suffix, top)
        try:
            with progress(total, "image", "predict") as bar:
                for read in _all_read(stores, files, model.card.canvas, workers):
                    if read.paths:
                        p = model.probabilities(read.images)
                        table.write(read.paths, model.card.predictions(p, top))
                    done += len(read.paths)
                    skipped += read.broken
                    bar.update(len(read.paths) + len(read.broken))
        finally:
            table.close()
        sync(part)
        listing = out.with_name(out.name + ".skipped")
        _list_skipped(listing, skipped, out)
        if done == 0:
            first = (
                f"; first: {skipped[0][0]}: {skipped[0][1]}; all of them: {listing}"
                if skipped
                else ""
            )
            raise InputError(f"none of {total} images could be read{first}")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
        lock.release()
    return done, len(skipped)


def _list_skipped(listing: Path, skipped: Sequence[tuple[str, str]], table: Path) -> None:
    """In the place of an earlier call's list, and without its table, which never stands beside
    another list. Where the disk is full nothing has changed."""
    staged = listing.with_name(f".{listing.name}.staged")
    try:
        if skipped:
            rows = (f"{_in_line(p)}\t{_in_line(why)}\n" for p, why in skipped)
            write_text(staged, "".join(rows))
        if skipped or listing.exists():
            table.unlink(missing_ok=True)
        if skipped:
            staged.replace(listing)
        else:
            listing.unlink(missing_ok=True)
    finally:
        staged.unlink(missing_ok=True)


def _all_read(
    stores: Sequence[Store], files: Sequence[Path], canvas: Canvas, workers: int
) -> Iterator[Read]:
    """The stores' images, then the files', in order."""
    for store in stores:
        name = _printable(store.path)
        for at in range(0, len(store), CHUNK):
            images = store.take(np.arange(at, min(at + CHUNK, len(store))))
            yield Read([f"{name}#{at + i:06d}" for i in range(len(images))], images, [])
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    if workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield read_files(chunk, canvas)
        return
    items = (((), (chunk, canvas)) for chunk in chunks)
    for _, read in in_order(read_files, items, min(workers, len(chunks)), ahead=2 * workers):
        yield read


def read_files(paths: Sequence[Path], canvas: Canvas) -> Read:
    """Decodes and normalises as `synth.corpus.import_images` does."""
    good, images, broken = [], [], []
    for path in paths:
        try:
            size_bytes = path.stat().st_size
            if size_bytes > MAX_FILE_BYTES:
                raise InputError(f"{size_bytes} bytes, the limit is {MAX_FILE_BYTES}")
            images.append(decode(path.read_bytes(), canvas))
            good.append(_printable(path))
        except (InputError, OSError) as error:
            broken.append((_printable(path), str(error)))
    size = canvas.size_px
    stack = np.stack(images) if images else np.zeros((0, size, size), np.uint8)
    return Read(good, stack, broken)


def _printable(path: Path) -> str:
    """Names that are no UTF-8 get escapes, so that every table can hold them."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _in_line(text: str) -> str:
    """What would end its line, or be taken for the tab between path and reason, gets escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
