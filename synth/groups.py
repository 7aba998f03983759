"""Which character is in which group of a scenario, and what each image of a data set shows."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth import chance
from synth.alphabet import clean_label
from synth.errors import InputError
from synth.store import Store

OTHER_GROUPS = "other"  # names of groups of other characters start so
_DEAL = 81  # stream of `synth.chance`


@dataclass(frozen=True)
class Group:
    """Characters that get the same number of training images."""

    name: str  # common, rare, few ...; other_seen, other_unseen: not in the alphabet
    classes: int
    images: int  # training images of each

    @property
    def known(self) -> bool:
        return is_known(self.name)


def is_known(group: str) -> bool:
    """Whether the characters of a group of that name are in the alphabet."""
    return not group.startswith(OTHER_GROUPS)


def parse_groups(text: str) -> tuple[Group, ...]:
    """ "common:40:100,rare:20:20" -> its groups. Raises InputError."""
    groups = []
    for part in text.split(","):
        name, *numbers = part.strip().split(":")
        if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
            raise InputError(f"groups: {part!r} is not name:classes:images, like rare:20:20")
        groups.append(Group(name, *map(int, numbers)))
    if len({g.name for g in groups}) < len(groups):
        raise InputError(f"groups: a name stands twice in {text!r}")
    if not any(g.known for g in groups):
        raise InputError(f"groups: {text!r} has no group of known characters")
    return tuple(groups)


def deal(
    groups: Sequence[Group],
    train: Mapping[str, int],  # character -> training images there are
    test: Mapping[str, int],  # character -> test images there are
    listed: set[str] | None,  # characters that may be known ones; None: all
    seed: int,
) -> dict[str, str]:
    """Character -> name of its group. Raises InputError where there are too few characters.

    Known characters come first. With `listed`, other characters are the ones outside it.
    """
    chars = np.array(sorted(test))
    order = chars[np.argsort(chance.uniform(seed, _DEAL, np.arange(len(chars)), 1)[:, 0])]
    dealt: dict[str, str] = {}
    for group in sorted(groups, key=lambda g: not g.known):
        free = [
            c
            for c in order.tolist()
            if c not in dealt
            and train.get(c, 0) >= group.images
            and (listed is None or (c in listed) == group.known)
        ]
        if len(free) < group.classes:
            raise InputError(
                f"group {group.name}: {len(free)} characters with {group.images} training images "
                f"and a test image are left, wanted {group.classes}"
            )
        dealt |= dict.fromkeys(free[: group.classes], group.name)
    return dealt


def read_groups(path: Path) -> dict[str, str]:
    """Character -> group, from a scenario's groups.json. Raises InputError."""
    try:
        return dict(_told(path)["groups"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unread(path, error) from None


def read_labels(path: Path) -> dict[str, tuple[float, float]]:
    """Group -> training images of a class under a right and under a wrong label, the means of its
    characters, from a scenario's groups.json; empty where an earlier version cut it. Raises
    InputError."""
    try:
        found = _told(path).get("labels", {})
        return {g: (float(of["right"]), float(of["wrong"])) for g, of in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unread(path, error) from None


def _told(path: Path) -> dict:
    return json.loads((path / "groups.json").read_text(encoding="utf-8"))


def _unread(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}/groups.json: cannot be read ({error})")


def read_truth(path: Path) -> dict[str, str]:
    """Name of a file, without its folders -> the character it shows, from a CSV file with the
    columns path and char, as make_sample.py writes one. Raises InputError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            lines = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 2):
        where, char = line.get("path"), line.get("char")
        if not where or not char:
            raise InputError(f"{path}, line {number}: wanted the columns path and char")
        name = file_name(where)
        if name in found:
            raise InputError(f"{path}, line {number}: a second file called {name}")
        found[name] = clean_label(char)
    return found


def true_labels(store: Store, truth: Mapping[str, str] | None) -> np.ndarray:
    """[N] str: what each image of the store shows: by `truth`, file name -> character, or, without
    it, by its label. Raises InputError for an image that `truth` does not name."""
    if truth is None:
        return store.column("label")
    names = [file_name(origin) for origin in store.column("origin")]
    if lost := [name for name in names if name not in truth]:
        raise InputError(f"{store.path}: nothing says what {lost[0]!r} shows")
    return np.array([truth[name] for name in names], object)


def file_name(origin: str) -> str:
    """A path without its folders, of any system."""
    return origin.replace("\\", "/").split("/")[-1]
