"""A WOFF 2 file -> the bytes of the font in it: the FreeType of freetype-py has no Brotli.

fontTools unpacks it; a Chinese font takes it some ten seconds in each process that opens it. The
size is bounded before fontTools sees the file: a few hundred bytes of Brotli may stand for GBs.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from synth.errors import InputError

SIGNATURE = b"wOF2"
MAX_FILE_BYTES, MAX_FONT_BYTES = 2**26, 2**25  # packed, unpacked; the largest Chinese ones: 20 MB
_PIECE_BYTES = 2**20  # that Brotli gives at once
_HEAD = struct.Struct(">4s4sIHHII")  # signature, flavour, length, tables, 0, size, packed size
_HEAD_BYTES = 48


def is_woff2(path: Path) -> bool:
    """By its first bytes. Raises OSError where the file cannot be read."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def unpacked(path: Path) -> bytes:
    """A TrueType or OpenType font. Raises InputError: damaged, too large, a collection."""
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise InputError(f"{path}: {size} bytes of WOFF 2, the limit is {MAX_FILE_BYTES}")
    data = path.read_bytes()
    try:
        from fontTools.ttLib import TTFont

        _refuse_large(path, data)
        font = TTFont(io.BytesIO(data), recalcBBoxes=False, recalcTimestamp=False)
        font.flavor = None
        out = io.BytesIO()
        font.save(out, reorderTables=None)
    except InputError:
        raise
    except Exception as error:  # of a damaged file fontTools raises nearly anything
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a readable font (WOFF 2: {line})") from None
    return out.getvalue()


def _refuse_large(path: Path, data: bytes) -> None:
    """Raises InputError where the tables are more than MAX_FONT_BYTES, by what they say they are
    and by what comes out; else what Brotli and fontTools raise of a damaged file."""
    import brotli
    from fontTools.ttLib.woff2 import WOFF2DirectoryEntry

    _, flavour, _, tables, _, _, packed_bytes = _HEAD.unpack_from(data)
    if flavour == b"ttcf":
        raise InputError(f"{path}: a collection in WOFF 2, which is not read; save it as .ttc")
    file = io.BytesIO(data)
    file.seek(_HEAD_BYTES)
    told = 0
    for _ in range(tables):
        entry = WOFF2DirectoryEntry()
        entry.fromFile(file)
        told += max(entry.length, entry.origLength)
    if told > MAX_FONT_BYTES:
        raise _too_large(path)
    packed, stream, came = file.read(packed_bytes), brotli.Decompressor(), 0
    if not hasattr(stream, "can_accept_more_data"):
        raise InputError(f"{path}: WOFF 2 wants brotli 1.2 or newer: pip install -U brotli")
    while not stream.is_finished():
        piece = stream.process(packed, output_buffer_limit=_PIECE_BYTES)
        packed = b""
        came += len(piece)
        if came > MAX_FONT_BYTES:
            raise _too_large(path)
        if not piece and stream.can_accept_more_data():
            raise InputError(f"{path}: not a readable font (WOFF 2: cut)")


def _too_large(path: Path) -> InputError:
    return InputError(f"{path}: more than {MAX_FONT_BYTES} bytes when unpacked")
