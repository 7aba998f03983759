"""HDF5 with the data sets `images` and `labels`, one entry an image.

    images   uint8 [n, h, w] or [n, h, w, 3], or the bytes of an image file each (uint8, any length)
    labels   text, or class numbers with their names in the attribute or data set `classes`
    samples  text, exports only: the rows of the store

Only what lies in the file itself is read: links and external data could name any file here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from synth.alphabet import clean_label
from synth.class_names import ClassNames
from synth.decode import pixel_file
from synth.errors import InputError
from synth.extras import need
from synth.found import Found, Listing, parse_row, row_text
from synth.guarded import require_walkable
from synth.stored import Stored

SUFFIXES = (".h5", ".hdf5", ".hdf")
_CHUNK_IMAGES = 64
_WALK_TEXTS = 65_536


@contextmanager
def opened_hdf5(path: Path, classes: ClassNames | None) -> Iterator[Listing]:
    h5py = need("h5py", "hdf5")
    require_walkable(path, "synth.format_hdf5:walk")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: no HDF5 file that can be read ({error})") from None
    with file:
        try:
            listing = _listing(h5py, path, file, classes)
        except (KeyError, RuntimeError, OSError) as error:
            raise InputError(f"{path}: damaged HDF5 ({error})") from None
        yield listing


def walk(path: Path) -> Iterator[None]:
    """Reads every data set that may be read, the texts into memory at once. For `synth.guarded`."""
    h5py = need("h5py", "hdf5")
    with h5py.File(path, "r") as file:
        dict(file.attrs)
        for name in ("labels", "samples", "classes", "images"):
            try:
                data = _data_set(h5py, path, file, name)
            except (KeyError, ValueError, RuntimeError, OSError, InputError):
                continue
            if data is None:
                continue
            step, held = (_CHUNK_IMAGES if name == "images" else _WALK_TEXTS), []
            for start in range(0, len(data), step):
                # a damaged chunk says nothing of the next one
                with suppress(ValueError, TypeError, RuntimeError, OSError):
                    read = data[start : start + step]
                    if name != "images":
                        held.append(read)
                yield


def _listing(h5py: Any, path: Path, file: Any, classes: ClassNames | None) -> Listing:
    images, labels = (_data_set(h5py, path, file, name) for name in ("images", "labels"))
    if images is None or labels is None:
        raise InputError(
            f"{path}: wanted the data sets 'images' and 'labels', found {sorted(file)[:10]}"
        )
    files = h5py.check_vlen_dtype(images.dtype) == np.uint8 and images.ndim == 1
    if not files and not (
        images.dtype == np.uint8
        and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3))
    ):
        raise InputError(
            f"{path}: images is {images.shape} {images.dtype}; wanted uint8 [n, h, w], "
            "[n, h, w, 3], or an image file of uint8 each"
        )
    if labels.shape != images.shape[:1]:
        raise InputError(f"{path}: images {images.shape}, but labels {labels.shape}")
    texts = _labels(h5py, path, file, labels, classes)
    samples = _data_set(h5py, path, file, "samples")
    rows = _texts(h5py, samples, path) if samples is not None else None
    if rows is not None and len(rows) != len(texts):
        raise InputError(f"{path}: {len(texts)} labels, but {len(rows)} samples")
    size = 1 if files else int(np.prod(images.shape[1:]))
    found, damaged = [], {}
    for i, text in enumerate(texts):
        name = f"images[{i}]"
        try:
            label = clean_label(text)
            row = parse_row(rows[i]) if rows is not None else None
        except InputError as error:
            damaged[name] = f"its label cannot be used ({error})"
        else:
            found.append(Found(name, label, os.fsencode(f"{i:09d}"), size, i, row=row))

    def read(one: Found) -> bytes:
        try:
            value = images[one.where]
        except (OSError, RuntimeError) as error:  # a damaged chunk, a filter that is not there
            raise InputError(f"damaged in the file ({error})") from None
        return value.tobytes() if files else pixel_file(value)

    return Listing(found, read, damaged, 0)


def _data_set(h5py: Any, path: Path, file: Any, name: str) -> Any | None:
    """Raises InputError for one that lies in another file."""
    link = file.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; refused")
    data = file[name]
    if not isinstance(data, h5py.Dataset):
        raise InputError(f"{path}: {name} is a group; wanted a data set")
    if data.is_virtual or data.external:
        raise InputError(f"{path}: {name} lies in another file; refused")
    try:
        shape, _ = data.shape, data.dtype
    except TypeError as error:  # dates, bit fields: numpy has no such type
        raise InputError(f"{path}: {name} cannot be read ({error})") from None
    if not shape:
        raise InputError(f"{path}: {name} holds no list; wanted an entry an image")
    return data


def _labels(h5py: Any, path: Path, file: Any, labels: Any, classes: ClassNames | None) -> list[str]:
    if h5py.check_string_dtype(labels.dtype):
        texts = _texts(h5py, labels, path)
        return [classes.of.get(text, text) for text in texts] if classes else texts
    if labels.dtype.kind not in "iu":
        raise InputError(f"{path}: labels are {labels.dtype}; wanted text or class numbers")
    numbers = labels[:].tolist()
    if classes is None:
        beside = _data_set(h5py, path, file, "classes")
        if beside is not None:
            names = _texts(h5py, beside, path)
        elif "classes" in file.attrs:
            names = [str(name) for name in np.ravel(file.attrs["classes"]).tolist()]
        else:
            raise InputError(
                f"{path}: labels are numbers; say what they stand for with --classes FILE"
            )
        classes = ClassNames({str(i): name for i, name in enumerate(names)})
    # what is not named is listed as an image that cannot be used: no label reads like this
    return [classes.of.get(str(n), f"number {n}") for n in numbers]


def _texts(h5py: Any, data: Any, path: Path) -> list[str]:
    if not h5py.check_string_dtype(data.dtype) or data.ndim != 1:
        told = f"{data.name} is {data.shape} {data.dtype}"
        raise InputError(f"{path}: {told}; wanted a list of texts")
    return [value.decode("utf-8", "replace") for value in data[:].tolist()]


def write_hdf5(part: Path, images: Iterable[Stored], total: int, size_px: int) -> None:
    """`total` images of size_px x size_px."""
    h5py = need("h5py", "hdf5")
    shape = (total, size_px, size_px)
    chunks = (min(_CHUNK_IMAGES, total), size_px, size_px)
    with h5py.File(part, "w") as file:
        pixels = file.create_dataset("images", shape, np.uint8, chunks=chunks)
        labels = file.create_dataset("labels", (total,), h5py.string_dtype())
        samples = file.create_dataset("samples", (total,), h5py.string_dtype())
        waiting: list[Stored] = []
        done = 0
        for one in images:
            waiting.append(one)
            if len(waiting) == _CHUNK_IMAGES or done + len(waiting) == total:
                rows = slice(done, done + len(waiting))
                pixels[rows] = np.stack([w.on_paper for w in waiting])
                labels[rows] = [w.row["label"] for w in waiting]
                samples[rows] = [row_text(w.row) for w in waiting]
                done += len(waiting)
                waiting = []
