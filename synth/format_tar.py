"""WebDataset: .tar files in which files of one name with different endings are one sample.

    000001.png, 000001.txt (the label), 000001.json (exports: the row of the store)

A label is read from .txt, or from .json with "label", or, as a class number, from .cls. Read with
the standard library: the webdataset package decodes pickles by file ending, runs addresses that
begin with `pipe:`, imports torch, and cannot go to one image.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from synth.alphabet import clean_label
from synth.class_names import ClassNames
from synth.decode import SUFFIXES
from synth.errors import InputError
from synth.found import Found, Listing, is_hidden, parse_row, printable, relative, row_text
from synth.store import Sample
from synth.stored import Stored

MAX_TEXT_BYTES = 2**22  # of a label or a row: the first one's holds an alphabet and notes
_TEXTS = (".txt", ".json", ".cls")
Place = tuple[Path, int, int]  # file, offset, bytes


def list_tar(
    top: Path, files: Sequence[Path], ignored_files: int, classes: ClassNames | None
) -> Listing:
    """Raises InputError where there is not one image in the files."""
    found, damaged, first = [], {}, ""
    for file in files:
        name = relative(file, top)
        samples: dict[str, dict[str, Place]] = {}
        lost: dict[str, str] = {}
        try:
            ignored_files += _members(file, samples, lost)
        except (tarfile.TarError, EOFError, ValueError, OSError) as error:
            damaged[printable(name)] = f"cut or damaged ({error}); what follows is left out"
        damaged |= {printable(f"{name}/{member}"): why for member, why in lost.items()}
        for sample, parts in samples.items():
            path = f"{name}/{sample}"
            pictures = [ending for ending in parts if ending in SUFFIXES]
            if not pictures:
                ignored_files += len(parts)
                continue
            try:
                label, row = _label(parts, classes)
            except InputError as error:
                damaged[printable(path)] = f"its label cannot be used ({error})"
                first = first or str(error)
                continue
            place = parts[pictures[0]]
            found.append(Found(printable(path), label, os.fsencode(path), place[2], place, row=row))
    if not found:
        reason = first or next(iter(damaged.values()), "no image in it")
        raise InputError(f"{top}: not one labelled image in its .tar files; first: {reason}")
    return Listing(found, lambda one: _read(one.where), damaged, ignored_files)


def _members(file: Path, samples: dict[str, dict[str, Place]], lost: dict[str, str]) -> int:
    """Fills `samples`, and `lost` with images that are there but not whole, as far as the file
    goes. Returns the files of other kinds."""
    ignored = 0
    with tarfile.open(file, "r:") as archive:
        for member in archive:
            folder, _, base = member.name.rpartition("/")
            stem, dot, ending = base.partition(".")  # WebDataset's rule: up to the first dot
            ending = (dot + ending).lower()
            if member.size < 0:  # the next member would be this one again, without end
                raise EOFError("a member of negative size")
            if is_hidden(base) or member.isdir():
                continue
            if ending in SUFFIXES and (member.islnk() or member.issym() or member.issparse()):
                lost[member.name] = (
                    "stored with holes; make the .tar without --sparse"
                    if member.issparse()
                    else "a link; make the .tar with --dereference --hard-dereference"
                )
                continue
            if not member.isreg() or member.issparse():
                continue
            if ending not in SUFFIXES and ending not in _TEXTS:
                ignored += 1
                continue
            if member.offset_data + member.size > file.stat().st_size:
                raise EOFError("the file ends early")
            place = (file, member.offset_data, member.size)
            samples.setdefault(f"{folder}/{stem}".lstrip("/"), {})[ending] = place
    return ignored


def _label(parts: dict[str, Place], classes: ClassNames | None) -> tuple[str, Sample | None]:
    row = None
    told: object = None
    if ".json" in parts:
        try:
            told = json.loads(_text(parts[".json"]))
        except (ValueError, RecursionError):
            raise InputError("its .json is damaged") from None
        if isinstance(told, dict) and "source" in told:
            row = parse_row(_text(parts[".json"]))
        told = told.get("label") if isinstance(told, dict) else None
    if ".txt" in parts:
        told = _text(parts[".txt"])
    if told is None and ".cls" in parts:
        if classes is None:
            raise InputError("a class number: say what it stands for with --classes FILE")
        told = classes.label(_text(parts[".cls"]).strip())
    if not isinstance(told, str):
        raise InputError("no .txt, .json or .cls with a label beside it")
    if classes:
        told = classes.of.get(told.strip(), told)
    return clean_label(told), row


def _text(place: Place) -> str:
    if place[2] > MAX_TEXT_BYTES:
        raise InputError(f"{place[2]} bytes of text")
    try:
        return _read(place).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("no UTF-8") from None


def _read(place: Place) -> bytes:
    file, offset, size = place
    with file.open("rb") as f:
        f.seek(offset)
        return f.read(size)


def write_tar(part: Path, images: Iterable[Stored]) -> None:
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
        for one in images:
            texts = (one.encoded(), one.row["label"].encode(), row_text(one.row).encode())
            for ending, data in zip(("png", "txt", "json"), texts, strict=True):
                member = tarfile.TarInfo(f"{one.number:07d}.{ending}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
