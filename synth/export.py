"""A store -> a format that others read. `import_data.py --as-is` makes the same store of it again.

Images go out as on paper: dark ink, white ground, the size of the canvas. The formats that can
carry it hold the row of each image too, the first one's with what the store says of itself (how it
was made, notes, alphabet); .gnt holds characters alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synth.about import KEY, About
from synth.command import progress
from synth.errors import InputError
from synth.format_folder import write_flat, write_folder, write_zip
from synth.format_gnt import tag, write_gnt
from synth.format_hdf5 import write_hdf5
from synth.format_lmdb import write_lmdb
from synth.format_tar import write_tar
from synth.format_tfrecord import write_tfrecord
from synth.store import Store, lock_output, refuse_existing
from synth.stored import Stored

FORMATS = {  # name -> ending that the output must have, "" for a folder
    "folder": "",
    "flat": "",
    "zip": ".zip",
    "gnt": ".gnt",
    "lmdb": ".lmdb",
    "hdf5": ".h5",
    "tfrecord": ".tfrecord",
    "webdataset": ".tar",
}
_READ_IMAGES = 1024


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    path: Path
    images: int
    left_out: int  # images that the format cannot hold


def export_store(store: Store, form: str, out: Path) -> Exported:
    """Writes all images of a store to `out`. Raises InputError and leaves nothing where it fails.

    form: one of FORMATS.
    """
    if form not in FORMATS:
        raise InputError(f"export to {form!r}: there are {', '.join(FORMATS)}")
    if out.suffix.lower() != FORMATS[form] and FORMATS[form]:
        raise InputError(f"{out}: an export to {form} must end in {FORMATS[form]}")
    refuse_existing(out)
    rows = np.arange(len(store))
    if form == "gnt":
        told = store.table.select(["label", "char", "kind"]).to_pylist()
        rows = np.array([i for i, row in enumerate(told) if tag(row, store.alphabet)], np.int64)
        if len(rows) == 0:
            raise InputError(f"{store.path}: not one image that .gnt can hold (characters in GBK)")
    lock = lock_output(out)
    # with the ending of the final name, which some libraries go by
    part = out.with_name(f".partial.{out.name}")
    try:
        refuse_existing(out)  # another process may have finished it meanwhile
        _remove(part)  # what a killed process left
        with progress(len(rows), "image", f"export {form}") as bar:
            images = _images(store, rows, bar)
            if form == "hdf5":
                write_hdf5(part, images, len(rows), store.canvas.size_px)
            elif form == "gnt":
                write_gnt(part, images, store.alphabet)
            else:
                write = {
                    "folder": write_folder,
                    "flat": write_flat,
                    "zip": write_zip,
                    "lmdb": write_lmdb,
                    "tfrecord": write_tfrecord,
                    "webdataset": write_tar,
                }[form]
                write(part, images)
        part.rename(out)
    finally:
        _remove(part)
        lock.release()
    return Exported(out, len(rows), len(store) - len(rows))


def _images(store: Store, rows: np.ndarray, bar: tqdm) -> Iterator[Stored]:
    table = store.table
    for at in range(0, len(rows), _READ_IMAGES):
        some = rows[at : at + _READ_IMAGES]
        pixels = store.take(some)
        told = table.take(some).to_pylist()
        if at == 0:
            told[0][KEY] = About.of(store).value()
        for number, image, row in zip(some.tolist(), pixels, told, strict=True):
            yield Stored(number, image, row)
            bar.update()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
