"""CASIA's .gnt: uint32 sample bytes, 2 bytes GBK, uint16 width, uint16 height, the bitmap."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from synth.alphabet import OTHER, Alphabet, clean_label
from synth.errors import InputError
from synth.found import Found, Listing, printable, relative
from synth.other import NON_CHARACTER_KINDS
from synth.stored import Stored

_HEADER_BYTES = 10


def list_gnt(top: Path, files: Sequence[Path], ignored_files: int) -> Listing:
    """Raises InputError where there is not one character in the files."""
    found, damaged = [], {}
    for file in files:
        name, size = relative(file, top), file.stat().st_size
        with file.open("rb") as f:
            at = number = 0
            while at < size:
                number += 1
                path = f"{printable(name)}#{number:06d}"
                key = os.fsencode(f"{name}#{number:06d}")
                f.seek(at)
                header = f.read(_HEADER_BYTES)
                length = int.from_bytes(header[:4], "little")
                width, height = (int.from_bytes(header[i : i + 2], "little") for i in (6, 8))
                pixels = width * height
                if pixels == 0 or length != _HEADER_BYTES + pixels or at + length > size:
                    damaged[path] = "cut or damaged here; the rest of this file is left out"
                    break
                try:
                    label = clean_label(header[4:6].rstrip(b"\0").decode("gbk"))
                except (UnicodeDecodeError, InputError):
                    damaged[path] = f"its tag {header[4:6].hex()} is no character in GBK"
                else:
                    where = (file, at + _HEADER_BYTES, width, height)
                    found.append(Found(path, label, key, pixels, where))
                at += length
    if not found:
        reason = next(iter(damaged.items()), (str(top), "empty"))
        raise InputError(f"{top}: no character in its .gnt files; first: {reason[0]}: {reason[1]}")
    return Listing(found, _read, damaged, ignored_files)


def _read(found: Found) -> bytes:
    """As the bytes of a PGM file."""
    file, offset, width, height = found.where
    with file.open("rb") as f:
        f.seek(offset)
        return b"P5 %d %d 255\n" % (width, height) + f.read(width * height)


def tag(row: Mapping[str, Any], alphabet: Alphabet) -> bytes | None:
    """The two bytes that stand for a store's row, or None: the format knows characters alone.

    Of "other" the whole characters outside the alphabet have a tag; import files them back under
    "other" with `--outside other`.
    """
    char = row["label"]
    if char == OTHER:
        char = row["char"]
        if not char or char in alphabet or row["kind"] in NON_CHARACTER_KINDS:
            return None
    try:
        code = char.encode("gbk")
    except UnicodeEncodeError:
        return None
    return code.ljust(2, b"\0") if len(code) <= 2 else None


def write_gnt(part: Path, images: Iterable[Stored], alphabet: Alphabet) -> None:
    """Images without a `tag` must have been left out."""
    with part.open("wb") as f:
        for one in images:
            height, width = one.image.shape
            code = tag(one.row, alphabet)
            assert code is not None
            f.write(struct.pack("<I2sHH", _HEADER_BYTES + height * width, code, width, height))
            f.write(one.on_paper.tobytes())
