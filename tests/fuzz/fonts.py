"""The font checker: which characters a font file has, and their pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from test_bad_fonts import MEMORY_MIB, draws, good_fonts

__all__ = ["EACH_S", "MEMORY_MIB", "case", "seeds"]

EACH_S = 5.0
ENDINGS = ("ttf", "otf", "woff", "ttc")


def case(data: bytes) -> str:
    """The first byte picks the name's ending, the rest is the file."""
    return draws((ENDINGS[data[0] % len(ENDINGS)] if data else "ttf", data[1:]))


def seeds() -> Iterator[tuple[str, bytes]]:
    """Whole fonts to start from."""
    with tempfile.TemporaryDirectory() as top:
        for ending, data in good_fonts(Path(top)).items():
            yield ending, bytes([ENDINGS.index(ending)]) + data
