"""Duplicates, conflicting labels, and which images are put aside, all decided by content."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

from synth.found import Found


def drop_duplicates(
    usable: Sequence[Found], hashes: Sequence[str]
) -> tuple[list[int], dict[str, str]]:
    """The indices to keep, and path -> path of the same image with the same label that is kept.

    What was drawn or generated is kept whole: a store has as many blank images as were asked for.
    """
    first: dict[tuple[str, str], int] = {}
    dropped: dict[str, str] = {}
    kept = []
    for i, one in enumerate(usable):
        j = first.setdefault((one.label, hashes[i]), i) if one.is_real else i
        if j == i:
            kept.append(i)
        else:
            dropped[one.path] = usable[j].path
    return kept, dropped


def label_conflicts(
    usable: Sequence[Found], hashes: Sequence[str], kept: Sequence[int]
) -> list[dict[str, str]]:
    """Path -> label of the same image filed under several labels, one dict an image."""
    same: dict[str, list[int]] = defaultdict(list)
    for i in kept:
        same[hashes[i]].append(i)
    return [
        {usable[i].path: usable[i].label for i in group}
        for group in same.values()
        if len(group) > 1
    ]


def choose_splits(
    labels: Sequence[str], hashes: Sequence[str], split: str | None, val_share: float, seed: int
) -> list[str]:
    """The split of each image, from the content alone: names and order do not matter.

    round(n * val_share) of a class's n images go to "val", those with the lowest hash of (seed,
    content). An image filed under several labels stays in "train" under all of them: a label that
    is surely wrong somewhere is no measure.
    """
    if split is not None:
        return [split] * len(labels)
    count = Counter(hashes)
    by_label: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        by_label[label].append(i)
    result = ["train"] * len(labels)
    for rows in by_label.values():
        order = sorted(
            (i for i in rows if count[hashes[i]] == 1),
            key=lambda i: hashlib.sha256(f"{seed}:{hashes[i]}".encode()).digest(),
        )
        for i in order[: round(len(rows) * val_share)]:
            result[i] = "val"
    return result


def rejoin(hashes: Sequence[str], splits: Sequence[str], real: Sequence[bool]) -> list[str]:
    """The splits, but that a real picture which stands in several goes into one of them.

    Into "test" where it is in that, since nobody may learn from it, else into "train", as in
    `choose_splits`.
    """
    of: dict[str, set[str]] = defaultdict(set)
    for digest, split, is_real in zip(hashes, splits, real, strict=True):
        if is_real:
            of[digest].add(split)
    result = []
    for digest, split, is_real in zip(hashes, splits, real, strict=True):
        if is_real and len(of[digest]) > 1:
            split = "test" if "test" in of[digest] else "train"
        result.append(split)
    return result
