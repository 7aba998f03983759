"""How many images each class still needs, from the real counts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from synth.alphabet import OTHER, Alphabet, clean_label
from synth.errors import InputError
from synth.files import write_text
from synth.store import Store

# Groups of known classes by their real training images, as all reports use them: name, fewest.
GROUPS = (("common", 50), ("rare", 10), ("few", 1), ("none", 0))
OTHER_PER_KNOWN = 1.2  # images of "other" for each one of a known class
COLUMNS = ["label", "images"]  # of a quota file
Target = int | Literal["median"] | None  # "median": of the classes that have real images


def group_of(images: int) -> str:
    """Training images of a class -> common, rare, few, or none."""
    return next(name for name, fewest in GROUPS if images >= fewest)


def real_counts(store: Store) -> dict[str, int]:
    """Label -> real training images."""
    labels = store.column("label")[store.rows("train")]
    found, counts = np.unique(labels.astype(str), return_counts=True)
    there = dict(zip(found.tolist(), counts.tolist(), strict=True))
    return {label: there.get(label, 0) for label in store.alphabet.classes}


@dataclass(frozen=True)
class Quota:
    """Images to make, by class."""

    # real + synthetic images that each known class shall reach; None: nobody asked for a target
    target: int | None
    lacking: dict[str, int]  # character -> synthetic images to make
    other: int  # images of what is not in the alphabet
    real: dict[str, int]  # label -> real training images, empty without a real store
    cap: float | None = None  # largest synthetic share of a class that has real images
    capped: int = 0  # classes that it takes images from

    def lacks(self, char: str) -> int | None:
        """Images that a known class lacks to the target; None where there is none."""
        return None if self.target is None else max(self.target - self.real.get(char, 0), 0)

    def notes(self) -> dict[str, Any]:
        """For the store, as JSON values: of each class what is real, lacks, and is made; what hangs
        on a target only where there is one."""
        classes: dict[str, dict[str, int]] = {}
        for c, n in self.lacking.items():
            lacks = self.lacks(c)
            classes[c] = {
                "real": self.real.get(c, 0),
                **({} if lacks is None else {"lacking": lacks}),
                "planned": n,
            }
        classes[OTHER] = {"real": self.real.get(OTHER, 0), "planned": self.other}
        target = {} if self.target is None else {"target": self.target}
        return {**target, "other": self.other, "cap": self.cap, "classes": classes}

    def table(self) -> str:
        """Group: classes, real images, what lacks to the target if there is one, images to make."""
        groups: dict[str, list[str]] = {}
        for char in self.lacking:
            groups.setdefault(group_of(self.real.get(char, 0)), []).append(char)
        rows: list[list[Any]] = [["group", "classes", "real", "lacking", "to make", "a class"]]
        for group in ("common", "rare", "few", "none"):
            if chars := groups.get(group):
                real = sum(self.real.get(c, 0) for c in chars)
                made = sum(self.lacking[c] for c in chars)
                lacks = sum(self.lacks(c) or 0 for c in chars)
                rows.append([group, len(chars), real, lacks, made, round(made / len(chars))])
        rows.append([OTHER, 1, self.real.get(OTHER, 0), "", self.other])
        if self.target is None:
            rows = [row[:3] + row[4:] for row in rows]
        lines = [f"{row[0]:8}" + "".join(f" {cell:>8}" for cell in row[1:]) for row in rows]
        if self.cap is not None:
            free = sum(not self.real[c] for c in self.lacking)
            lines.append(
                f"at most {100 * self.cap:g} % of a class synthetic: {self.capped} classes get "
                f"fewer; {free} without a real image are not bound"
            )
        return "\n".join(lines)


def plan_quota(
    alphabet: Alphabet,
    real: dict[str, int] | None,  # label -> real training images; None without real data
    per_class: int | None,  # synthetic images of every class; None fills up to the target
    # real + synthetic images a class; None: twice the median real class, or with per_class none
    target: Target,
    other: int | None,  # images of "other"; None: OTHER_PER_KNOWN for each known one
    cap: float | None = None,  # largest synthetic share of a class that has real images
) -> Quota:
    """Every class gets some synthetic images, the common ones too (half the target at least).

    Otherwise "looks rendered" would mean "rare class" to whoever trains on the mix.
    """
    for name, value in (("per-class", per_class), ("target", target), ("other", other)):
        if isinstance(value, int) and value < 0:
            raise InputError(f"--{name} {value}: a number of images from 0")
    if cap is not None and not 0 <= cap <= 1:
        raise InputError(f"--cap {cap}: a share from 0 to 1")
    if cap is not None and real is None:
        raise InputError("--cap: a share of real and synthetic images; give --real STORE with it")
    counts = dict.fromkeys(alphabet.classes, 0) | (real or {})
    there = [n for c in alphabet.chars if (n := counts[c])]
    if target == "median":
        if not there:
            raise InputError("--target median: no class has real images; give --real STORE")
        target = int(np.median(there))
    elif target is None and per_class is None:
        target = max(100, 2 * int(np.median(there))) if there else 200
    if per_class is not None:
        lacking = dict.fromkeys(alphabet.chars, per_class)
    else:
        assert target is not None
        lacking = {c: max(target - counts[c], target // 2) for c in alphabet.chars}
    wanted = lacking
    lacking = {c: _under_cap(n, counts[c], cap) for c, n in wanted.items()}
    if other is None:
        other = round(OTHER_PER_KNOWN * sum(lacking.values()))
    fewer = _under_cap(other, counts[OTHER], cap)
    capped = sum(lacking[c] < n for c, n in wanted.items()) + (fewer < other)
    return Quota(target, lacking, fewer, counts if real is not None else {}, cap, capped)


def _under_cap(images: int, real: int, cap: float | None) -> int:
    """As many of `images` as are at most the share `cap` of them and the real ones together. A
    class without a real image is not bound: it would get none."""
    if cap is None or cap == 1 or not real:
        return images
    return min(images, int(real * cap / (1 - cap) + 1e-6))


def read_quota(path: Path, alphabet: Alphabet, real: dict[str, int] | None) -> Quota:
    """From a CSV file, columns label and images; "other" is a label too. A class without a line
    gets no image. `real` as for `plan_quota`.

    Raises InputError with the line number.
    """
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{path}: no quota file ({line})") from None
    if not lines or lines[0] != COLUMNS:
        raise InputError(f"{path}: the first line of a quota file is {','.join(COLUMNS)}")
    images: dict[str, int] = {}
    for number, row in enumerate(lines[1:], 2):
        if row:
            try:
                label, count = _quota_row(row, alphabet)
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            if label in images:
                raise InputError(f"{path}, line {number}: {label!r} is there twice")
            images[label] = count
    if not sum(images.values()):
        raise InputError(f"{path}: it asks for no image")
    lacking = {c: images.get(c, 0) for c in alphabet.chars}
    counts = dict.fromkeys(alphabet.classes, 0) | (real or {})
    return Quota(None, lacking, images.get(OTHER, 0), counts if real is not None else {})


def _quota_row(row: list[str], alphabet: Alphabet) -> tuple[str, int]:
    if len(row) != len(COLUMNS):
        raise InputError(f"{len(row)} fields, not {len(COLUMNS)}")
    label = clean_label(row[0])
    if label != OTHER and label not in alphabet:
        raise InputError(f"{label!r} is no class of the alphabet")
    # isdecimal alone takes other scripts' digits, a minus sign is no digit
    if not (row[1].isascii() and row[1].isdecimal() and len(row[1]) < 10):
        raise InputError(f"{row[1]!r} is no number of images from 0")
    return label, int(row[1])


def write_quota(path: Path, images: Mapping[str, int]) -> None:
    """Label -> images, as `read_quota` reads it."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([COLUMNS, *images.items()])
    write_text(path, file.getvalue())
