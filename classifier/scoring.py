"""Predictions against the truth, both as CSV files: the figures of `evaluate`, by any groups."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from classifier.evaluate import figures_of
from synth.alphabet import OTHER, Alphabet, clean_label
from synth.errors import InputError


@dataclass(frozen=True)
class Truth:
    """What one image shows."""

    label: str  # a character, or "other"
    group: str  # its class's, "" where the table has none
    char: str  # what it shows, also inside "other"; where the table does not say, the label


class Said(NamedTuple):
    """The answer to one image."""

    label: str
    other: float  # the other score: the higher, the more it looks like nothing known


def read_truth(
    file: Path,  # CSV with the columns path and label; group and char where there are
    under: str | None = None,  # only images whose path begins with this folder; None: all
) -> dict[str, Truth]:
    """Path -> what it shows. Raises InputError, with the line, for a table that tells it not."""
    found: dict[str, Truth] = {}
    start = f"{under.rstrip('/')}/" if under else ""
    for where, row in _rows(file, ("path", "label")):
        path = row["path"]
        if not path.startswith(start):
            continue
        if path in found:
            raise InputError(f"{where}: {path!r} stands there twice")
        label = _label(row["label"], where)
        found[path] = Truth(label, row.get("group") or "", row.get("char") or label)
    if not found:
        raise InputError(f"{file}: no image in it" + (f" under {start}" if start else ""))
    return found


def read_predictions(file: Path) -> dict[str, Said]:
    """Path -> answer, of a CSV that predict.py wrote. Raises InputError with the line."""
    found: dict[str, Said] = {}
    for where, row in _rows(file, ("path", "label", "other")):
        if row["path"] in found:
            raise InputError(f"{where}: {row['path']!r} stands there twice")
        try:
            other = float(row["other"])
        except ValueError:
            other = float("nan")
        if not np.isfinite(other):
            raise InputError(f"{where}: other is {row['other']!r}, wanted a number")
        found[row["path"]] = Said(_label(row["label"], where), other)
    return found


def score(
    truth: Mapping[str, Truth],
    predictions: Mapping[str, Said],  # by paths that end in those of the truth
    alphabet: Alphabet | None = None,  # the known characters; None: those that either names
) -> dict[str, Any]:
    """-> images, accuracy, macro F1 over the known classes that have images and "other", AUROC of
    the other score, share of the known images that is called other, and by group the mean over its
    characters of the share read right (of other characters: called "other").

    A true label outside a given alphabet is "other". Raises InputError unless each image of the
    truth is answered once, by a label that the alphabet has.
    """
    answers = _matched(list(truth), predictions)
    if alphabet is None:
        named = {t.label for t in truth.values()} | {s.label for s in predictions.values()}
        if named == {OTHER}:
            raise InputError("no known character in the truth nor among the answers")
        alphabet = Alphabet.of(named)
    index = alphabet.index()
    for path, said in answers.items():
        if said.label not in index:
            raise InputError(f"{path}: answered {said.label!r}, which is not in the alphabet")
    target = np.array([index.get(t.label, index[OTHER]) for t in truth.values()], np.int64)
    answer = np.array([index[answers[path].label] for path in truth], np.int64)
    other = np.array([answers[path].other for path in truth])
    found = figures_of(target, answer, other, alphabet.classes, real_images={})
    names = ("images", "accuracy", "macro_f1", "other_auroc", "false_other")
    places = [(t.group, t.char) for t in truth.values()]
    return {name: found[name] for name in names} | {
        "groups": accuracy_by_group(places, target == answer)
    }


def accuracy_by_group(
    places: Iterable[tuple[str, str]],  # of each image its group and the character that it shows
    right: np.ndarray,  # [N] bool
) -> dict[str, float]:
    """Group -> mean over its characters of the share of right answers, which for a group of other
    characters are "other"; images without a group ("") are in none."""
    hits: dict[str, dict[str, list[bool]]] = {}
    for (group, char), good in zip(places, right.tolist(), strict=True):
        if group:
            hits.setdefault(group, {}).setdefault(char, []).append(good)
    return {
        group: float(np.mean([np.mean(h) for h in chars.values()]))
        for group, chars in sorted(hits.items())
    }


def _matched(paths: Sequence[str], predictions: Mapping[str, Said]) -> dict[str, Said]:
    """Path of the truth -> answer. The folders before it are those of whoever predicted."""
    wanted = set(paths)
    found: dict[str, Said] = {}
    for path, said in predictions.items():
        parts = path.split("/")
        ends = ("/".join(parts[i:]) for i in range(len(parts)))
        if (name := next((end for end in ends if end in wanted), None)) is None:
            raise InputError(f"{path}: predicted, but no image of the truth")
        if name in found:
            raise InputError(f"{path}: predicted twice, as an image of the truth called {name}")
        found[name] = said
    if missing := [path for path in paths if path not in found]:
        raise InputError(
            f"{len(missing)} of the {len(paths)} images of the truth are not predicted, the first "
            f"is {missing[0]}"
        )
    return found


def _rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of a CSV, each with what to call it. Raises InputError."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if lacking := [c for c in columns if c not in (reader.fieldnames or ())]:
                raise InputError(f"{file}: needs the column {lacking[0]}")
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if any(not row[c] for c in columns):
                    raise InputError(f"{where}: {', '.join(columns)} must all be there")
                yield where, row
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: no CSV file in UTF-8 ({error})") from None


def _label(text: str, where: str) -> str:
    try:
        return clean_label(text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
