"""What a YAML file holds -> dataclasses, each value of the type that is annotated."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import zip_longest
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from synth.errors import InputError


def fits(kind: type, given: Any, where: str) -> dict[str, Any]:
    """The mapping. Raises InputError, naming the place `where`, if its keys are not those of the
    dataclass."""
    if not isinstance(given, dict):
        raise InputError(f"{where}: wanted keys and values, got {given!r}")
    there = {f.name: f for f in fields(kind)}
    if unknown := [k for k in given if k not in there]:
        raise InputError(f"{where}: no {unknown[0]!r}; there are {', '.join(there)}")
    needed = [n for n, f in there.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [n for n in needed if n not in given]:
        raise InputError(f"{where}: {missing[0]!r} is missing")
    return dict(given)


def make(kind: type, given: Any, where: str) -> Any:
    """The dataclass. Raises InputError, naming the place `where`, for keys and values that are not
    its own."""
    values = fits(kind, given, where)
    hints = get_type_hints(kind)
    for name, value in values.items():
        if not _is_a(value, hints[name]):
            raise InputError(f"{where}: {name}: wanted {_told(hints[name])}, got {value!r}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def words_of(line: str) -> list[str]:
    """The words of a command line. Raises InputError for a torn quote."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{line!r}: {error}") from None


def values_of(words: Sequence[str], flag: str) -> list[str]:
    """What the words of a line give a flag, behind it or behind its equals sign, in order."""
    return [
        after if word == flag else word.partition("=")[2]
        for word, after in zip_longest(words, words[1:], fillvalue="")
        if word.partition("=")[0] == flag
    ]


def _is_a(value: Any, hint: Any) -> bool:
    """Whether what a YAML file holds is of an annotated type."""
    inner = get_args(hint)
    if get_origin(hint) is UnionType:
        return any(_is_a(value, one) for one in inner)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_is_a(v, inner[0]) for v in value)
    if get_origin(hint) is Mapping:
        return isinstance(value, dict) and all(
            _is_a(k, inner[0]) and _is_a(v, inner[1]) for k, v in value.items()
        )
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _told(hint: Any) -> str:
    """A type in words."""
    inner = get_args(hint)
    if get_origin(hint) is UnionType:
        return " or ".join(map(_told, inner))
    if get_origin(hint) is tuple:
        return f"a list, [{_told(inner[0])}, ...]"
    if get_origin(hint) is Mapping:
        return f"{{{_told(inner[0])}: {_told(inner[1])}, ...}}"
    words = {str: "text", int: "a whole number", float: "a number", NoneType: "nothing"}
    return words.get(hint, hint.__name__)
