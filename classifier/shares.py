"""How often each class is shown, and from which source. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from synth.alphabet import OTHER
from synth.errors import InputError
from synth.other import CHARACTER_KINDS, NON_CHARACTER_KINDS
from synth.quota import GROUPS
from synth.store import SOURCES

REAL = SOURCES.index("real")
GROUP_NAMES = (*(name for name, _ in GROUPS), OTHER)
# of an image of "other": unknown is a collected one, character one whose character is known
OTHER_KINDS = (*CHARACTER_KINDS, *NON_CHARACTER_KINDS, "character", "unknown")

_REAL_FROM, _REAL_RAMP = 0.35, 0.35  # shares of the run, see MixSettings.real_share


@dataclass(frozen=True)
class MixSettings:
    """What the batches consist of."""

    weights: Mapping[str, float] = field(  # source -> relative weight; 0 switches a source off
        default_factory=lambda: {"real": 1.0, "font": 1.0, "gan": 1.0}
    )
    weigh: Literal["source", "image"] = "source"
    # source: a class's shares go by the weights alone, over the sources that have images of it
    # image: by weight x number of images, as if a weight of 2 stored each image twice
    sampling: Literal["natural", "sqrt", "balanced"] = "sqrt"
    # a class goes by the number of its images, by the root of it, or all are equal
    other_share: float | None = None  # "other" in a batch; None: by `sampling`, like one class
    synthetic_cap: float | None = None
    # most that font and GAN together may be of a character that has real images; None: no cap.
    # "other" is exempt: its few real images would be shown without end.
    synthetic_start: float = 1.0
    # the weights of font and GAN are times this at the first step, and fall (or rise) linearly to
    # times 1 at the end of the run; 1: constant
    real_only_share: float = 0.0
    # last part of the run that shows no synthetic image of a character that has real ones
    real_share: float = 0.0
    # least that real images are of a class that has some: rising from 35 % of the run, when the
    # first wrong labels have been left out, to the whole at 70 %. A class of 5 real and 300
    # synthetic images is else hardly seen in real ink, where common classes are seen most of all
    skip_empty: bool = False  # train even though a character has no image at all; False: an error
    source_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # group or class -> source -> factor on `weights` there; 0 switches the source off for it
    group_weights: Mapping[str, float] = field(default_factory=dict)
    class_weights: Mapping[str, float] = field(default_factory=dict)
    # factors on how often the classes of a group (common, rare, few, none, other), or one class,
    # are shown, on top of `sampling`; where other_share is given, it alone decides about "other"
    kind_weights: Mapping[str, float] = field(default_factory=dict)
    # factors on how often the images of a kind are shown inside "other"; 0 leaves them out

    def __post_init__(self) -> None:
        named = {"weights": self.weights, **self.source_weights}
        for where, weights in named.items():
            unknown = sorted(set(weights) - set(SOURCES))
            if unknown:
                raise InputError(
                    f"weights of {where}: no source is called {unknown[0]!r}; there are {SOURCES}"
                )
        unknown = sorted(set(self.group_weights) - set(GROUP_NAMES))
        if unknown:
            raise InputError(f"group_weights: {unknown[0]!r} is not one of {GROUP_NAMES}")
        unknown = sorted(set(self.kind_weights) - set(OTHER_KINDS))
        if unknown:
            raise InputError(f"kind_weights: {unknown[0]!r} is not one of {OTHER_KINDS}")
        named |= {"group_weights": self.group_weights, "class_weights": self.class_weights}
        named["kind_weights"] = self.kind_weights
        numbers = {
            f"{where}: {name}": (value, math.inf)
            for where, weights in named.items()
            for name, value in weights.items()
        }
        numbers["synthetic_start"] = (self.synthetic_start, math.inf)
        numbers["real_share"] = (self.real_share, 1)
        numbers["real_only_share"] = (self.real_only_share, 1)
        if self.synthetic_cap is not None:
            numbers["synthetic_cap"] = (self.synthetic_cap, 1)
        if self.other_share is not None:
            numbers["other_share"] = (self.other_share, 1)
        for name, (value, most) in numbers.items():
            if not (math.isfinite(value) and 0 <= value <= most):
                raise InputError(f"{name}: {value} is not between 0 and {most}")
        if self.sampling not in ("natural", "sqrt", "balanced"):
            raise InputError(f"sampling: {self.sampling!r} is not natural, sqrt or balanced")
        if self.weigh not in ("source", "image"):
            raise InputError(f"weigh: {self.weigh!r} is not source or image")


def class_groups(real_images: np.ndarray, known: int) -> np.ndarray:
    """[C] real training images of each class -> [C] int64, index into GROUP_NAMES."""
    limits = np.array([fewest for _, fewest in GROUPS])
    groups = np.full(len(real_images), len(GROUPS))
    groups[:known] = (real_images[:known, None] < limits).sum(1)
    return groups


def source_weights(
    settings: MixSettings, groups: np.ndarray, known: int, names: Sequence[str]
) -> np.ndarray:
    """[C, S] float64: weight of each source for each class. Raises InputError for names that are
    no class."""
    classes = set(names[: known + 1])
    for where, given, also in (
        ("class_weights", settings.class_weights, ()),
        ("source_weights", settings.source_weights, GROUP_NAMES),
    ):
        for name in given:
            if name not in classes and name not in also:
                raise InputError(f"{where}: {name!r} is no class of the alphabet")
    base = np.array([settings.weights.get(source, 0.0) for source in SOURCES], np.float64)
    result = np.repeat(base[None], len(names), 0)
    for row, (group, name) in enumerate(zip(groups, names, strict=True)):
        # "other" is a group and a class: once
        for key in {GROUP_NAMES[group], name}:
            for source, factor in settings.source_weights.get(key, {}).items():
                result[row, SOURCES.index(source)] *= factor
    return result


def others_shown(
    sources: np.ndarray,  # [n] int64, index into SOURCES
    kinds: np.ndarray | None,  # [n] str, what each shows; None: nobody weighs by it
    settings: MixSettings,
) -> np.ndarray:
    """[n] images of "other" -> [n] bool: those whose source has a weight there, and whose kind."""
    factors = settings.source_weights.get(OTHER, {})
    weight = np.array([settings.weights.get(s, 0.0) * factors.get(s, 1.0) for s in SOURCES])
    shown = weight[sources] > 0
    if kinds is not None:
        without = [kind for kind, factor in settings.kind_weights.items() if factor == 0]
        shown &= ~np.isin(kinds, np.array(without, str))
    return shown


def shares_at(
    progress: float,  # 0 at the first step .. 1 at the last
    real_only: bool,
    weight: np.ndarray,  # [C, S] see `source_weights`
    counts: np.ndarray,  # [C, S] images in use, each times its kind's weight
    prior: np.ndarray,  # [C] see `class_shares`
    known: int,
    settings: MixSettings,
) -> np.ndarray:
    """[C, S] float64: probability of (class, source); sums to 1."""
    weight = weight.copy()
    synthetic = np.arange(len(SOURCES)) != REAL
    weight[:, synthetic] *= settings.synthetic_start + (1 - settings.synthetic_start) * progress
    mass = weight * (counts if settings.weigh == "image" else counts > 0)
    # synthetic_start 0 must not make a class without real images vanish at the first step
    gone = (mass.sum(1) == 0) & (counts.sum(1) > 0)
    mass[gone] = counts[gone]
    has_real = counts[:, REAL] > 0
    has_real[known:] = False
    if real_only:
        mass[np.ix_(has_real, synthetic)] = 0
    shares = mass / np.maximum(mass.sum(1, keepdims=True), np.finfo(float).tiny)
    # most that font and GAN images may be of each class
    ramp = min(max((progress - _REAL_FROM) / _REAL_RAMP, 0.0), 1.0)
    most = np.where(counts[:, REAL] > 0, 1 - settings.real_share * ramp, 1.0)
    if settings.synthetic_cap is not None:
        most[has_real] = np.minimum(most[has_real], settings.synthetic_cap)
    part = shares[:, synthetic].sum(1)
    over = (counts[:, REAL] > 0) & (part > most)
    cut = most / np.maximum(part, np.finfo(float).tiny)
    shares[:, synthetic] *= np.where(over, cut, 1.0)[:, None]
    shares[over, REAL] = 1 - most[over]
    return shares * prior[:, None]


def class_shares(
    images: np.ndarray,  # [C] images in use
    weighted: np.ndarray,  # [C] the same, each as often as its source's weight; see `weigh`
    factor_inside: np.ndarray,  # [C] mean weight of its images' kinds
    groups: np.ndarray,  # [C] see `class_groups`
    known: int,
    settings: MixSettings,
    names: Sequence[str],
) -> np.ndarray:
    """[C] float64 probability of each class; sums to 1."""
    power = {"natural": 1.0, "sqrt": 0.5, "balanced": 0.0}[settings.sampling]

    def rule(count: np.ndarray) -> np.ndarray:
        return np.where(count > 0, np.maximum(count, 1.0) ** power, 0.0)

    others = images[known:]
    empty = np.flatnonzero(images[:known] == 0)
    if len(empty) and not settings.skip_empty:
        some = ", ".join(names[i] for i in empty[:10])
        raise InputError(
            f"{len(empty)} of {known} characters have no image to train on: {some}"
            f"{' ...' if len(empty) > 10 else ''}; render them (render_fonts.py) or set skip_empty"
        )
    if settings.other_share and others.sum() == 0:
        raise InputError(
            f"other_share {settings.other_share}: no image of 'other' to train on; "
            "render some (render_fonts.py --other N) or leave other_share out"
        )
    factor = np.array(
        [
            settings.group_weights.get(GROUP_NAMES[group], 1.0)
            * settings.class_weights.get(name, 1.0)
            for group, name in zip(groups, names, strict=True)
        ]
    )
    shares = np.zeros(len(images))
    shares[:known] = rule(images[:known]) * factor[:known]
    # inside "other" the unspecified (real ones, blanks, scribbles) go by their number of images and
    # their weight, or a thousand other characters would leave them nothing; the rest by the rule
    inside = np.zeros(len(others))
    if others.sum() > 0:
        inside[0] = weighted[known] / weighted[known:].sum()
        rest = rule(others[1:]) * factor_inside[known + 1 :]
        inside[1:] = (1 - inside[0]) * rest / max(rest.sum(), np.finfo(float).tiny)
    if settings.other_share is None:
        shares[known:] = inside * rule(others.sum(keepdims=True)) * factor[known]
        if shares.sum() == 0:
            raise InputError("nothing to train on: every class has a weight of 0")
        return shares / shares.sum()
    if shares[:known].sum() == 0:
        raise InputError("not one image of a character of the alphabet to train on")
    shares[:known] *= (1 - settings.other_share) / shares[:known].sum()
    shares[known:] = inside * settings.other_share
    return shares
