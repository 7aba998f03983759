"""Images that are copies of one another though their bytes differ: saved as JPEG, moved by a pixel,
rescaled, made lighter.

An equal image is found by its hash. A copy of this kind is found by its picture: both are shrunk to
32 x 32 cells at unit length, and what a small shift or stretch explains is taken out of their
difference (the tangent distance of Simard, LeCun and Denker, 1993), because a copy's ink box may
come out a pixel larger and the canvas stretches it to the same size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import cv2
import numpy as np

from synth.errors import InputError
from synth.store import Store

# Of 25,796 images of handwriting, some of the simplest characters among them, none lies nearer than
# 0.29 to another, but for 37 pairs at 0.06 to 0.25: by eye one sample twice, in two sizes. Copies
# lie at 0.01 (JPEG of quality 75), 0.00 (moved), 0.06 (three quarters of the size): the medians.
COPY_DISTANCE = 0.18
SAME_DISTANCE = 0.02  # nearer than that are none but copies, however many look alike
ALIKE_DISTANCE, CROWD = 0.40, 3  # so many others within that: a shape that many write alike
_CELLS, _COARSE = 32, 8  # height and width of the pictures compared, and of those that candidates
_BLUR_CELLS = 0.7  # standard deviation: a shift by one cell must be a small step for its tangent
_CANDIDATE_LIKENESS = 0.92  # cosine of the coarse pictures
_CANDIDATES = 16  # compared for each image
_RULE = 1  # raise it where the same numbers would find other copies: notes in stores are by it
_ASKED, _KNOWN, _PAIRS = 512, 4096, 512  # images, images and pairs in memory at once


@dataclass(frozen=True, eq=False)
class Pictures:
    """Some of the images of an array or a store: read as they are needed."""

    images: np.ndarray  # [N, H, W] uint8
    rows: np.ndarray  # [n] int64: those meant
    store: Store | None = None  # whose memory map `images` is: it is asked before each reading

    @classmethod
    def of(cls, store: Store, *splits: str) -> Self:
        return cls.at(store, np.flatnonzero(np.isin(store.column("split"), splits)))

    @classmethod
    def at(cls, store: Store, rows: np.ndarray) -> Self:
        return cls(store.images, rows, store)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: slice | np.ndarray) -> np.ndarray:
        """-> [m, H, W] uint8. Raises InputError where the store is cut or changed."""
        rows = self.rows[at]
        return np.asarray(self.images[rows]) if self.store is None else self.store.take(rows)

    def only(self, rows: np.ndarray) -> Self:
        return replace(self, rows=rows)


def copies(asked: Pictures, known: Pictures) -> dict[int, int]:
    """Row of `known` -> the row of `asked` that it is a copy of, or equal to; rows in order.

    Without those rows nothing in `known` is a copy any more.

    An image without ink is a copy of none. Around a shape that many write alike (a 1 among
    thousands) only what is all but equal counts: CROWD others are a little further off, or all that
    are compared are alike. Time goes with len(asked) x len(known).
    """
    found: dict[int, int] = {}
    while new := _copies(asked, known):
        found |= new
        known = known.only(np.setdiff1d(known.rows, list(new)))
    return dict(sorted(found.items()))


def _copies(asked: Pictures, known: Pictures) -> dict[int, int]:
    """`copies` of what is compared in one go."""
    if not len(asked) or not len(known):
        return {}
    a, k = _candidates(asked, known)
    distance = np.zeros(len(a), np.float32)
    for start in range(0, len(a), _PAIRS):
        part = slice(start, start + _PAIRS)
        # an image stands in many pairs
        (ours, i), (theirs, j) = (np.unique(x[part], return_inverse=True) for x in (a, k))
        distance[part] = _apart(_picture(asked[ours])[i], _picture(known[theirs])[j])
    near = distance <= COPY_DISTANCE
    alike = distance <= ALIKE_DISTANCE
    crowd = np.bincount(a[alike & ~near], minlength=len(asked)) >= CROWD
    crowd |= np.bincount(a[alike], minlength=len(asked)) >= _CANDIDATES
    hit = np.flatnonzero(near & (~crowd[a] | (distance <= SAME_DISTANCE)))
    hit = hit[np.argsort(-distance[hit], kind="stable")]  # the nearest one stays
    return dict(zip(known.rows[k[hit]].tolist(), asked.rows[a[hit]].tolist(), strict=True))


def copies_in_training(
    pictures: Pictures,  # n
    splits: Sequence[str],  # [n]
) -> dict[int, int]:
    """Row of a training image -> row of the validation or test image that it is a copy of."""
    train = np.array(splits) == "train"
    return copies(pictures.only(pictures.rows[~train]), pictures.only(pictures.rows[train]))


def apart_note(
    pictures: Pictures,  # n: those of the store, in order
    splits: Iterable[str],  # [n]
) -> dict[str, Any]:
    """What `refuse_copies` goes by: the rule by which no training image is a copy of one to be
    measured on, and a digest of the images and splits that this is said of.

    Of the bytes of the images, not of the hashes in the table: an images.npy that was changed
    keeps those. Any other image, order, size or split is another digest, and says nothing: not even
    fewer images are surely apart, since of three alike one may be a copy, of thirty none.
    """
    told = [*map(str, pictures.images.shape[1:]), *splits]
    digest = hashlib.sha256("\n".join(told).encode())
    for start in range(0, len(pictures), _KNOWN):
        digest.update(np.ascontiguousarray(pictures[start : start + _KNOWN]).data)
    return {
        "rule": _RULE,
        "copy_distance": COPY_DISTANCE,
        "same_distance": SAME_DISTANCE,
        "alike_distance": ALIKE_DISTANCE,
        "crowd": CROWD,
        "cells": [_CELLS, _COARSE],
        "blur_cells": _BLUR_CELLS,
        "candidate_likeness": _CANDIDATE_LIKENESS,
        "candidates": _CANDIDATES,
        "digest": digest.hexdigest(),
    }


def copies_of(stores: Sequence[Store], known: Pictures) -> dict[int, str]:
    """Row of `known` -> the name of the image in one of the stores that it is a copy of."""
    named: dict[int, str] = {}
    for store in stores:
        found = copies(Pictures.at(store, np.arange(len(store))), known)
        named |= {row: f"{store.path}: {name_of(store, of)}" for row, of in found.items()}
    return named


def refuse_copies(real: Store) -> None:
    """Raises InputError where a training image is a copy of a validation or test image of the same
    store: import_data.py leaves such images out. Names the first, and says the way out.

    Where import_data.py noted that it looked, and the images and splits are still those, time goes
    with len(real); without that they are compared.
    """
    notes = real.info.get("notes")
    note = notes.get("apart") if isinstance(notes, dict) else None
    everything = Pictures.at(real, np.arange(len(real)))
    if note and note == apart_note(everything, real.column("split")):
        return
    if found := copies(Pictures.of(real, "val", "test"), Pictures.of(real, "train")):
        row, of = next(iter(found.items()))
        data = real.info["made"].get("images", "the data set")
        raise InputError(
            f"{real.path}: {len(found)} training images are copies (saved again, moved, rescaled) "
            f"of images to be measured on, first {name_of(real, row)} of {name_of(real, of)} "
            f"({real.column('split')[of]}); import {data} again, which leaves them out"
        )


def told_copies(real: Store, test: Store) -> str:
    """A line that names training images which are copies of images of `test`; empty: none are."""
    found = copies(Pictures.at(test, np.arange(len(test))), Pictures.of(real, "train"))
    if not found:
        return ""
    row, of = next(iter(found.items()))
    return (
        f"{len(found)} training images are copies (saved again, moved, rescaled) of images of "
        f"{test.path}, first {name_of(real, row)} of {name_of(test, of)}: what is measured there "
        f"is a little too good; import_data.py --apart-from {test.path} leaves them out"
    )


def name_of(store: Store, row: int) -> str:
    """Where an image comes from, for messages."""
    return store.column("origin")[row] or f"image {row} of {store.path}"


def distances(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """[n, H, W] and [n, H', W'] uint8 -> [n] float32: the tangent distance of each pair, 0 (equal)
    to about 1.4 (nothing in common)."""
    return _apart(_picture(these), _picture(those))


def _picture(images: np.ndarray) -> np.ndarray:
    """[n, H, W] uint8 -> [n, _CELLS * _CELLS] float32."""
    return _unit(_shrunk(images, _CELLS))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`distances` of pictures."""
    n, rest = len(a), a - b
    picture = a.reshape(n, _CELLS, _CELLS)
    down, right = np.gradient(picture, axis=(1, 2))
    at = np.linspace(-1, 1, _CELLS, dtype=np.float32)
    # what moving down, moving right and stretching either way change
    tangents = np.stack([down, right, down * at[:, None], right * at], 1).reshape(n, 4, -1)
    gram = tangents @ tangents.transpose(0, 2, 1)
    # where a stroke along an axis leaves one of them without effect there is nothing to divide by
    ridge = 1e-4 * np.trace(gram, axis1=1, axis2=2) + 1e-9
    gram += ridge[:, None, None] * np.eye(4, dtype=np.float32)
    along = (tangents @ rest[:, :, None])[:, :, 0]
    explained = (along * np.linalg.solve(gram, along[:, :, None])[:, :, 0]).sum(1)
    return np.sqrt(np.maximum((rest**2).sum(1) - explained, 0)).astype(np.float32)


def _candidates(asked: Pictures, known: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Places in `asked` and in `known`, [p] each, by asked image, the most alike last: pairs whose
    coarse pictures are alike, at most _CANDIDATES of each asked image."""
    signature = np.concatenate(
        [_unit(_shrunk(asked[i : i + _KNOWN], _COARSE)) for i in range(0, len(asked), _KNOWN)]
    )
    floor = np.full(len(asked), _CANDIDATE_LIKENESS, np.float32)
    a, k, likeness = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    for right in range(0, len(known), _KNOWN):
        against = _unit(_shrunk(known[right : right + _KNOWN], _COARSE))
        new = [(a, k, likeness)]
        for top in range(0, len(asked), _ASKED):
            alike = signature[top : top + _ASKED] @ against.T
            hit = alike > floor[top : top + _ASKED, None]
            hits = hit.sum(1)
            many = np.flatnonzero(hits > _CANDIDATES)
            if len(many):  # bounds what is kept where all are alike
                best = np.argpartition(alike[many], -_CANDIDATES, axis=1)[:, -_CANDIDATES:]
                hit[many] = False
                hit[many[:, None], best] = True
            some = np.flatnonzero(hits)
            i, j = np.nonzero(hit[some])
            i = some[i]
            new.append((i + top, j + right, alike[i, j]))
        a, k, likeness = (np.concatenate(part) for part in zip(*new, strict=True))
        order = np.lexsort((likeness, a))
        a, k, likeness = a[order], k[order], likeness[order]
        after = np.searchsorted(a, a, "right") - np.arange(len(a))  # 1 for the most alike
        last = after == _CANDIDATES
        floor[a[last]] = likeness[last]
        kept = after <= _CANDIDATES
        a, k, likeness = a[kept], k[kept], likeness[kept]
    return a, k


def _shrunk(images: np.ndarray, cells: int) -> np.ndarray:
    """[n, H, W] uint8 -> [n, cells * cells] float32: means of the cells, a little blurred."""
    out = np.empty((len(images), cells, cells), np.float32)
    for small, image in zip(out, images, strict=True):
        part = cv2.resize(image.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
        small[:] = cv2.GaussianBlur(part, (0, 0), _BLUR_CELLS)
    return out.reshape(len(images), -1)


def _unit(small: np.ndarray) -> np.ndarray:
    """[n, D] float32 -> the same less its mean, of length 1; 0 where it is of one tone."""
    centred = small - small.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(length > 1e-3 * np.sqrt(small.shape[1]), centred / np.maximum(length, 1e-6), 0)
