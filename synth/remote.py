"""Stores in other places than a disk: copied whole, by fsspec, to be read from a disk.

A training reads images in any order at thousands a second, which no object store gives: it reads a
copy beside it. Whatever fsspec knows goes (s3://, gs://, abfs://, http://, sftp:// ...); each place
wants its own package, as fsspec says.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
            with _asked(url, f"no store (no {name} in it)"):
                system.get_file(f"{place}/{name}", str(part / name))
            sync(part / name)
        try:
            Store.open(part).require_unchanged()
        except InputError as error:  # names a folder that goes
            raise InputError(str(error).replace(str(part), url)) from None
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
    with _asked(url):
        there = system.exists(f"{place}/{FILES[-1]}")
    if there:
        raise InputError(f"{url}: a finished store is there already; remove it or choose another")
    store.require_unchanged()
    with _asked(url):
        system.makedirs(place, exist_ok=True)
        for name in FILES:
            system.put_file(str(store.path / name), f"{place}/{name}")


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there. Raises InputError."""
    fsspec = need("fsspec", "remote")
    with _asked(url):  # a protocol may be unknown, or without its package
        system, place = fsspec.core.url_to_fs(url)
    return system, place.rstrip("/")


@contextmanager
def _asked(url: str, gone: str = "") -> Iterator[None]:
    """Raises InputError naming the place for all that goes wrong there: each package has errors of
    its own (botocore, aiohttp, gcsfs), few of them OSError. `gone`: what to say of a missing file.
    """
    try:
        yield
    except Exception as error:
        line = " ".join(str(error).split())[:300] or type(error).__name__
        line = gone if gone and isinstance(error, FileNotFoundError) else line
        raise InputError(f"{url}: {line}") from error
