"""Files that are whole or not there, for checkpoints and all else that a kill may interrupt."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from synth.errors import InputError

_MAGIC = b"inkfill1"
_DIGEST_BYTES = 32


def write_whole(path: Path, data: bytes) -> None:
    """Beside the final name, flushed to disk, then renamed: a reader sees the old or the new."""
    part = path.with_name(f".{path.name}.partial")
    try:
        with part.open("wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        part.replace(path)
    except BaseException:  # no space, say
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)  # the rename itself


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a folder, is on the disk when it returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_stamp(path: Path) -> tuple[int, int]:
    """Time of change in ns, bytes: another where a file was replaced. Raises OSError."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def write_text(path: Path, text: str) -> None:
    write_whole(path, text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """64 hex digits of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_checked(path: Path, data: bytes) -> None:
    """With a checksum in front; the file that was there before is kept as `<name>.previous`.

    A damaged one is not kept: the one before it may be all that a kill leaves.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if _checked(path) is not None:
        path.replace(path.with_name(path.name + ".previous"))
    write_whole(path, _MAGIC + hashlib.sha256(data).digest() + data)


def load_checked(path: Path) -> tuple[bytes, Path]:
    """The newest undamaged of `path` and `<name>.previous`, and which one it is.

    Raises InputError where both are missing or damaged.
    """
    candidates = [path, path.with_name(path.name + ".previous")]
    for candidate in candidates:
        if (data := _checked(candidate)) is not None:
            return data, candidate
    there = [c.name for c in candidates if c.exists()]
    what = f"damaged ({', '.join(there)})" if there else "no checkpoint"
    raise InputError(f"{path}: {what}; remove the run's folder to start anew")


def _checked(path: Path) -> bytes | None:
    """What `save_checked` was given; None where the file is missing or damaged."""
    if not path.is_file():
        return None
    raw = path.read_bytes()
    head, data = raw[: len(_MAGIC) + _DIGEST_BYTES], raw[len(_MAGIC) + _DIGEST_BYTES :]
    return data if head == _MAGIC + hashlib.sha256(data).digest() else None


def has_checkpoint(path: Path) -> bool:
    return path.exists() or path.with_name(path.name + ".previous").exists()
