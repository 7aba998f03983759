"""The idx files of MNIST, EMNIST, KMNIST and QMNIST, as torchvision leaves them in `<set>/raw`.

`<set>-images-idx3-ubyte` holds uint8 [n, h, w], `<set>-labels-idx1-ubyte` [n] class numbers, or
`<set>-labels-idx2-int` int32 [n, k] with the class number first (QMNIST); each plain or as .gz.
Format: Y. LeCun's MNIST page; class names: the sets' own mapping files.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synth.class_names import ClassNames
from synth.decode import pixel_file
from synth.errors import InputError
from synth.found import Found, Listing

MAX_BYTES = 8 * 2**30  # of one file, unpacked
MOST_PACKED = 100  # times the bytes of the file, where that is more than ROOM_BYTES
ROOM_BYTES = 2**26
_NAME = re.compile(r"(?P<set>.*)images(?P<dot>[-.])idx3-ubyte(?P<gz>\.gz)?")
_LABELS = ("idx1-ubyte", "idx2-int")
_BYTE, _INT = np.dtype(np.uint8), np.dtype(">i4")
_CODES = {_BYTE: 8, _INT: 12}  # of the types, in a file's head


def is_images(file: Path) -> bool:
    return _NAME.fullmatch(file.name) is not None


def is_idx(file: Path) -> bool:
    return re.fullmatch(r".*[-.](idx[13]-ubyte|idx2-int)(\.gz)?", file.name) is not None


def list_idx(top: Path, files: Sequence[Path], classes: ClassNames | None) -> Listing:
    """`files`: those of a folder, or one images file. Raises InputError, above all where the names
    of the classes are not known or the folder holds several sets."""
    sets = {f.name.removesuffix(".gz"): f for f in sorted(files, reverse=True) if is_images(f)}
    if len(sets) != 1:
        raise InputError(
            f"{top}: {len(sets) or 'no'} image files of idx format "
            f"({', '.join(sorted(sets)[:6])}); give one of these files, training and test images "
            "one by one"
        )
    (file,) = sets.values()
    match = _NAME.fullmatch(file.name)
    assert match
    stem = f"{match['set']}labels{match['dot']}"
    beside = [file.with_name(stem + kind + gz) for kind in _LABELS for gz in ("", ".gz")]
    labels_file = next((f for f in beside if f.is_file()), None)
    if labels_file is None:
        raise InputError(f"{file}: no {beside[0].name} beside it")
    if classes is None:
        classes = _classes_beside(file, match["set"])
    images = _read_idx(file, 3)
    if "idx1" in labels_file.name.removeprefix(stem):
        numbers = _read_idx(labels_file, 1)
    else:
        numbers = _read_idx(labels_file, 2, _INT)[:, 0]
    if len(images) != len(numbers):
        raise InputError(f"{file}: {len(images)} images, but {len(numbers)} labels beside it")
    if match["set"].startswith("emnist-"):
        images = images.transpose(0, 2, 1)  # as it was published: rows and columns exchanged
    found, damaged = [], {}
    for i, number in enumerate(numbers.tolist()):
        path = f"{match['set']}images#{i:07d}"
        try:
            label = classes.label(number)
        except InputError as error:
            damaged[path] = str(error)
        else:
            found.append(Found(path, label, os.fsencode(path), images[0].nbytes, i))

    def read(one: Found) -> bytes:
        return pixel_file(np.ascontiguousarray(images[one.where]))

    return Listing(found, read, damaged, 0)


def _classes_beside(file: Path, name: str) -> ClassNames:
    """From EMNIST's or KMNIST's own file, where it lies there."""
    emnist = re.match(r"emnist-\w+", name)
    candidates = [file.with_name(f"{emnist.group()}-mapping.txt")] if emnist else []
    candidates.append(file.with_name("kmnist_classmap.csv"))
    for candidate in candidates:
        if candidate.is_file():
            return ClassNames.read(str(candidate))
    raise InputError(
        f"{file}: its labels are numbers; say what they stand for with --classes (a file with one "
        "character a line, EMNIST's mapping.txt or KMNIST's classmap.csv, or the characters: "
        "0123456789 for MNIST, おきすつなはまやれを for KMNIST)"
    )


def _read_idx(file: Path, dimensions: int, dtype: np.dtype = _BYTE) -> np.ndarray:
    """[n], [n, k] or [n, h, w]. The size is checked before anything is read."""
    head_bytes = 4 + 4 * dimensions
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as f:
            head = f.read(head_bytes)
            if len(head) < head_bytes or head[:4] != bytes([0, 0, _CODES[dtype], dimensions]):
                raise InputError(f"{file}: no idx file of {dimensions} dimensions of {dtype}")
            shape = np.frombuffer(head, ">u4", offset=4).tolist()
            size = math.prod(shape) * dtype.itemsize
            # what no compressed writing comes near, nor labels in order below ROOM_BYTES
            most = max(ROOM_BYTES, MOST_PACKED * file.stat().st_size)
            if not 0 < size <= min(most, MAX_BYTES):
                told = f"{file}: says it holds {shape} {dtype}"
                raise InputError(f"{told}, the limit is {min(most, MAX_BYTES)} bytes")
            data = f.read(size)
            if len(data) != size or f.read(1):
                raise InputError(f"{file}: says it holds {shape} {dtype} and does not; damaged")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file}: damaged ({error})") from None
    return np.frombuffer(data, dtype).reshape(shape)
