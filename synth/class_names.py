"""Which character a class number or a class folder's name stands for, where a data set says it in
a file of its own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from synth.alphabet import clean_label
from synth.errors import InputError


@dataclass(frozen=True)
class ClassNames:
    """Name of a class, or its number in digits -> the label."""

    of: Mapping[str, str]

    @classmethod
    def read(cls, given: str) -> Self:
        """From a file, or from the characters themselves in the order of the class numbers.

        A line of the file is one character (line n is class n, from 0), or `name,character` with a
        folder's name or a class number. Of more columns the first one that is one character counts,
        or else the first code point: KMNIST's classmap.csv (`0,U+304A,お`) and EMNIST's mapping.txt
        (`10 65`) are such files. Raises InputError, with the line number.
        """
        file = Path(given)
        if not _is_file(file):
            chars = [c for c in given if not c.isspace()]
            if set(given) & {".", "/"} or len(set(chars)) != len(chars) or not chars:
                raise InputError(f"classes {given!r}: no such file, nor distinct characters")
            return cls({str(i): clean_label(char) for i, char in enumerate(chars)})
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{file}: not a UTF-8 text file") from None
        found: dict[str, str] = {}
        single = None
        for number, line in enumerate(lines, 1):
            columns = _columns(line)
            if not columns or (number == 1 and columns[0] == "index"):  # KMNIST's head
                continue
            if single is None:
                single = len(columns) == 1
            try:
                if single != (len(columns) == 1):
                    raise InputError("some lines have one column, some have more")
                name = str(len(found)) if single else columns[0]
                label = clean_label(columns[0]) if single else _label(columns[1:])
            except InputError as error:
                raise InputError(f"{file}, line {number}: {error}") from None
            if name in found:
                raise InputError(f"{file}, line {number}: class {name!r} stands there twice")
            found[name] = label
        if not found:
            raise InputError(f"{file}: no class in it")
        return cls(found)

    def label(self, name: str | int) -> str:
        """Raises InputError for a class that is not named."""
        try:
            return self.of[str(name)]
        except KeyError:
            raise InputError(f"class {name!r} is not among the {len(self.of)} classes") from None

    def of_folder(self, path: str) -> str | None:
        """The label of a file by the folder it lies in: by `a/b` or by `b` for `x/a/b/1.png`."""
        folders = PurePosixPath(path).parts[:-1]
        for first in range(len(folders)):
            label = self.of.get("/".join(folders[first:]))
            if label is not None:
                return label
        return None


def _is_file(path: Path) -> bool:
    """False too for characters that are no possible name: a file's may have 255 bytes."""
    try:
        return path.is_file()
    except OSError:
        return False


def _columns(line: str) -> list[str]:
    line = line.strip()
    if len(line) <= 1:  # the comma may be a character
        return [line] if line else []
    for separator in ("\t", ","):
        if separator in line:
            return [part.strip() for part in line.split(separator)]
    return line.split()


def _label(columns: list[str]) -> str:
    for text in columns:
        try:
            return clean_label(text)
        except InputError:
            pass
    if not re.fullmatch(r"\d{2,7}", columns[0]):
        raise InputError(f"{columns[0]!r} is neither one character nor a code point")
    number = int(columns[0])
    if number > sys.maxunicode:
        raise InputError(f"{columns[0]!r} is no code point")
    return clean_label(chr(number))
