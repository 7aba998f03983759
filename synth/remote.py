"""Stores in other places than a disk: copied whole, by fsspec, to be read from a disk.

A training reads images in any order at thousands a second, which no object store gives: it reads a
copy beside it. Whatever fsspec knows goes (s3://, gs://, abfs://, http://, sftp:// ...); each place
wants its own package, as fsspec says.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from synth.errors import InputError
from synth.extras import need
from synth.files import sync
from synth.store import Store, lock_output, refuse_existing

FILES = ("images.npy", "samples.parquet", "store.json")  # the last one says that all are there


def fetch_store(url: str, out: Path) -> Store:
    """Makes the folder `out` of the store at `url`, whole or not at all, and checks every image
    against its hash. Raises InputError."""
    refuse_existing(out)
    system, place = _opened(url)
    part = out.with_name(f".{out.name}.partial")
    lock = lock_output(out)
    try:
        refuse_existing(out)  # another process may have finished it meanwhile
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir()
        for name in FILES:
            try:
                system.get_file(f"{place}/{name}", str(part / name))
            except FileNotFoundError:
                raise InputError(f"{url}: no store (no {name} in it)") from None
            sync(part / name)
        Store.open(part).require_unchanged()
        os.rename(part, out)  # noqa: PTH104  fails on a folder that came meanwhile
        sync(out.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        lock.release()
    return Store.open(out)


def send_store(store: Store, url: str) -> None:
    """Copies a store to `url`. Its store.json goes last: without it there is no store. Raises
    InputError where one is there already, or where the store's images were changed."""
    system, place = _opened(url)
    if system.exists(f"{place}/{FILES[-1]}"):
        raise InputError(f"{url}: a finished store is there already; remove it or choose another")
    store.require_unchanged()
    system.makedirs(place, exist_ok=True)
    for name in FILES:
        system.put_file(str(store.path / name), f"{place}/{name}")


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there. Raises InputError."""
    fsspec = need("fsspec", "remote")
    try:
        system, place = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:  # a protocol unknown, or without its package
        raise InputError(f"{url}: {' '.join(str(error).split())}") from None
    return system, place.rstrip("/")
