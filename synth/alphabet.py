"""The characters to be recognised, in code-point order, and the class "other".

A label is one user-visible character in Unicode normal form C: the same character typed, pasted or
read from a file name in another normal form (macOS decomposes file names) is the same class.
"""

from __future__ import annotations

import hashlib
import re
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synth.errors import InputError

OTHER = "other"
# white space of Unicode, and the byte-order mark
_AROUND = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff"
_CODE_POINT = re.compile(r"U\+([0-9A-Fa-f]{4,6})")
_NO_NAMES = frozenset('/\\.<>:"|?*')  # on some system or other, alone or as a part
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}


def clean_label(text: str) -> str:
    """The label in normal form C, without surrounding white space and byte-order marks; "U+002F"
    is the character of that code point, as `name_of` writes what cannot stand in a file's name.

    Raises InputError for an empty label, an invisible character, a lone surrogate, and more than
    one character (a base with its combining marks is one).
    """
    label = text.strip(_AROUND)
    if label == OTHER:
        return label
    if (code := _CODE_POINT.fullmatch(label)) and int(code[1], 16) <= sys.maxunicode:
        label = chr(int(code[1], 16))
    # a variation selector picks a glyph, not a character: the class is the same; it goes first,
    # since it keeps the marks on both its sides from being put in order
    label = unicodedata.normalize("NFC", "".join(c for c in label if not _is_variation_selector(c)))
    if not label:
        raise InputError("empty label")
    for char in label:
        if unicodedata.category(char) in _INVISIBLE:
            raise InputError(f"label {label!r} holds U+{ord(char):04X}, no visible character")
    # by category: the combining class of many vowel signs (Devanagari, Thai) is 0
    if sum(not unicodedata.category(c).startswith("M") for c in label) != 1:
        raise InputError(f"label {label!r} is not one character (nor the word 'other')")
    return label


def name_of(label: str) -> str:
    """The label as it can stand in the name of a file or folder everywhere; `clean_label` undoes
    it."""
    return f"U+{ord(label):04X}" if label in _NO_NAMES else label


def _is_variation_selector(char: str) -> bool:
    return 0xFE00 <= ord(char) <= 0xFE0F or 0xE0100 <= ord(char) <= 0xE01EF


@dataclass(frozen=True)
class Alphabet:
    """Known characters in code-point order. Class i is `chars[i]`; the last class is "other"."""

    chars: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.chars:
            raise InputError("the alphabet is empty")
        if list(self.chars) != sorted(set(self.chars)):
            raise ValueError("characters must be distinct and in code-point order: use Alphabet.of")

    @classmethod
    def of(cls, labels: Iterable[str]) -> Alphabet:
        """From labels in any order; doubles and "other" are dropped."""
        return cls(tuple(sorted({clean_label(label) for label in labels} - {OTHER})))

    @classmethod
    def read(cls, path: Path) -> Alphabet:
        """From a UTF-8 file with one character a line. Raises InputError with the line number."""
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            raise InputError(f"{path}: no such alphabet file") from None
        except (UnicodeDecodeError, IsADirectoryError):
            raise InputError(f"{path}: not a UTF-8 text file with one character a line") from None
        chars = []
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    chars.append(clean_label(line))
                except InputError as error:
                    raise InputError(f"{path}, line {number}: {error}") from None
        if not set(chars) - {OTHER}:
            raise InputError(f"{path}: no character in it")
        return cls.of(chars)

    @property
    def classes(self) -> tuple[str, ...]:
        return (*self.chars, OTHER)

    @property
    def digest(self) -> str:
        """12 hex digits that stand in every store, run and checkpoint."""
        return hashlib.sha256("\n".join(self.chars).encode()).hexdigest()[:12]

    def index(self) -> dict[str, int]:
        """Label -> class number."""
        return {label: i for i, label in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.chars)

    def __contains__(self, label: str) -> bool:
        at = bisect_left(self.chars, label)  # asked for every image of a store
        return self.chars[at : at + 1] == (label,)
