"""The validation images that set the threshold of the other score: others held out from training.

A threshold that is set on characters which training showed as "other" lets those through that it
never showed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from classifier.mixing import REAL
from classifier.rejection import ENOUGH
from classifier.setup import Setup
from classifier.shares import others_shown
from synth.other import ONE_CHARACTER_KINDS
from synth.store import SOURCES

_FONT, _GAN = SOURCES.index("font"), SOURCES.index("gan")


@dataclass(frozen=True)
class HeldOut:
    """[n] images, known ones and others."""

    images: np.ndarray  # [n, H, W] uint8
    targets: np.ndarray  # [n] int64
    chars: np.ndarray  # [n] str: what each shows, "" where nobody knows
    kinds: np.ndarray  # [n] str
    doubt: str = ""  # why the others among them may not be held out


def others_in_training(setup: Setup) -> frozenset[str]:
    """The characters that training images labelled "other" are known to show: those that the mix
    shows, not those of a source or a kind that it leaves out."""
    found: set[str] = set()
    there = setup.mix.prior() > 0
    for store, pool in zip(setup.stores, setup.mix.pools, strict=True):
        shown = others_shown(pool.sources, pool.kinds, setup.mix.settings) & there[pool.targets]
        rows = pool.rows[(pool.targets >= setup.known) & shown]
        found |= set(store.column("char")[rows].astype(str))
    return frozenset(found - {""})


def threshold_images(setup: Setup) -> HeldOut:
    """Real known ones, and others of characters that no training image shows.

    Of the others, GAN images are used where there are ENOUGH (they are nearer to real ones than
    font images), else font images too; those that show no character at all are in either case the
    font ones, since no GAN draws any. Real ones as well, where the store says that they show a
    character which training does not. Import splits by image, so training has the characters of
    most: these, and those of which the store says nothing, are added only where fewer than ENOUGH
    images show a character held out. `doubt` says where these, or so few, set the threshold.
    """
    images, targets, sources, kinds, chars = [], [], [], [], []
    for store, rows, target in zip(setup.stores, setup.val_rows, setup.targets, strict=True):
        if len(rows):
            images.append(store.take(rows))
            targets.append(target[rows])
            names = store.column("source")[rows]
            sources.append(np.array([SOURCES.index(name) for name in names]))
            kinds.append(store.column("kind")[rows].astype(str))
            chars.append(store.column("char")[rows].astype(str))
    if not images:
        size = setup.stores[0].canvas.size_px
        none, unsaid = np.zeros(0, np.int64), np.zeros(0, str)
        return HeldOut(np.zeros((0, size, size), np.uint8), none, unsaid, unsaid)
    image, target, source = map(np.concatenate, (images, targets, sources))
    kind, char = np.concatenate(kinds), np.concatenate(chars)
    is_other = target >= setup.known
    character = np.isin(kind, [*ONE_CHARACTER_KINDS, "unknown"])
    unsaid = is_other & character & (char == "")
    seen = np.isin(char, np.array(sorted(others_in_training(setup)), str))
    held = is_other & ~unsaid & ~(character & seen)
    fonts = source == _FONT
    if (held & character & (source == _GAN)).sum() >= ENOUGH:
        fonts &= ~character
    used = held & ((source == _GAN) | (source == REAL) | fonts)
    spare = is_other & character & (source == REAL) & ~held
    doubt, shown = "", int((used & character).sum())
    if shown < ENOUGH and spare.any():
        used |= spare
        also = "also " if shown else ""
        doubt = (
            f"{_few(shown)} held out from training: the threshold is {also}set on {spare.sum()} "
            "real other images whose characters may be in training too, so unseen ones may pass it"
        )
    elif shown < ENOUGH and used.any():
        on = "these few" if shown else "what is no character"
        doubt = f"{_few(shown)} held out from training: the threshold is set on {on}"
    use = (~is_other & (source == REAL)) | used
    return HeldOut(image[use], np.minimum(target[use], setup.known), char[use], kind[use], doubt)


def _few(images: int) -> str:
    return f"only {images} images show a character" if images else "no other character is"
