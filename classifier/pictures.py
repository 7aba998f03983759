"""The report's pictures: tiles cut from stores, as PNG data that stands in the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from synth.alphabet import OTHER, Alphabet
from synth.grouping import spread
from synth.other import CHARACTER_KINDS, NON_CHARACTER_KINDS
from synth.store import SOURCES, Store

_GAP_PX = 3
_SHOWN_OF_GROUP = {"few": 4, "rare": 5, "none": 3, "common": 4}
_SHOWN_CHARS = 16


def png(images: Iterable[np.ndarray]) -> str:
    """[H, W] uint8 images, ink high -> one data URI: dark ink on white, side by side."""
    tiles: list[np.ndarray] = []
    for image in images:
        tiles += [np.zeros((image.shape[0], _GAP_PX), np.uint8)] if tiles else []
        tiles.append(image)
    # 16 tones are enough to look at and halve the page
    tones = (255 - np.concatenate(tiles, 1)) >> 4
    buffer = io.BytesIO()
    Image.fromarray(tones * np.uint8(17)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class SampleRow:
    """What one character, or one kind of "other", looks like in each source."""

    name: str
    group: str
    strips: dict[str, str]  # source -> picture; a source without images is not in it


def samples_by_source(
    stores: Sequence[Store],
    alphabet: Alphabet,
    group_of: Mapping[str, str],  # character -> common, rare, few, none
    count: int = 4,  # images of each source
) -> list[SampleRow]:
    """Some characters of every group, the rarest first, then "other" by kind."""
    columns = [
        {n: store.column(n).astype(str) for n in ("label", "kind", "source", "split")}
        for store in stores
    ]

    def strips(label: str, kinds: tuple[str, ...] | None) -> dict[str, str]:
        found = {}
        for source in SOURCES:
            images: list[np.ndarray] = []
            for store, column in zip(stores, columns, strict=True):
                mine = (column["label"] == label) & (column["source"] == source)
                if kinds is not None:
                    mine &= np.isin(column["kind"], kinds)
                if source == "real":  # what a generator may have seen stands beside what it made
                    mine &= column["split"] == "train"
                rows = spread(np.flatnonzero(mine), count - len(images))
                images += list(store.take(rows))
            if images:
                found[source] = png(images)
        return found

    rows = [
        SampleRow(char, group_of[char], found)
        for char in _picked(alphabet, group_of)
        if (found := strips(char, None))
    ]
    if real := strips(OTHER, None).get("real"):
        rows.append(SampleRow(OTHER, "as collected", {"real": real}))
    for kind in (*CHARACTER_KINDS, *NON_CHARACTER_KINDS):
        found = strips(OTHER, (kind,))
        found.pop("real", None)
        if found:
            rows.append(SampleRow(OTHER, kind, found))
    return rows


def _picked(alphabet: Alphabet, group_of: Mapping[str, str]) -> list[str]:
    picked: list[str] = []
    for group, wanted in _SHOWN_OF_GROUP.items():
        chars = np.array([c for c in alphabet.chars if group_of[c] == group], object)
        picked += spread(chars, wanted).tolist()
    rest = np.array([c for c in alphabet.chars if c not in picked], object)
    picked += spread(rest, _SHOWN_CHARS - len(picked)).tolist()
    order = list(_SHOWN_OF_GROUP)
    return sorted(picked, key=lambda c: (order.index(group_of[c]), c))
