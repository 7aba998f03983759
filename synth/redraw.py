"""A stored font image drawn again from its row alone: its origin, its kind and its record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from synth import other
from synth.errors import InputError
from synth.fonts import FontFile, open_font
from synth.render import BLOCK, Glyph, pictures
from synth.store import Store
from synth.style import Draw


def changed(store: Store, rows: np.ndarray, fonts: Sequence[FontFile]) -> np.ndarray:
    """[n] rows of a store's font images -> [m] int64: those that are not drawn as they are stored:
    an older version drew them, or a font was changed. Raises what `redraw` does."""
    stored = store.column("sha256")[rows]
    again = [hashlib.sha256(image.tobytes()).hexdigest() for image in redraw(store, rows, fonts)]
    return rows[np.array(again, dtype=object) != stored]


def redraw(store: Store, rows: np.ndarray, fonts: Sequence[FontFile]) -> np.ndarray:
    """[n] rows of a store's font images -> [n, H, W] uint8, the bytes that are stored.

    `fonts`: at least those that the rows name. Raises InputError for a row that is no font image,
    that names a font or character which is not there, or whose record is damaged, or is older and
    does not say what stands beside.
    """
    by_name = {font.name: font for font in fonts}
    columns = [store.column(n)[rows] for n in ("source", "origin", "kind", "record")]
    glyphs: list[Glyph] = []
    beside: list[Glyph | None] = []
    kinds: list[str] = []
    draws: list[Draw] = []
    for row, (source, origin, kind, record) in zip(rows, zip(*columns, strict=True), strict=True):
        where = f"{store.path}, row {row}"
        if source != "font":
            raise InputError(f"{where}: a {source} image, which no font draws")
        try:
            draw = Draw.from_json(record)
        except ValueError as error:
            raise InputError(f"{where}: a damaged record ({error})") from None
        if kind in other.OF_TWO and not draw.beside:
            raise InputError(f"{where}: an older record, which does not say what stands beside")
        glyphs.append(_named(origin, by_name, where))
        beside.append(_named(draw.beside, by_name, where) if draw.beside else None)
        kinds.append(kind)
        draws.append(draw)
    size = store.canvas.size_px
    out = np.empty((len(draws), size, size), np.uint8)
    for i in range(0, len(draws), BLOCK):
        part = slice(i, i + BLOCK)
        out[part] = pictures(glyphs[part], beside[part], kinds[part], draws[part], store.canvas)
    return out


def _named(text: str, by_name: dict[str, FontFile], where: str) -> Glyph:
    """font:character; either may hold a colon, but a font draws single characters."""
    name, char = text[:-2], text[-1:]
    if name not in by_name:
        raise InputError(f"{where}: drawn with the font {name!r}, which is not there")
    if open_font(by_name[name]).raw(char) is None:
        raise InputError(f"{where}: the font {name!r} has no {char!r} any more")
    return by_name[name], char
