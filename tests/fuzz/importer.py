"""The importer: an image file, or an archive of them, imported into a store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from test_bad_archives import gnt, imports, tarred, zipped
from test_bad_images import good_files, look

from synth.canvas import Canvas
from synth.corpus import import_images
from synth.export import export_store

KINDS = ("image", "zip", "tar", "gnt", "tfrecord")
# address space: an image of MAX_PIXELS takes 1,100, and pyarrow reserves 1,300 it does not use
MEMORY_MIB, EACH_S = 2400, 5.0


def case(data: bytes) -> str:
    """The first byte picks the kind, the rest is the file."""
    kind = KINDS[data[0] % len(KINDS)] if data else "image"
    return look(data[1:]) if kind == "image" else imports((kind, data[1:]))


def seeds() -> Iterator[tuple[str, bytes]]:
    """Whole files to start from."""
    yield from (_case(name, "image", data) for name, data in good_files().items())
    for name, kind, data in (
        ("zip", "zip", zipped()),
        ("tar", "tar", tarred()),
        ("gnt", "gnt", gnt()),
        *_exports(),
    ):
        yield _case(name, kind, data)


def _exports() -> Iterator[tuple[str, str, bytes]]:
    """With the rows of a store in them."""
    with tempfile.TemporaryDirectory() as top:
        place = Path(top)
        (place / "in.zip").write_bytes(zipped())
        store = import_images(place / "in.zip", place / "store", None, Canvas())
        for form, ending in (("zip", "zip"), ("webdataset", "tar"), ("tfrecord", "tfrecord")):
            out = place / f"out.{ending}"
            export_store(store, form, out)
            yield f"{form} with rows", ending, out.read_bytes()


def _case(name: str, kind: str, data: bytes) -> tuple[str, bytes]:
    return name.replace(" ", "-"), bytes([KINDS.index(kind)]) + data
