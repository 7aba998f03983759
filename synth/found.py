"""The images of a data set that is not read yet, and how their labels are found in their names."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from synth.about import KEY, About
from synth.alphabet import clean_label
from synth.class_names import ClassNames
from synth.decode import SUFFIXES, UNREAD_SUFFIXES
from synth.errors import InputError
from synth.store import SOURCES, Sample

SPLITS = ("train", "val", "test")
TABLE = "samples.jsonl"  # beside exported image files: one row an image, with its path as "file"
MAX_TABLE_BYTES, MAX_ROW_BYTES = 2**24, 4096  # of TABLE: all together, and more for each image
_NAMED = re.compile(r"(?P<id>.+)_(?P<label>.+)", re.DOTALL)
_TYPES: dict[str, type | tuple[type, ...]] = {"str": str, "int": int, "float": (int, float)}


@dataclass(frozen=True)
class FirstRow(Sample):
    """The row of the first image of an export, with what its store said of itself."""

    about: About | None = None


@dataclass(frozen=True)
class Found:
    """One image of the data set, not yet read."""

    path: str  # inside the data set, with "/", printable
    label: str  # a clean label
    key: bytes  # `path` as the bytes of the file system: the order of the rows
    bytes_on_disk: int
    where: Any  # what the format's `read` needs to find it
    char: str = ""  # what it shows; "" where unknown
    row: Sample | None = None  # of an export: the row that the image had in its store

    @property
    def is_real(self) -> bool:
        """Whether somebody wrote it: what its row says, if it has one."""
        return self.row is None or self.row.source == "real"


@dataclass(frozen=True)
class Listing:
    """All images of a data set and how to read one."""

    found: list[Found]
    read: Callable[[Found], bytes]  # an image file; raises OSError or InputError where that fails
    damaged: dict[str, str]  # path -> reason: what could not even be listed
    ignored_files: int  # files that are no images by their name


def walk(top: Path) -> Iterator[Path]:
    """All regular files below a folder but hidden ones; links are followed, but not in circles, and
    those that lead nowhere are given too.

    Raises InputError for a folder that cannot be read: a whole class might be in it.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: a folder that cannot be read ({error.strerror}); make it readable "
            "or move it away"
        )

    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(top, onerror=refuse, followlinks=True):
        info = os.stat(folder)  # noqa: PTH116  follows links, as wanted here
        if (info.st_dev, info.st_ino) in seen:
            folders.clear()
            continue
        seen.add((info.st_dev, info.st_ino))
        folders[:] = sorted(f for f in folders if not is_hidden(f))
        for name in sorted(files):
            path = Path(folder, name)
            if not is_hidden(name) and (path.is_file() or _leads_nowhere(path)):
                yield path


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def files_below(top: Path) -> tuple[list[Path], dict[str, str]]:
    """The regular files of `walk`, and the links that lead nowhere: path -> reason. Whatever their
    names are: one may stand for the folder of a class."""
    files, lost = [], {}
    for path in walk(top):
        if _leads_nowhere(path):
            lost[printable(relative(path, top))] = "a link that leads nowhere"
        else:
            files.append(path)
    return files, lost


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def relative(file: Path, top: Path) -> str:
    return file.relative_to(top).as_posix()


def printable(path: str) -> str:
    """Names that are no UTF-8 get escapes, so that they can be printed and stored."""
    return path.encode("utf-8", "backslashreplace").decode()


def row_text(row: Mapping[str, Any]) -> str:
    """A store's row as one line of JSON, for exports; `parse_row` is its inverse."""
    kept = {field.name: row[field.name] for field in fields(Sample)}
    kept |= {KEY: row[KEY]} if KEY in row else {}
    if kept["score"] != kept["score"]:
        del kept["score"]  # NaN is no JSON; it is the default
    return json.dumps(kept, ensure_ascii=False)


def parse_row(text: str | bytes) -> Sample:
    """Raises InputError for what `row_text` cannot have written."""
    try:
        values = json.loads(text)
        known = {field.name: values[field.name] for field in fields(Sample) if field.name in values}
        row = Sample(**known)
        json.dumps(known, ensure_ascii=False).encode()  # no lone surrogates
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError("its row of the store is damaged") from None
    for field in fields(Sample):
        value = getattr(row, field.name)
        if not isinstance(value, _TYPES[str(field.type)]) or isinstance(value, bool):
            raise InputError(f"its row of the store is damaged: {field.name} {value!r}")
    if row.source not in SOURCES or row.split not in SPLITS or abs(row.seed) >= 2**63:
        raise InputError(f"its row of the store is damaged: {row.source!r}, {row.split!r}")
    return FirstRow(**known, about=About.parse(values[KEY])) if KEY in values else row


def about_of(found: Iterable[Found]) -> About | None:
    """What the store said of itself that the images were exported from; None where no row carries
    it, and where there are images of several stores."""
    told = [f.row.about for f in found if isinstance(f.row, FirstRow) and f.row.about]
    return told[0] if told and all(one == told[0] for one in told) else None


def parse_table(text: bytes) -> dict[str, Sample]:
    """The content of a TABLE -> path -> row. Raises InputError with the line number."""
    rows = {}
    for number, line in enumerate(io.BytesIO(text), 1):  # one by one: a row may be empty
        try:
            path = json.loads(line)["file"]
            rows[str(path)] = parse_row(line)
        except (ValueError, KeyError, TypeError, RecursionError, InputError) as error:
            raise InputError(f"{TABLE}, line {number}: damaged ({error})") from None
    return rows


def unread(names: Iterable[str]) -> dict[str, str]:
    """Path -> reason, of the images whose names say that they are of a format that is not read."""
    endings = {name: PurePosixPath(name.rpartition("/")[2]).suffix.lower() for name in names}
    return {
        printable(name): f"an image of a format that is not read ({ending}); save it as PNG"
        for name, ending in endings.items()
        if ending in UNREAD_SUFFIXES
    }


def label_paths(
    images: Path,
    where: Mapping[str, Any],  # path inside the data set -> what `read` needs
    sizes: Mapping[str, int],  # path -> bytes
    classes: ClassNames | None = None,  # labels of folders that are not named by theirs
    rows: Mapping[str, Sample] | None = None,  # path -> row, of an export
    left: Mapping[str, str] | None = None,  # path -> why it is not read, to be told if it is all
) -> list[Found]:
    """Labels from folder names or, for files that lie in no folder, from `<id>_<label>.<ext>`."""
    if not where and left:
        path, reason = next(iter(left.items()))
        raise InputError(
            f"{images}: none of its {len(left)} images can be read; first: {path}: {reason}"
        )
    if not where:
        kinds = ", ".join(SUFFIXES)
        raise InputError(f"{images}: no image in it ({kinds}); wanted {images}/<label>/*.png")
    parts = {path: PurePosixPath(path).parts for path in where}
    named = {path: label for path in where if classes and (label := classes.of_folder(path))}
    wrapped = 0  # folders around everything, as a .zip often has: `set/<label>/1.png`
    first = next(iter(parts.values()))
    while (
        len(first) > wrapped + 1
        and not _is_label(first[wrapped])
        and all(
            len(p) > wrapped + 1 and p[wrapped] == first[wrapped]  # as all above were
            for p in parts.values()
        )
    ):
        wrapped += 1
    in_folder = {path: len(p) > wrapped + 1 for path, p in parts.items()}
    if len(set(in_folder.values())) > 1:
        loose = next(path for path, inside in in_folder.items() if not inside)
        raise InputError(
            f"{images}: some images lie in class folders, others do not ({printable(loose)}); "
            "move those into folders named by their label"
        )
    found, clean = [], {}
    for path, place in where.items():
        if path in named:
            raw = named[path]
            what = ""  # a label already
        elif in_folder[path]:
            raw, what = parts[path][wrapped], f"folder {'/'.join(parts[path][: wrapped + 1])!r}"
        else:
            match = _NAMED.fullmatch(PurePosixPath(path).stem)
            if not match:
                raise InputError(
                    f"{images}: file {path!r} lies in no class folder and is not named "
                    "<id>_<label>.<ext>; move it to <label>/ or rename it"
                )
            raw, what = match["label"], f"file {path!r}"
        if raw not in clean:
            try:
                clean[raw] = clean_label(raw)
            except InputError as error:
                raise InputError(
                    f"{images}: {what}: {error}; folders and files are named by one character or "
                    f"'other', or by --classes{_hint(images, parts.values(), wrapped)}"
                ) from None
        row = rows.get(path) if rows else None
        found.append(
            Found(printable(path), clean[raw], os.fsencode(path), sizes[path], place, row=row)
        )
    return found


def _is_label(text: str) -> bool:
    try:
        clean_label(text)
    except InputError:
        return False
    return True


def _hint(images: Path, parts: Iterable[tuple[str, ...]], at: int) -> str:
    """For a folder that holds data sets, train/ and test/ say, instead of classes."""
    inside = sorted({p[at] for p in parts if len(p) > at + 2 and _is_label(p[at + 1])})
    inside = [name for name in inside if not _is_label(name)]
    there = ", ".join(str(images / name) for name in inside[:3])
    return f"; give one of the folders in it: {there}" if inside and images.is_dir() else ""
