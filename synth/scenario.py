"""A complete, clean store -> a scenario: rare classes, wrong labels, and "other" mostly unseen.

Characters are dealt out to groups by the scenario's seed. A scenario of the same seed with more
images a class, or with more wrong labels, holds the training images and the wrong labels of the
smaller one and some more, and is measured on the same test images: two scenarios differ in one
thing only.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth import chance
from synth.alphabet import OTHER, Alphabet
from synth.errors import InputError
from synth.files import sync, write_text
from synth.groups import Group, deal, file_name, true_labels
from synth.near_copies import Pictures, copies
from synth.store import Sample, Store, StoreWriter, lock_output, refuse_existing

_ORDER, _NOISE = 82, 83  # streams of `synth.chance`
_BATCH = 1024  # images copied at once


def split_by_name(store: Store, test_names: str) -> tuple[np.ndarray, np.ndarray]:
    """[n], [m] int64: rows to train on, and rows whose file's name starts with `test_names`."""
    names = map(file_name, store.column("origin"))
    test = np.array([name.startswith(test_names) for name in names], bool)
    if not test.any() or test.all():
        raise InputError(
            f"{store.path}: {test.sum()} of {len(test)} file names start with {test_names!r}"
        )
    return np.flatnonzero(~test), np.flatnonzero(test)


def cut_scenario(
    train: Store,  # clean labels, or `truth`, like `test`; both may be one store
    train_rows: np.ndarray,  # [n] int64
    test: Store,
    test_rows: np.ndarray,  # [m] int64
    out: Path,  # folder to make: the stores `real` and `test`, and groups.json, written last
    groups: Sequence[Group],
    images: Mapping[str, int],  # group -> training images a class, in place of the group's own
    noise: float,  # share 0..1 of the training labels that are replaced by another character
    listed: set[str] | None,
    val_share: float,
    seed: int,
    made: dict[str, Any],
    truth: Mapping[str, str] | None = None,  # see `true_labels`
) -> dict[str, Any]:
    """Returns what stands in groups.json: the group of every character, and counts.

    What a training image filed under "other" shows is hidden, as it is in real data. Raises
    InputError, with nothing written, for what cannot be cut.
    """
    if not 0 <= noise < 1:
        raise InputError(f"noise {noise}: a share from 0 to below 1")
    if unknown := sorted(set(images) - {g.name for g in groups}):
        raise InputError(f"images of {unknown[0]!r}: no such group")
    refuse_existing(out)
    if train.canvas != test.canvas:
        raise InputError(f"{test.path}: canvas {test.canvas}, that of {train.path} {train.canvas}")
    label, test_label = true_labels(train, truth), true_labels(test, truth)
    digest = train.column("sha256")
    tested = set(test.column("sha256")[test_rows])
    train_rows = np.array([r for r in train_rows if digest[r] not in tested], np.int64)
    near = copies(Pictures.at(test, test_rows), Pictures.at(train, train_rows))
    train_rows = np.setdiff1d(train_rows, list(near))
    rows_of = _by_label(label, train_rows)
    test_of = _by_label(test_label, test_rows)
    dealt = deal(
        groups,
        {c: len(r) for c, r in rows_of.items()},
        {c: len(r) for c, r in test_of.items()},
        listed,
        seed,
    )
    known = {g.name for g in groups if g.known}
    alphabet = Alphabet.of(c for c, g in dealt.items() if g in known)
    wanted = {g.name: images.get(g.name, g.images) for g in groups}

    # A known character's images, or those of all characters of a group of others (they are one
    # class): the first ones of all before the second ones. Larger cuts go on where smaller end.
    series: dict[str, list[tuple[int, int]]] = {}
    short = {}
    for char in sorted(dealt):
        rows = rows_of.get(char, np.zeros(0, np.int64))
        # by each image's own number: more images are these and further ones
        order = np.argsort(chance.uniform(seed, _ORDER, rows, 1)[:, 0], kind="stable")
        mine = enumerate(rows[order][: wanted[dealt[char]]].tolist())
        series.setdefault(char if dealt[char] in known else dealt[char], []).extend(mine)
        if len(rows) < wanted[dealt[char]]:
            short[char] = len(rows)
    # an image filed under two characters is no measure
    several = {d for d, times in Counter(digest[train_rows].tolist()).items() if times > 1}
    aside = {row for row in _validation(series.values(), val_share) if digest[row] not in several}
    rows = np.sort(np.array([row for of in series.values() for _, row in of], np.int64))
    measured = np.array([r for r in test_rows if test_label[r] in dealt], np.int64)
    chosen = len(rows)
    rows = _without_copies(train, rows, aside, Pictures.at(test, measured))
    splits = ["val" if row in aside else "train" for row in rows.tolist()]
    chars = label[rows].tolist()
    true = [c if dealt[c] in known else OTHER for c in chars]
    given = _with_noise(rows, true, chars, alphabet, noise, seed)

    shown = test_label[measured].tolist()
    right = [c if dealt[c] in known else OTHER for c in shown]
    told = {
        "groups": dealt,
        "images": wanted,
        "training_images": len(rows),
        "wrong_labels": sum(a != b for a, b in zip(true, given, strict=True)),
        "test_images": len(measured),
        "short": short,  # characters with fewer images than wanted -> how many there are
        "copies": chosen - len(rows),  # images left out as copies of others that are measured on
        "labels": _labels_a_class(dealt, chars, given, splits),
        "made": made,
    }
    lock, part = lock_output(out), out.with_name(f".{out.name}.partial")
    try:
        refuse_existing(out)  # another process may have finished it meanwhile
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir()
        _copy(train, rows, given, splits, alphabet, part / "real", made)
        tests = ["test"] * len(right)
        _copy(test, measured, right, tests, alphabet, part / "test", made, shown)
        write_text(part / "groups.json", json.dumps(told, ensure_ascii=False, indent=1))
        part.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        lock.release()
    return told


def _validation(series: Iterable[list[tuple[int, int]]], share: float) -> set[int]:
    """The rows, of [(place, row)] each, that are put aside: that share of the first n, rounded, for
    every n, so that a larger cut puts the same ones aside, and further ones."""

    def aside(images: int) -> int:
        return math.ceil(images * share - 0.5)  # of 5 images at a tenth none

    ordered = (sorted(of) for of in series)
    return {row for of in ordered for i, (_, row) in enumerate(of) if aside(i + 1) > aside(i)}


def _without_copies(
    train: Store, rows: np.ndarray, aside: set[int], measured: Pictures
) -> np.ndarray:
    """The rows less training images that are copies of test images, and less validation images that
    have a copy in training.

    A trainer looks among these images alone. That all training images were looked at before says
    too little: what counted there as a shape that many write alike may have lost its crowd. Of a
    validation image and its copy the latter stays, since a larger cut, which has more validation
    images, must not lose training images to them.
    """
    is_aside = np.array([row in aside for row in rows.tolist()], bool)
    learnt, val = Pictures.at(train, rows[~is_aside]), Pictures.at(train, rows[is_aside])
    learnt = learnt.only(np.setdiff1d(learnt.rows, list(copies(measured, learnt))))
    while found := copies(val, learnt):
        val = val.only(np.setdiff1d(val.rows, list(found.values())))
    return np.sort(np.concatenate([learnt.rows, val.rows]))


def _labels_a_class(
    dealt: Mapping[str, str], shown: Sequence[str], given: Sequence[str], splits: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Group -> training images of a class under a right and under a wrong label, the mean of its
    characters. What a group of other characters has right is filed under "other"."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for char, label, split in zip(shown, given, splits, strict=True):
        if split == "train" and label in (char, OTHER):  # no known character goes to "other"
            right[char] += 1
        elif split == "train":
            wrong[label] += 1
    return {
        group: {
            "right": float(np.mean([right[c] for c, g in dealt.items() if g == group])),
            "wrong": float(np.mean([wrong[c] for c, g in dealt.items() if g == group])),
        }
        for group in sorted(set(dealt.values()))
    }


def _by_label(label: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Label -> its rows; images whose character is not known ("other") are of no use here."""
    of: dict[str, list[int]] = {}
    for row in rows.tolist():
        of.setdefault(label[row], []).append(row)
    return {c: np.array(r, np.int64) for c, r in of.items() if c != OTHER}


def _with_noise(
    rows: np.ndarray,
    true: Sequence[str],
    chars: Sequence[str],
    alphabet: Alphabet,
    noise: float,
    seed: int,
) -> list[str]:
    """The labels as given: a share `noise` of them is some other character of the alphabet."""
    u = chance.uniform(seed, _NOISE, rows, 2)
    given = []
    for label, char, (flip, pick) in zip(true, chars, u, strict=True):
        others = [c for c in alphabet.chars if c != char]
        wrong = flip < noise and others
        given.append(others[int(pick * len(others))] if wrong else label)
    return given


def _copy(
    whole: Store,
    rows: np.ndarray,
    labels: Sequence[str],
    splits: Sequence[str],
    alphabet: Alphabet,
    out: Path,
    made: dict[str, Any],
    chars: Sequence[str] | None = None,  # what each shows; None: what its label says
) -> None:
    origins, of = whole.column("origin"), whole.info["made"]
    # where the images come from, and on which terms, stays true of some of them
    kept = {"images": of.get("images", str(whole.path))}
    kept |= {"licence": of["licence"]} if "licence" in of else {}
    with StoreWriter(out, whole.canvas, alphabet, made | kept) as writer:
        for start in range(0, len(rows), _BATCH):
            part = range(start, min(start + _BATCH, len(rows)))
            samples = [
                Sample(
                    label=labels[i],
                    char=chars[i] if chars else ("" if labels[i] == OTHER else labels[i]),
                    source="real",
                    split=splits[i],
                    # a file name may hold the true character
                    origin=origins[rows[i]] if chars else f"row {rows[i]}",
                )
                for i in part
            ]
            writer.append(whole.take(rows[part.start : part.stop]), samples)
