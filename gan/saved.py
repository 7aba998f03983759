"""Reading back what a run has saved: whatever is wrong with a file ends in one error."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
from safetensors import SafetensorError

from synth.errors import InputError

# What json, numpy, safetensors and the networks' constructors make of files with wrong bytes in
# them: a header that is no Python, a shape beyond all memory, a width of 0, brackets without end.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # and RecursionError
    SafetensorError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Raises InputError "`what` (the reason)" where something in it cannot be read."""
    try:
        yield
    except (*DAMAGE, InputError) as error:
        line = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{what} ({line})") from None


def read_array(path: Path, shape: tuple[int | None, ...], kind: type[np.generic]) -> np.ndarray:
    """An array of `np.save`. None in the shape: any length from 1.

    Raises one of DAMAGE where the file holds another shape or kind, or a number that is not finite.
    """
    # as a map first: a wrong header asks for no memory that the file has no bytes for
    found = np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    fits = len(found.shape) == len(shape) and all(
        n > 0 if wanted is None else n == wanted
        for n, wanted in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != np.dtype(kind):
        raise ValueError(f"{path.name} holds {found.shape} {found.dtype}, wanted {shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{path.name} holds numbers that are not finite")
    return found
