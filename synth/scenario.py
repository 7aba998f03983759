"""A complete, clean store -> a scenario: rare classes, wrong labels, and "other" mostly unseen.

Characters are dealt out to groups by the scenario's seed. A scenario of the same seed with more
images a class, or with more wrong labels, holds the images and the wrong labels of the smaller one
and some more, and is measured on the same test images: two scenarios differ in one thing only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synth import chance
from synth.alphabet import OTHER, Alphabet
from synth.errors import InputError
from synth.files import sync, write_text
from synth.near_copies import Pictures, copies, copies_in_training
from synth.splits import choose_splits
from synth.store import Sample, Store, StoreWriter, lock_output, refuse_existing

OTHER_GROUPS = "other"  # names of groups of other characters start so
_DEAL, _ORDER, _NOISE = 81, 82, 83  # streams of `synth.chance`
_BATCH = 1024  # images copied at once


@dataclass(frozen=True)
class Group:
    """Characters that get the same number of training images."""

    name: str  # common, rare, few ...; other_seen, other_unseen: not in the alphabet
    classes: int
    images: int  # training images of each

    @property
    def known(self) -> bool:
        return not self.name.startswith(OTHER_GROUPS)


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


def split_by_name(store: Store, test_names: str) -> tuple[np.ndarray, np.ndarray]:
    """[n], [m] int64: rows to train on, and rows whose file's name starts with `test_names`."""
    names = [origin.replace("\\", "/").split("/")[-1] for origin in store.column("origin")]
    test = np.array([name.startswith(test_names) for name in names], bool)
    if not test.any() or test.all():
        raise InputError(
            f"{store.path}: {test.sum()} of {len(test)} file names start with {test_names!r}"
        )
    return np.flatnonzero(~test), np.flatnonzero(test)


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


def cut_scenario(
    train: Store,  # clean labels, like `test`; both may be one store
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
    label, digest = train.column("label"), train.column("sha256")
    test_label = test.column("label")
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

    kept, short = [], {}
    for char in sorted(dealt):
        rows = rows_of.get(char, np.zeros(0, np.int64))
        # by each image's own number: more images are these and further ones
        order = np.argsort(chance.uniform(seed, _ORDER, rows, 1)[:, 0], kind="stable")
        kept.append(rows[order][: wanted[dealt[char]]])
        if len(rows) < wanted[dealt[char]]:
            short[char] = len(rows)
    rows = np.sort(np.concatenate(kept))
    true = [c if dealt[c] in known else OTHER for c in label[rows]]
    given = _with_noise(rows, true, label[rows], alphabet, noise, seed)
    splits = choose_splits(given, digest[rows].tolist(), None, val_share, seed)
    near = copies_in_training(Pictures.at(train, rows), splits)
    keep = [i for i, row in enumerate(rows.tolist()) if row not in near]
    rows, true, given, splits = (
        rows[keep],
        *([of[i] for i in keep] for of in (true, given, splits)),
    )

    measured = np.array([r for r in test_rows if test_label[r] in dealt], np.int64)
    shown = test_label[measured].tolist()
    truth = [c if dealt[c] in known else OTHER for c in shown]
    told = {
        "groups": dealt,
        "images": wanted,
        "training_images": len(rows),
        "wrong_labels": sum(a != b for a, b in zip(true, given, strict=True)),
        "test_images": len(measured),
        "short": short,  # characters with fewer images than wanted -> how many there are
        "made": made,
    }
    lock, part = lock_output(out), out.with_name(f".{out.name}.partial")
    try:
        refuse_existing(out)  # another process may have finished it meanwhile
        shutil.rmtree(part, ignore_errors=True)  # what a killed process left
        part.mkdir()
        _copy(train, rows, given, splits, alphabet, part / "real", made)
        tests = ["test"] * len(truth)
        _copy(test, measured, truth, tests, alphabet, part / "test", made, shown)
        write_text(part / "groups.json", json.dumps(told, ensure_ascii=False, indent=1))
        part.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        lock.release()
    return told


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


def read_groups(path: Path) -> dict[str, str]:
    """Character -> group, from a scenario's groups.json. Raises InputError."""
    try:
        return dict(json.loads((path / "groups.json").read_text(encoding="utf-8"))["groups"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}/groups.json: cannot be read ({error})") from None
