"""Image files: a folder per class, or names `<id>_<label>.<ext>`, in a folder or in a .zip."""

from __future__ import annotations

import json
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from synth.alphabet import name_of
from synth.class_names import ClassNames
from synth.decode import SUFFIXES
from synth.errors import InputError
from synth.found import (
    MAX_ROW_BYTES,
    MAX_TABLE_BYTES,
    TABLE,
    Found,
    Listing,
    is_hidden,
    label_paths,
    parse_table,
    relative,
    row_text,
    unread,
)
from synth.store import Sample
from synth.stored import Stored

MAX_ZIP_BYTES = 16 * 2**30  # decompressed, all images of a .zip together
PIECE_BYTES = 4096  # that are unpacked at once


def list_folder(top: Path, files: Sequence[Path], classes: ClassNames | None) -> Listing:
    """`files` are all files below `top`."""
    pictures = [f for f in files if f.suffix.lower() in SUFFIXES]
    names = {relative(f, top): f for f in pictures}
    sizes = {name: file.stat().st_size for name, file in names.items()}
    table = top / TABLE
    rows = None
    if table in files:
        rows = _rows(top, len(pictures), table.stat().st_size, table.read_bytes)
    left = unread(relative(f, top) for f in files)
    found = label_paths(top, names, sizes, classes, rows, left)
    ignored = len(files) - len(pictures) - (rows is not None) - len(left)
    return Listing(found, _read_file, left, ignored)


def _rows(
    images: Path,
    count: int,  # images that are there
    size_bytes: int,  # of the table
    read: Callable[[], bytes],
) -> dict[str, Sample]:
    if size_bytes > MAX_TABLE_BYTES + MAX_ROW_BYTES * count:
        raise InputError(
            f"{images}: {TABLE} has {size_bytes / 2**20:.0f} MiB for {count} images: too much"
        )
    try:
        return parse_table(read())
    except InputError as error:
        raise InputError(f"{images}: {error}; remove it to go by the names alone") from None


def _read_file(found: Found) -> bytes:
    return found.where.read_bytes()


# ---- .zip ----


@contextmanager
def opened_zip(images: Path, classes: ClassNames | None) -> Iterator[Listing]:
    try:
        archive = zipfile.ZipFile(images)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{images}: damaged .zip ({error})") from None
    with archive:
        yield _list_zip(images, archive, classes)


def _list_zip(images: Path, archive: zipfile.ZipFile, classes: ClassNames | None) -> Listing:
    """Nothing is extracted: members are read one by one into memory."""
    members: dict[str, zipfile.ZipInfo] = {}
    left: dict[str, str] = {}
    ignored = total_bytes = 0
    table: zipfile.ZipInfo | None = None
    for info in archive.infolist():
        if not info.filename:  # zipfile itself looks at its last character
            ignored += 1
            continue
        name = _member_name(images, info)
        path = PurePosixPath(name)
        if (
            name.startswith("/")
            or "\\" in name
            or ".." in path.parts
            or re.match("[A-Za-z]:", name)
        ):
            raise InputError(f"{images}: member {name!r} points outside the archive; refused")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{images}: member {name!r} is a link; refused")
        if info.is_dir() or any(is_hidden(part) for part in path.parts):
            continue
        if info.flag_bits & 0x1:
            raise InputError(f"{images}: encrypted; unpack it and give the folder")
        if name == TABLE:
            table = info
        elif reason := unread([name]):
            left |= reason
        elif path.suffix.lower() not in SUFFIXES:
            ignored += 1
        else:
            total_bytes += info.file_size
            members[path.as_posix()] = info
    if total_bytes > MAX_ZIP_BYTES:
        raise InputError(
            f"{images}: {total_bytes / 2**30:.1f} GiB when unpacked, the limit is "
            f"{MAX_ZIP_BYTES / 2**30:.1f}; unpack it and give the folder"
        )
    rows = None
    if table is not None:
        read = partial(_read_member, archive, table)
        rows = _rows(images, len(members), table.file_size, read)
    sizes = {name: info.file_size for name, info in members.items()}
    found = label_paths(images, members, sizes, classes, rows, left)
    return Listing(found, lambda one: _read_member(archive, one.where), left, ignored)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Never more than the directory says: asked for all at once, zipfile unpacks whatever there is
    before it cuts it off, and a stream of a few MB may hold GB."""
    try:
        with archive.open(info) as member:
            return b"".join(iter(lambda: member.read(PIECE_BYTES), b""))
    except Exception as error:  # bad CRC, bad deflate stream, unknown method: many types
        raise InputError(f"damaged in the .zip ({error})") from None


def _member_name(images: Path, info: zipfile.ZipInfo) -> str:
    """The name as UTF-8. Without the flag that says so Python takes it for code page 437; Finder
    and others write UTF-8 without the flag."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise InputError(
            f"{images}: member {info.filename!r}: its name is not UTF-8; unpack it with the right "
            "encoding and give the folder"
        ) from None


# ---- export ----


def write_folder(part: Path, images: Iterable[Stored]) -> None:
    """part/<label>/<number>.png and the table of all rows."""
    _write_files(part, images, lambda one: f"{name_of(one.row['label'])}/{one.number:07d}.png")


def write_flat(part: Path, images: Iterable[Stored]) -> None:
    """part/<number>_<label>.png and the table of all rows."""
    _write_files(part, images, lambda one: f"{one.number:07d}_{name_of(one.row['label'])}.png")


def _write_files(part: Path, images: Iterable[Stored], name: Callable[[Stored], str]) -> None:
    part.mkdir()
    made = {part}
    with (part / TABLE).open("w", encoding="utf-8") as table:
        for one in images:
            path = name(one)
            file = part / path
            if file.parent not in made:
                made.add(file.parent)
                _make_folder(file.parent)
            file.write_bytes(one.encoded())
            table.write(_line(path, one))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        raise InputError(
            f"{folder.name}: this disk takes it for the folder of another label, in capitals, say; "
            "export to zip, or to another disk"
        ) from None


def write_zip(part: Path, images: Iterable[Stored]) -> None:
    """<label>/<number>.png and the table of all rows, in a .zip."""
    lines = []
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed
        for one in images:
            path = f"{name_of(one.row['label'])}/{one.number:07d}.png"
            archive.writestr(path, one.encoded())
            lines.append(_line(path, one))
        archive.writestr(TABLE, "".join(lines), zipfile.ZIP_DEFLATED)


def _line(path: str, one: Stored) -> str:
    row = {"file": path} | json.loads(row_text(one.row))
    return json.dumps(row, ensure_ascii=False) + "\n"
