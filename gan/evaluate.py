"""What a GAN's images are worth, in numbers: faithful, various, near to real, no copies, useful.

Everything is measured on stores, and what is measured on was never trained on. Of KID, precision,
recall and the domain gap the sets hold the same number of images of each character; reading and the
classification accuracy score are of whole stores (the GAN's lacks what its checks refused).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan.fidelity import fidelity, inception_fidelity, register
from gan.gap import gap_in_features, gap_in_pixels
from gan.memorised import COPY_BELOW, Neighbours, shrunk
from gan.pictures import Pictures, halves, matched
from gan.reader import Reader, train_reader
from gan.sets import Evaluated
from gan.verdict import shown
from synth.quota import group_of
from synth.store import Store

# A store to train on and a name for what is kept of it -> a function that reads: [n, H, W] uint8 ->
# [n, K] probabilities of the alphabet's characters. It comes from whoever calls: no classifier is
# known here.
TrainOn = Callable[[Store, str], Callable[[np.ndarray], np.ndarray]]
GAP_IMAGES = 50  # of each character, to fit a classifier of real and synthetic on


def train_independent_reader(
    sets: Evaluated, steps: int, seed: int, device: torch.device, precision: torch.dtype
) -> Reader:
    """On the clean stores, where there are some. Else on the real training images, whose labels are
    doubted, and on the font images that are not judged, also of as many never seen characters as
    the alphabet has."""
    # far from the seeds that a user gives the GAN
    seed += 1_000_003
    if not sets.by_fonts:
        return train_reader(sets.clean, None, steps, seed, device, precision)
    alphabet = sets.real_store.alphabet.chars
    both = sorted(sets.never & set(sets.clean.char.tolist()) - set(alphabet))
    never = both[:: max(1, len(both) // len(alphabet))][: len(alphabet)]
    font = sets.clean.only({*alphabet, *never})
    return train_reader(font, sets.real, steps, seed, device, precision)


def evaluate(
    sets: Evaluated,
    reader: Reader,
    train_on: TrainOn | None,  # None: no classification accuracy score
    inception: Path | None,  # weights; None: no Inception features
    seed: int,
    device: torch.device,
    precision: torch.dtype,
) -> dict[str, Any]:
    """All figures, as JSON values."""
    result: dict[str, Any] = {"reading": reading(sets, reader)}
    known = set(sets.real_store.alphabet.chars)
    one, other = halves(sets.held_out.only(known), seed)
    names = ("real", "font", "gan")
    sides = [one, sets.font.only(known), sets.gan.only(known)]
    measured, *compared = matched([other, *sides], seed)
    extractor = register(reader.network)
    result["features"] = {
        name: asdict(fidelity(side.images, measured.images, extractor, seed))
        for name, side in zip(names, compared, strict=True)
    }
    if inception is not None:
        result["inception_features"] = {
            name: asdict(inception_fidelity(side.images, measured.images, inception, seed))
            for name, side in zip(names, compared, strict=True)
        }
    result["memorised"] = memorised(sets)
    result["gap"] = domain_gap(sets, reader, seed, device, precision)
    if train_on is not None:
        result["score"] = {
            name: classification_accuracy(
                train_on(store, name), sets.held_out.only(known), sets.real_store.alphabet.chars
            )
            for name, store in (("font", sets.font_store), ("gan", sets.gan_store))
        }
    result["shown"] = [asdict(row) for row in shown(result)]
    return result


def reading(sets: Evaluated, reader: Reader) -> dict[str, Any]:
    """How well the reader reads each source: mean of the classes, and each class."""
    classes = {
        "real": reader.accuracy(sets.held_out),
        "font": reader.accuracy(sets.font),
        "gan": reader.accuracy(sets.gan),
    }
    means = {
        name: _read_of(chars & classes["gan"].keys(), classes)
        for name, chars in (("seen", sets.seen), ("never", sets.never))
    }
    groups: dict[str, list[float]] = {}
    for c in classes["gan"]:
        groups.setdefault(group_of(sets.counts.get(c, 0)), []).append(classes["gan"][c])
    return {
        "reader_characters": len(reader.chars),
        **means,
        "gan_by_group": {g: _mean(v) for g, v in groups.items()},
        "classes": classes,
    }


def _read_of(chars: set[str], classes: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Means over `chars`, some of those that the GAN drew. "real" and "gan" are over the same ones,
    those of which there are held-out real images, since characters are not equally hard. Under
    "all" stand the means over all that each source has, and of how many."""
    both = sorted(chars & classes["real"].keys())  # in one order, or a mean's last bit may differ
    own = {source: [a for c, a in found.items() if c in chars] for source, found in classes.items()}
    return {
        "characters": len(both),
        "real": _mean(classes["real"][c] for c in both),
        "gan": _mean(classes["gan"][c] for c in both),
        "all": {
            source: {"characters": len(shares), "read": _mean(shares)}
            for source, shares in own.items()
        },
    }


def memorised(sets: Evaluated) -> dict[str, Any]:
    """Distance to the nearest real training image of the character, in units of the median distance
    among the real ones: of generated images, and of held-out real ones for comparison."""
    neighbours = Neighbours(shrunk(sets.real.images), sets.real.char)
    result: dict[str, Any] = {"copy_below": COPY_BELOW}
    classes: dict[str, dict[str, Any]] = {}
    for name, pictures in (("gan", sets.gan), ("held_out", sets.held_out)):
        mine = pictures.only(set(sets.real.char.tolist()))
        away = neighbours.distances(mine.images, mine.char)
        result[name] = {
            "median": _mean([float(np.median(away))] if len(away) else []),
            "nearest": float(away.min()) if len(away) else None,
            "copies": int((away < COPY_BELOW).sum()),
            "images": len(away),
        }
        for c in np.unique(mine.char).tolist():
            of_char = away[mine.char == c]
            classes.setdefault(c, {})[name] = {
                "median": float(np.median(of_char)),
                "nearest": float(of_char.min()),
                "copies": int((of_char < COPY_BELOW).sum()),
            }
    return result | {"classes": classes}


def domain_gap(
    sets: Evaluated, reader: Reader, seed: int, device: torch.device, precision: torch.dtype
) -> dict[str, dict[str, float | None]]:
    """AUROC of telling font and GAN images from real ones: fitted on the real training images and
    one half of the synthetic ones, measured on the held-out real images and the other half. None
    where no character has two."""
    known = set(sets.real_store.alphabet.chars)
    result: dict[str, dict[str, float | None]] = {}
    for name, source in (("font", sets.font), ("gan", sets.gan)):
        first, second = halves(source.only(known), seed)
        if not len(first.images):  # one image of each character: none to learn the difference from
            result[name] = {"features": None, "pixels": None}
            continue
        fit = matched([sets.real, first], seed, GAP_IMAGES)
        measure = matched([sets.held_out, second], seed, GAP_IMAGES)
        real, made = (fit[0], measure[0]), (fit[1], measure[1])
        result[name] = {
            "features": gap_in_features(real, made, reader),
            "pixels": gap_in_pixels(real, made, seed, device, precision),
        }
    return result


def classification_accuracy(
    read: Callable[[np.ndarray], np.ndarray], real: Pictures, chars: Sequence[str]
) -> dict[str, Any]:
    """Ravuri and Vinyals 2019, "Classification accuracy score for conditional generative models":
    trained on generated images only, measured on real ones. Over the known characters alone."""
    best = np.array(list(chars))[read(real.images)[:, : len(chars)].argmax(1)]
    right = best == real.char
    classes = {c: float(right[real.char == c].mean()) for c in np.unique(real.char).tolist()}
    return {"accuracy": float(right.mean()), "mean": _mean(classes.values()), "classes": classes}


def _mean(values: Iterable[float]) -> float | None:
    there = list(values)
    return float(np.mean(there)) if there else None
