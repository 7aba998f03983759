"""LMDB, in the layout of the text-recognition sets, or with the paths of image files as keys.

    num-samples, image-000000001 (an image file), label-000000001 (UTF-8), ...
    <label>/<name>.png -> an image file, or <id>_<label>.png

The first layout is that of CRNN's create_dataset.py (Shi et al. 2017), which many recognisers read.
Exports add sample-000000001, the row of the store. Values are taken as bytes of images and text;
pickled values, which some write, are never loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from synth.alphabet import clean_label
from synth.class_names import ClassNames
from synth.decode import SUFFIXES
from synth.errors import InputError
from synth.extras import need
from synth.found import Found, Listing, label_paths, parse_row, row_text
from synth.guarded import DamagedError, require_walkable
from synth.stored import Stored

_COUNT = b"num-samples"
_COMMIT_IMAGES = 10_000
_MAP_BYTES = 1 << 40  # of address space; the file takes what it holds


def is_lmdb(path: Path) -> bool:
    return (path / "data.mdb").is_file() or path.suffix.lower() in (".lmdb", ".mdb")


@contextmanager
def opened_lmdb(path: Path, classes: ClassNames | None) -> Iterator[Listing]:
    lmdb = need("lmdb", "lmdb")
    require_walkable(path, "synth.format_lmdb:walk")
    with _begun(lmdb, path) as transaction:
        try:
            yield _listing(path, transaction, classes)
        except lmdb.Error as error:
            raise InputError(f"{path}: damaged LMDB ({error})") from None


def walk(path: Path) -> Iterator[None]:
    """Every key in order, and looked for. For `synth.guarded`."""
    lmdb = need("lmdb", "lmdb")
    with _begun(lmdb, path) as transaction:
        try:
            for key, _ in transaction.cursor():
                transaction.get(key)
                yield
        except lmdb.Error as error:
            raise DamagedError(str(error)) from None


@contextmanager
def _begun(lmdb: Any, path: Path) -> Iterator[Any]:
    """A transaction that reads. Raises InputError where the file is no LMDB, or cut."""
    try:
        environment = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False
        )
    except lmdb.Error as error:
        raise InputError(f"{path}: no LMDB that can be read ({error})") from None
    with environment, environment.begin() as transaction:
        file = path / "data.mdb" if path.is_dir() else path
        wanted_bytes = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if file.stat().st_size < wanted_bytes:  # reading past its end would kill the process
            raise InputError(
                f"{path}: cut: {file.stat().st_size} bytes, it says it has {wanted_bytes}"
            )
        yield transaction


def _listing(path: Path, transaction: Any, classes: ClassNames | None) -> Listing:
    def read(found: Found) -> bytes:
        value = transaction.get(found.where)
        if value is None:
            raise InputError("not there")
        return value

    count = transaction.get(_COUNT)
    if count is None:
        return _list_paths(path, transaction, classes, read)
    if not count.isdigit() or not 0 < int(count) <= transaction.stat()["entries"]:
        raise InputError(f"{path}: num-samples is {count[:20]!r}; damaged")
    found, damaged = [], {}
    for number in range(1, int(count) + 1):
        name = f"image-{number:09d}"
        image, label = transaction.get(name.encode()), transaction.get(b"label-%09d" % number)
        try:
            if image is None or label is None:
                raise InputError("the image or its label is missing")
            text = label.decode("utf-8")
            text = classes.label(text) if classes else clean_label(text)
            told = transaction.get(b"sample-%09d" % number)
            row = parse_row(told) if told else None
        except (UnicodeDecodeError, InputError) as error:
            damaged[name] = f"its label cannot be used ({error})"
            continue
        key = name.encode()
        found.append(Found(name, text, key, len(image), key, row=row))
    return Listing(found, read, damaged, 0)


def _list_paths(path: Path, transaction: Any, classes: ClassNames | None, read: Any) -> Listing:
    names, sizes, ignored = {}, {}, 0
    for key, value in transaction.cursor():
        name = os.fsdecode(key)
        if PurePosixPath(name).suffix.lower() in SUFFIXES:
            names[name], sizes[name] = key, len(value)
        else:
            ignored += 1
    if not names:
        raise InputError(
            f"{path}: {ignored} keys of a layout that is not known; wanted num-samples, "
            "image-000000001, label-000000001, ... or keys like <label>/1.png"
        )
    return Listing(label_paths(path, names, sizes, classes), read, {}, ignored)


def write_lmdb(part: Path, images: Iterable[Stored]) -> None:
    """A folder with data.mdb."""
    lmdb = need("lmdb", "lmdb")
    part.mkdir()
    with lmdb.open(str(part), map_size=_MAP_BYTES, lock=False) as environment:
        count, transaction = 0, environment.begin(write=True)
        for count, one in enumerate(images, 1):
            transaction.put(b"image-%09d" % count, one.encoded())
            transaction.put(b"label-%09d" % count, one.row["label"].encode())
            transaction.put(b"sample-%09d" % count, row_text(one.row).encode())
            if count % _COMMIT_IMAGES == 0:
                transaction.commit()
                transaction = environment.begin(write=True)
        transaction.put(_COUNT, str(count).encode())
        transaction.commit()
