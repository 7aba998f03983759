"""Where images come from, under which licence, and whether measured ones were trained on."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from synth.errors import InputError
from synth.files import sha256_of
from synth.fonts import ASSETS, FontFile
from synth.near_copies import Pictures, copies, name_of
from synth.store import Store

NOT_STATED = "not stated"
_READ_IMAGES = 8192  # at once
T = TypeVar("T")


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


def licences_of(fonts: Iterable[FontFile]) -> dict[str, str]:
    """Name of each font -> its licence, for the notes of the store that is drawn with them; a
    font of the user's own states none."""
    known = font_licences() if (ASSETS / "fonts.toml").is_file() else {}
    return {
        font.name: known.get(font.path.stem, NOT_STATED)
        if font.path.parent == ASSETS
        else NOT_STATED
        for font in fonts
    }


def origins(store: Store) -> list[Origin]:
    """Every place that images come from, most images first, with the licence that was noted when
    they were made: of a font then, of real data what import_data.py --licence said. A store that
    notes no licences of fonts is of an earlier version: those of the project's fonts of now."""
    noted = _notes(store).get("licences")
    licences = noted if isinstance(noted, dict) else font_licences()
    data = str(_first_made(store).get("images", "unknown data"))
    terms = store.info["made"].get("licence") or NOT_STATED
    counted: Counter[tuple[str, str, str]] = Counter()
    for source, origin in zip(store.column("source"), store.column("origin"), strict=True):
        if source == "real":
            counted[source, data, terms] += 1
            continue
        parts = origin.split(":")
        font = parts[0] if source == "font" else (parts[1:2] or [""])[0]
        known = licences.get(font) or licences.get(font.partition("#")[0], NOT_STATED)
        counted[source, font or "unknown font", known] += 1
    return [Origin(*key, n) for key, n in counted.most_common()]


def _notes(store: Store) -> dict[str, Any]:
    notes = store.info.get("notes")
    return notes if isinstance(notes, dict) else {}


def _first_made(store: Store) -> dict[str, Any]:
    """How the images were made: of a store that went through an export, before it did."""
    exported = store.info["made"].get("exported")
    return exported if isinstance(exported, dict) else store.info["made"]


def find_store(named: str, near: Path, fits: Callable[[Store], bool] = lambda _: True) -> Store:
    """A store by the name it had in another command: from this working folder, or from one above
    `near`, which was written from there. The first that fits; the first of all where none does.
    Raises InputError where it is gone."""
    return _first(map(Store.open, places(named, "store.json", near)), fits)


def _first(found: Iterator[T], fits: Callable[[T], bool]) -> T:
    """The first that fits; the first of all where none does."""
    first = next(found)
    return first if fits(first) else next(filter(fits, found), first)


def places(named: str, inside: str, near: Path) -> list[Path]:
    """The folders of that name with such a file in them, from this working folder and from those
    above `near`: at least one. Raises InputError where there is none."""
    asked = dict.fromkeys(place / named for place in (Path(), *near.resolve().parents))
    if found := [place for place in asked if (place / inside).is_file()]:
        return found
    raise InputError(f"{named}: gone (no {inside} in it, from here or from above {near})")


@dataclass(frozen=True)
class _GanRun:
    """What a GAN run's folder says of itself today."""

    path: Path
    real: str | None  # the store that it was trained on
    content: str  # of that store; "": not noted
    digest: str  # 12 hex digits of the generator's sha256; "": there is none

    @classmethod
    def read(cls, path: Path) -> Self:
        weights = path / "generator.safetensors"
        try:
            about = json.loads((path / "generator.json").read_text(encoding="utf-8"))
            real, content = about["made"].get("real"), about.get("real") or ""
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}/generator.json: damaged ({error})") from None
        there = sha256_of(weights)[:12] if weights.is_file() else ""
        return cls(path, real, content, there)

    def made(self, notes: dict[str, Any]) -> bool:
        """Whether a store with these notes can be of this generator, as far as both say."""
        pairs = ((notes.get("trained_on"), self.content), (notes.get("generator"), self.digest))
        return all(noted == today for noted, today in pairs if noted and today)


def learned_from(store: Store) -> Store | None:
    """The real store that a generator was trained on, or that a font store's pen and quota are of;
    None: there is none. Raises InputError where it, or the GAN run between, is gone or changed."""
    notes, near = _notes(store), store.path
    real = notes.get("real") or _first_made(store).get("real")
    content = notes.get("trained_on")
    if notes.get("run"):
        runs = map(_GanRun.read, places(str(notes["run"]), "generator.json", near))
        run = _first(runs, lambda there: there.made(notes))
        if not run.made(notes):
            raise InputError(f"{run.path}: trained anew since it generated {store.path}")
        real, content, near = run.real, content or run.content, run.path
    return None if real is None else _learned(str(real), content, near)


def _learned(real: str, content: str | None, near: Path) -> Store:
    """The store `real` that what lies `near` learned from. Raises InputError where it is gone, or
    holds another content than was noted."""
    found = find_store(real, near, lambda there: not content or there.content == content)
    if content and found.content != content:
        raise InputError(f"{found.path}: not what {near} learned from: it is another store now")
    return found


def behind_generated(store: Store) -> Store | None:
    """The real store that the generator of a store's images learned from; None: none of them was
    generated. Raises InputError where nothing says what it learned from, since an image that is
    measured on may be among that, and as `learned_from` does."""
    images = int((store.column("source") == "gan").sum())
    if not images:
        return None
    if (found := learned_from(store)) is None:
        raise InputError(
            f"{store.path}: {images} generated images, and its store.json does not say what their "
            "generator learned from; generate them again, or export and import again the store "
            "that says it"
        )
    return found


def refuse_trained(measured: Store, rows: np.ndarray, trained: Store) -> None:
    """Raises InputError naming the first of `rows` [n] of `measured` that is, by its hash or nearly
    (saved again, say), a training image of `trained`. Of images drawn with fonts only equal ones
    count: a plain stroke may come to lie near a written one, and is no copy of it."""
    train = trained.rows("train")
    rows = rows[_inked(measured, rows)]  # blanks are all alike
    digests = set(trained.column("sha256")[train].tolist())
    for row, digest in zip(rows.tolist(), measured.column("sha256")[rows], strict=True):
        if digest in digests:
            raise InputError(_told(measured, row, trained, "is"))
    written = train[trained.column("source")[train] != "font"]  # or generated of what is written
    if found := copies(Pictures.at(measured, rows), Pictures.at(trained, written)):
        raise InputError(_told(measured, min(found.values()), trained, "is nearly"))


def _inked(store: Store, rows: np.ndarray) -> np.ndarray:
    """[n] rows -> [n] bool: which images are not blank."""
    blocks = (rows[i : i + _READ_IMAGES] for i in range(0, len(rows), _READ_IMAGES))
    found = [store.take(block).any((1, 2)) for block in blocks]
    return np.concatenate([np.zeros(0, bool), *found])


def refuse_apart(real: Store, tests: Sequence[Path]) -> None:
    """Raises InputError naming the first image of the stores `tests` that is, or nearly is, a
    training image of `real`: from such a one nothing may be learned that is measured on them."""
    for path in tests:
        test = Store.open(path)
        refuse_trained(test, np.arange(len(test)), real)


def refuse_leaks(real: Store, synth: Sequence[Store], test: Store | None) -> None:
    """Raises InputError naming the first validation or test image of `real`, or image of `test`,
    that a store which is trained on beside `real` holds for training, or that the generator of its
    training images learned from, or the pen of its font images was fitted to. Where it is not known
    any more what a generator learned from it raises InputError as an audit does."""
    for store in synth:
        _refuse_measured(store, real, test)
        # of the training images of `real` itself, wherever it lay then, nothing more is to be asked
        if _notes(store).get("trained_on") == real.content:
            continue
        sources = set(store.column("source")[store.rows("train")].tolist())
        if "gan" in sources:
            refuse_learned(behind_generated(store), store.path, real, test)
        elif "font" in sources:
            refuse_learned(_fitted_to(store), store.path, real, test)


def _fitted_to(store: Store) -> Store | None:
    """Whose pen a font store has; None also where that is gone or another store by now: some
    numbers were measured on it, and no image was learned from."""
    try:
        return learned_from(store)
    except InputError:
        return None


def refuse_generator(run: Path, real: Store, test: Store | None) -> None:
    """The same of a finished GAN run, before it generates: raises InputError naming the first image
    to be measured on that it learned from, and where that is not known any more."""
    there = _GanRun.read(run)
    if there.content == real.content:
        return
    if there.real is None:
        raise InputError(f"{run}/generator.json: does not say what it learned from; train it again")
    refuse_learned(_learned(there.real, there.content, run), run, real, test)


def refuse_learned(origin: Store | None, of: Path, real: Store, test: Store | None) -> None:
    """Raises InputError naming the first validation or test image of `real`, or image of `test`,
    that is, or nearly is, a training image of `origin`, which `of` learned from."""
    if origin is None:
        return
    try:
        _refuse_measured(origin, real, test)
    except InputError as error:
        raise InputError(f"{error}, which {of} learned from; make it without that image") from None


def _refuse_measured(trained: Store, real: Store, test: Store | None) -> None:
    """`refuse_trained` of all that is measured on."""
    refuse_trained(real, np.flatnonzero(real.column("split") != "train"), trained)
    if test is not None:
        refuse_trained(test, np.arange(len(test)), trained)


def _told(measured: Store, row: int, trained: Store, how: str) -> str:
    name, split = name_of(measured, row), measured.column("split")[row]
    return f"{measured.path}: {name} ({split}) {how} a training image of {trained.path}"
