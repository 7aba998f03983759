"""Where images come from, under which licence, and whether measured ones were trained on."""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass

import numpy as np

from synth.errors import InputError
from synth.fonts import ASSETS
from synth.near_copies import Pictures, copies, name_of
from synth.store import Store

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Origin:
    """Images of one store that come from one place."""

    source: str  # real, font, gan
    place: str  # the data set, the font, or the font in front of a generator
    licence: str  # SPDX where there is one, or NOT_STATED
    images: int


def font_licences() -> dict[str, str]:
    """Name of a font of this project -> its licence."""
    manifest = tomllib.loads((ASSETS / "fonts.toml").read_text(encoding="utf-8"))
    return {row["file"].rpartition(".")[0]: row["licence"] for row in manifest["font"]}


def origins(store: Store) -> list[Origin]:
    """Every place that images come from, most images first. Fonts that the project does not have,
    and real data, state no licence: the user knows it."""
    licences = font_licences()
    data = str(store.info["made"].get("images", "unknown data"))
    counted: Counter[tuple[str, str, str]] = Counter()
    for source, origin in zip(store.column("source"), store.column("origin"), strict=True):
        if source == "real":
            counted[source, data, NOT_STATED] += 1
            continue
        parts = origin.split(":")
        font = parts[0] if source == "font" else (parts[1:2] or [""])[0]
        known = licences.get(font.partition("#")[0], NOT_STATED)
        counted[source, font or "unknown font", known] += 1
    return [Origin(*key, n) for key, n in counted.most_common()]


def refuse_trained(measured: Store, rows: np.ndarray, trained: Store) -> None:
    """Raises InputError naming the first of `rows` [n] of `measured` that is, by its hash or nearly
    (saved again, say), a training image of `trained`."""
    train = trained.rows("train")
    inked = measured.images[rows].reshape(len(rows), -1).any(1)  # blanks are all alike
    rows = rows[inked]
    digests = set(trained.column("sha256")[train].tolist())
    for row in rows.tolist():
        if measured.column("sha256")[row] in digests:
            raise InputError(_told(measured, row, trained, "is"))
    if found := copies(Pictures(measured.images, rows), Pictures(trained.images, train)):
        raise InputError(_told(measured, min(found.values()), trained, "is nearly"))


def _told(measured: Store, row: int, trained: Store, how: str) -> str:
    name, split = name_of(measured, row), measured.column("split")[row]
    return f"{measured.path}: {name} ({split}) {how} a training image of {trained.path}"
