"""The sets of images that an evaluation compares, from stores: nothing is measured on what a
network was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gan.fidelity import LEAST_IMAGES
from gan.pictures import Pictures, halves, matched, shown_by
from synth import near_copies
from synth.errors import InputError
from synth.quota import real_counts
from synth.store import Store


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The sets of images. `prepare` makes it from stores."""

    real: Pictures  # training images, labels as given
    held_out: Pictures  # real images that no training has seen
    font: Pictures  # what is judged
    gan: Pictures
    clean: Pictures  # labels that are right: what the reader learns from
    by_fonts: bool  # that is font images, for want of a clean store
    counts: dict[str, int]  # label -> real training images
    real_store: Store
    font_store: Store
    gan_store: Store

    @property
    def seen(self) -> set[str]:
        """Characters of which the GAN had real images."""
        return {c for c in set(self.gan.char.tolist()) if self.counts.get(c, 0)}

    @property
    def never(self) -> set[str]:
        return set(self.gan.char.tolist()) - self.seen


def prepare(
    real: Store,
    test: Store | None,  # None: the real store's validation split
    font: Store,
    gan: Sequence[Store],  # the run's samples first; then more of it, of any alphabet
    readers: Sequence[Store],  # clean stores for the reader, of any alphabet
    seed: int = 1,
) -> Evaluated:
    """Without a clean store the reader learns from half of each character's font images, and the
    other half is judged.

    Raises InputError where stores do not fit together or there is nothing to measure on, and where
    an image to measure on is, or nearly is, a training image of the GAN.
    """
    for store in (font, gan[0], *([test] if test else [])):
        store.require(real.canvas, real.alphabet)
    for store in (*gan[1:], *readers):
        if store.canvas != real.canvas:
            raise InputError(f"{store.path}: canvas {store.canvas}, wanted {real.canvas}")
    for store in gan:
        # a store of an earlier version does not say
        if (of := store.info["notes"].get("trained_on")) and of != real.content:
            raise InputError(
                f"{store.path}: its generator was not trained on {real.path}; give --real the "
                "store that it was trained on"
            )
    alphabet = set(real.alphabet.chars)
    measured_store = test or real
    measured = np.arange(len(test)) if test else real.rows("val")
    _refuse_trained_on(measured_store, measured, real)
    held_out = [Pictures.of_store(test) if test else Pictures.of_store(real, ["val"])]
    apart = [near_copies.Pictures.at(measured_store, measured)]
    # of characters that the GAN never saw, only the readers' stores have real images with names
    for store in readers:
        shown_never = np.flatnonzero(
            (store.column("split") != "train") & ~np.isin(shown_by(store), ["", *alphabet])
        )
        apart.append(near_copies.Pictures.at(store, shown_never))
        keep = np.isin(np.arange(len(store)), shown_never)
        held_out.append(Pictures.of_store(store, keep=keep))
    clean = [_without(store, apart) for store in readers]
    teaching, judged = halves(Pictures.of_store(font), seed)
    if readers:
        teaching, judged = Pictures.joined(clean), Pictures.of_store(font)
    found = Evaluated(
        real=Pictures.of_store(real, ["train"]).only(alphabet),
        held_out=Pictures.joined(held_out),
        font=judged,
        gan=Pictures.joined([Pictures.of_store(store) for store in gan]),
        clean=teaching,
        by_fonts=not readers,
        counts=real_counts(real),
        real_store=real,
        font_store=font,
        gan_store=gan[0],
    )
    if len(found.held_out.only(alphabet)) == 0:
        raise InputError(
            f"{measured_store.path}: no held-out image of a known character in it; give --test"
        )
    sides = halves(found.held_out.only(alphabet), seed)
    compared = matched([*sides, found.font.only(alphabet), found.gan.only(alphabet)], seed)
    if len(compared[0]) < LEAST_IMAGES:
        raise InputError(
            f"{len(compared[0])} images to compare, {LEAST_IMAGES} are the least: of each "
            f"character half as many as {measured_store.path} holds out, and no more than "
            f"{font.path} and {gan[0].path} have; give --test a store with two of each or more"
        )
    return found


def _refuse_trained_on(measured: Store, rows: np.ndarray, real: Store) -> None:
    """Raises InputError where some of `rows` [n] of a store are, or nearly are, training images."""
    known = near_copies.Pictures.of(real, "train")
    if found := near_copies.copies(near_copies.Pictures.at(measured, rows), known):
        names = (near_copies.name_of(measured, of) for of in found.values())
        raise InputError(
            f"{measured.path}: {len(set(found.values()))} of its images are training images of "
            f"{real.path}, or nearly (first {next(names)}); a measurement on them would say nothing"
        )


def _without(store: Store, apart: Sequence[near_copies.Pictures]) -> Pictures:
    """Training images of a clean store that are, by their picture, none of those to measure on."""
    train, leaked = store.rows("train"), np.zeros(len(store), bool)
    for measured in apart:
        known = near_copies.Pictures.at(store, np.setdiff1d(train, np.flatnonzero(leaked)))
        leaked[list(near_copies.copies(measured, known))] = True
    if leaked.any():
        print(f"{store.path}: {leaked.sum()} images are left out: they are to be measured on")
    return Pictures.of_store(store, ["train"], ~leaked)
