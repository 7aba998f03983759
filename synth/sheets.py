"""Pictures to look at: what will be rendered, and what each font has and was refused."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageDraw

from synth import other
from synth.alphabet import OTHER
from synth.checks import FontCheck
from synth.errors import InputError
from synth.files import write_whole
from synth.fonts import FontFile, open_font
from synth.plan import Plan
from synth.raster import plain_pictures
from synth.render import render_places
from synth.store import Store
from synth.studio import Studio
from synth.vote import shown_instead

COLUMNS = 18
HANDS = 4  # writers shown, a row each
_GAP_PX, _NAMES_PX = 10, 16  # between stores; of the line with their names
REAL_EVERY = 4  # rows of fonts to one of real images
Row = tuple[str, np.ndarray]  # a title and its pictures side by side, [H, W] uint8


def write_preview(
    studio: Studio,
    path: Path,
    columns: int = COLUMNS,
    real: Store | None = None,  # its training images of the same characters stand between
) -> None:
    """A PNG: the alphabet's characters, a font a row; a writer a row; a kind of other a row."""
    _write(sheet(preview_rows(studio, columns, real)), path)


def preview_rows(studio: Studio, columns: int, real: Store | None = None) -> list[Row]:
    """The rows of `write_preview`."""
    plan = studio.plan
    picked = _spread(list(studio.alphabet.chars), columns)
    number = {c: i for i, c in enumerate(plan.chars)}
    known = plan.kind == "character"
    images = _Real.of(real, columns)
    rows, fullest = [], (0, [-1] * len(picked))
    for f, font in enumerate(plan.fonts):
        of_font = known & (plan.font == f)
        places = [np.flatnonzero(of_font & (plan.char == number.get(c, -1))) for c in picked]
        places = [int(p[0]) if len(p) else -1 for p in places]
        rows.append((font.name, _drawn(plan, places, columns)))
        if f % REAL_EVERY == REAL_EVERY - 1 or f == len(plan.fonts) - 1:
            rows += images.next(picked)
        fullest = max(fullest, (sum(p >= 0 for p in places), places), key=lambda x: x[0])
    for hand in range(HANDS):  # all of one font's characters by one writer
        one = replace(plan, writers=1, seed=(plan.seed + hand) % 2**63)
        rows.append((f"writer {hand + 1}", _drawn(one, fullest[1], columns)))
    rows += images.next(picked)
    for kind in (*other.CHARACTER_KINDS, *other.NON_CHARACTER_KINDS):
        places = np.flatnonzero(plan.kind == kind).tolist()
        if places:
            rows.append((kind, _drawn(plan, _spread(places, columns), columns)))
    rows += images.next([OTHER] * columns)
    return rows


@dataclass
class _Real:
    """Real training images by label, each shown once."""

    store: Store | None
    columns: int
    left: dict[str, list[int]]  # label -> rows of the store

    @classmethod
    def of(cls, store: Store | None, columns: int) -> Self:
        left: dict[str, list[int]] = {}
        if store is not None:
            train = store.rows("train")
            labels = store.column("label")[train].astype(str)
            for label, row in zip(labels.tolist(), train.tolist(), strict=True):
                left.setdefault(label, []).append(row)
        return cls(store, columns, left)

    def next(self, labels: Sequence[str]) -> list[Row]:
        """One row of images not shown yet, a gap where there is none; no row without any."""
        if self.store is None or not any(self.left.get(label) for label in labels):
            return []
        size = self.store.canvas.size_px
        row = np.zeros((self.columns, size, size), np.uint8)
        for tile, label in zip(row, labels, strict=False):
            if self.left.get(label):
                tile[:] = self.store.take(np.array([self.left[label].pop(0)]))[0]
        return [("real", np.concatenate(row, 1))]


def write_side_by_side(
    stores: Sequence[Store],
    path: Path,
    chars: Sequence[str] = (),  # empty: `rows` of the first alphabet with an image, evenly spread
    rows: int = 12,
    columns: int = 8,  # images of a store
    split: str = "train",
) -> None:
    """A PNG: a label a row, a store a block of columns; images far apart in their store.

    Raises InputError for images of different sizes, and for one of `chars` of which no store has an
    image; without `chars`, where there is an image of no character.
    """
    size = stores[0].canvas.size_px
    for store in stores:
        if store.canvas.size_px != size:
            raise InputError(
                f"{store.path}: images of {store.canvas.size_px} px, {stores[0].path}: of {size} px"
            )
    labels = list(chars) or _spread(_shown(stores, split), rows)
    blocks = [_of_labels(store, labels, columns, split) for store in stores]
    for i, label in enumerate(labels):
        if not any(block[i] for block in blocks):
            raise InputError(f"{label!r}: no store has an image of it in split {split!r}")
    out = np.zeros((len(labels), size, len(stores), columns * size + _GAP_PX), np.uint8)
    for s, (store, block) in enumerate(zip(stores, blocks, strict=True)):
        for i, at in enumerate(block):
            shown = store.take(np.array(at, int))  # [k, H, W]
            out[i, :, s, : len(at) * size] = shown.swapaxes(0, 1).reshape(size, -1)
    picture = Image.new("L", (out[0, 0].size, len(labels) * size + _NAMES_PX), 255)
    picture.paste(Image.fromarray(255 - out.reshape(len(labels) * size, -1)), (0, _NAMES_PX))
    pen = ImageDraw.Draw(picture)
    for s, store in enumerate(stores):
        sources = ", ".join(sorted({*store.column("source").tolist()}))
        pen.text((s * (columns * size + _GAP_PX), 2), f"{sources}: {store.path.name}", fill=0)
    _write(picture, path)


def _shown(stores: Sequence[Store], split: str) -> list[str]:
    """The characters of the first store's alphabet of which one of the stores has an image."""
    there = {label for store in stores for label in store.column("label")[store.rows(split)]}
    if chars := [c for c in stores[0].alphabet.chars if c in there]:
        return chars
    raise InputError(
        f"{stores[0].path}: no store has an image of its characters in split {split!r}"
    )


def _of_labels(store: Store, labels: Sequence[str], count: int, split: str) -> list[list[int]]:
    """For each label up to `count` rows of the store."""
    chosen = store.rows(split)
    of = store.column("label")[chosen].astype(str)
    return [_spread(chosen[of == label].tolist(), count) for label in labels]


def write_contact_sheet(studio: Studio | FontCheck, path: Path, columns: int = COLUMNS) -> None:
    """A PNG: a font a row, plain; below it what was refused, and what another font draws there."""
    _write(sheet(contact_rows(studio, columns)), path)


def contact_rows(studio: Studio | FontCheck, columns: int) -> list[Row]:
    """The rows of `write_contact_sheet`; their titles say how many of how many are shown."""
    chars = list(studio.alphabet.chars)
    rows: list[Row] = []
    for coverage in studio.coverages:
        picked = [c if c in coverage.usable else "" for c in _spread(chars, columns)]
        title = _of_all(coverage.font.name, len(picked), len(chars))
        rows.append((title, _plain([(coverage.font, c) for c in picked], columns)))
        reasons: dict[str, list[str]] = {}
        for char, why in coverage.rejected.items():
            reasons.setdefault("other glyph" if shown_instead(why) else why, []).append(char)
        for why in sorted(reasons.keys() - {"unmapped", "blank"}):
            refused = reasons[why][:columns]
            theirs = [
                next((c.font for c in studio.coverages if r in c.usable), None) for r in refused
            ]
            title = _of_all(f"  refused: {why}", len(refused), len(reasons[why]))
            rows.append((title, _plain([(coverage.font, r) for r in refused], columns)))
            rows.append(("  the others", _plain([*zip(theirs, refused, strict=True)], columns)))
    return rows


def _of_all(title: str, shown: int, there: int) -> str:
    """The title, and where not all are shown a second line that says so."""
    return title if shown == there else f"{title}\n  {shown} of {there} shown"


def sheet(rows: Sequence[Row], label_px: int = 150) -> Image.Image:
    """Titled rows of [H, W] uint8 pictures (ink high) -> one dark-on-white image."""
    height = sum(r.shape[0] + 2 for _, r in rows)
    width = label_px + max(r.shape[1] for _, r in rows)
    out = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(out)
    y = 0
    for title, row in rows:
        lines = [line[:24] for line in title.splitlines()]
        pen.text((4, y + row.shape[0] // 2 - 6 * len(lines)), "\n".join(lines), fill=0)
        out.paste(Image.fromarray(255 - row), (label_px, y))
        y += row.shape[0] + 2
    return out


def _spread(items: list, count: int) -> list:
    return [items[i] for i in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def _drawn(plan: Plan, places: Sequence[int], columns: int) -> np.ndarray:
    """Places of the plan, -1 for a gap -> [H, columns * W] uint8."""
    size = plan.canvas.size_px
    row = np.zeros((columns, size, size), np.uint8)
    there = [i for i, place in enumerate(places) if place >= 0]
    if there:
        row[there] = render_places(plan, np.array([places[i] for i in there]))[0]
    return np.concatenate(row, 1)


def _plain(glyphs: Sequence[tuple[FontFile | None, str]], columns: int) -> np.ndarray:
    """Glyphs as the fonts have them, a gap for none -> [48, columns * 48] uint8."""
    row = np.zeros((columns, 48, 48), np.uint8)
    for i, (font, char) in enumerate(glyphs):
        if font and char and (raw := open_font(font).raw(char)) is not None:
            row[i] = plain_pictures([raw], 48, margin_px=4)[0]
    return np.concatenate(row, 1)


def _write(picture: Image.Image, path: Path) -> None:
    page = io.BytesIO()
    picture.save(page, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.getvalue())
