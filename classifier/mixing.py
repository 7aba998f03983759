"""Which sample of which store stands at each place of each batch. numpy only.

Classes: the K characters of the alphabet, then K = "other, unspecified" (real other images and what
is no character), then the other characters that fonts and GAN draw and know by name. A classifier
trains on all of them and adds up K and beyond for its answer.

A batch is a pure function of (seed, step, settings, sample weights in force). The run is cut into
blocks, about one pass over the images each. A block is drawn at once by systematic sampling: every
image has its expected count in the block, n, and gets floor(n) or ceil(n) places, and so do every
(class, source), every class and "other" as a whole. Within the block each batch takes one place out
of each of B neighbouring strata, so that every single batch is close to the wanted shares as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from synth.alphabet import OTHER, Alphabet
from synth.errors import InputError
from synth.store import SOURCES, Store

REAL = SOURCES.index("real")
CHARACTER_KINDS = frozenset({"character", "confusable", "common", "variant", "script", "listed"})
# by the number of real training images of a class: name, fewest
GROUPS = (("common", 50), ("rare", 10), ("few", 1), ("none", 0))
_BLOCKS_OF_A_SCHEDULE = 16  # a share that changes over the run changes in at least this many steps


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
    skip_empty: bool = False  # train even though a character has no image at all; False: an error

    def __post_init__(self) -> None:
        unknown = sorted(set(self.weights) - set(SOURCES))
        if unknown:
            raise InputError(f"weights: no source is called {unknown[0]!r}; there are {SOURCES}")
        numbers = {f"weights: {name}": (value, math.inf) for name, value in self.weights.items()}
        numbers["synthetic_start"] = (self.synthetic_start, math.inf)
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


@dataclass(frozen=True)
class Pool:
    """The rows of one store that may be trained on."""

    name: str  # the store, for messages
    rows: np.ndarray  # [n] int64, rows of the store
    targets: np.ndarray  # [n] int64, class of each
    sources: np.ndarray  # [n] int64, index into SOURCES

    @classmethod
    def of(cls, store: Store, targets: np.ndarray, rows: np.ndarray | None = None) -> Self:
        """From a store, the targets of all its rows [N], and the rows to use (None: train)."""
        rows = store.rows("train") if rows is None else np.asarray(rows, np.int64)
        if len(rows) == 0:
            raise InputError(f"{store.path}: not one image to train on in it (split 'train')")
        sources = np.array([SOURCES.index(name) for name in store.column("source")], np.int64)
        return cls(str(store.path), rows, targets[rows], sources[rows])


@dataclass(frozen=True)
class Picks:
    """A batch: four numbers a place, each [B] int64."""

    store: np.ndarray  # index into the pools
    source: np.ndarray  # index into SOURCES
    row: np.ndarray  # row in the store
    target: np.ndarray  # class

    def __len__(self) -> int:
        return len(self.row)


def training_classes(
    alphabet: Alphabet,
    stores: Sequence[Store],
    character_kinds: frozenset[
        str
    ] = CHARACTER_KINDS,  # kinds of rows that show one whole character
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Names of the other characters in code-point order, and for each store [N] int64 targets.

    Class K + 1 + i is `names[i]`: what a training row labelled "other" is known to show. Raises
    InputError for a label outside the alphabet.
    """
    index = alphabet.index()
    known = len(alphabet)
    tables = []
    for store in stores:
        labels, chars, kinds = (store.column(name) for name in ("label", "char", "kind"))
        targets = np.array([index.get(label, -1) for label in labels], np.int64)
        if (targets < 0).any():
            row = int(np.flatnonzero(targets < 0)[0])
            raise InputError(
                f"{store.path}, row {row}: label {labels[row]!r} is not in the alphabet "
                f"({alphabet.digest}, {known} characters); make the store again with this alphabet"
            )
        named = [
            label == OTHER and char != "" and char not in index and kind in character_kinds
            for label, char, kind in zip(labels, chars, kinds, strict=True)
        ]
        tables.append((targets, chars, np.array(named, bool), store.column("split") == "train"))
    names = sorted({c for _, chars, named, train in tables for c in chars[named & train]})
    number = {name: known + 1 + i for i, name in enumerate(names)}
    for targets, chars, named, _ in tables:
        # one that no training row shows (validation only) stays "other, unspecified"
        targets[named] = [number.get(char, known) for char in chars[named]]
    return tuple(names), [targets for targets, *_ in tables]


@dataclass(frozen=True, eq=False)
class Mix:
    """The batches of one run. Make it with `Mix.of`."""

    pools: tuple[Pool, ...]
    names: tuple[str, ...]  # of the classes: the alphabet, "other", the other characters
    settings: MixSettings
    seed: int
    batch_size: int  # places of a batch, over all ranks
    total_steps: int
    weights: tuple[np.ndarray, ...] | None  # for each pool [n] float64, relative; None: all equal
    # derived, over the images of all pools one after the other: [n]
    _store: np.ndarray = field(repr=False)
    _source: np.ndarray = field(repr=False)
    _row: np.ndarray = field(repr=False)
    _target: np.ndarray = field(repr=False)
    _weight: np.ndarray = field(repr=False)
    # derived, over classes: [C, S] images in use, [C] probability
    _counts: np.ndarray = field(repr=False)
    _prior: np.ndarray = field(repr=False)
    _block: dict[int, np.ndarray] = field(repr=False, default_factory=dict)  # the last one drawn

    @classmethod
    def of(
        cls,
        pools: Sequence[Pool],
        names: Sequence[str],  # of the classes: the alphabet, "other", the other characters
        settings: MixSettings,
        *,
        seed: int,
        batch_size: int,
        total_steps: int,
        weights: Sequence[np.ndarray] | None = None,
    ) -> Self:
        """Raises InputError where there is nothing to train on, or a class that is to be shown has
        no image."""
        classes, known = len(names), list(names).index(OTHER)
        if batch_size < 1 or total_steps < 1:
            raise InputError(
                f"batch size {batch_size}, {total_steps} steps: both must be at least 1"
            )
        if not pools:
            raise InputError("nothing to train on: no store given")
        for pool in pools:
            if len(pool.rows) == 0:
                raise InputError(f"{pool.name}: not one image to train on in it")
            if pool.targets.min() < 0 or pool.targets.max() >= classes:
                bad = int(np.flatnonzero((pool.targets < 0) | (pool.targets >= classes))[0])
                raise InputError(
                    f"{pool.name}, row {pool.rows[bad]}: class {pool.targets[bad]} is outside "
                    f"the alphabet (0..{classes - 1})"
                )
        lengths = [len(pool.rows) for pool in pools]
        if weights is not None:
            weights = tuple(np.asarray(w, np.float64) for w in weights)
            if [w.shape for w in weights] != [(n,) for n in lengths]:
                shapes = [w.shape for w in weights]
                raise ValueError(f"sample weights {shapes} for pools of {lengths} images")
            for pool, w in zip(pools, weights, strict=True):
                if not (np.isfinite(w).all() and (w >= 0).all()):
                    bad = int(np.flatnonzero(~(np.isfinite(w) & (w >= 0)))[0])
                    raise InputError(f"{pool.name}, row {pool.rows[bad]}: sample weight {w[bad]}")
        weight = np.ones(sum(lengths)) if weights is None else np.concatenate(weights)
        source = np.concatenate([pool.sources for pool in pools])
        target = np.concatenate([pool.targets for pool in pools])
        in_force = np.array([settings.weights.get(name, 0.0) for name in SOURCES])
        counts = np.zeros((classes, len(SOURCES)))
        np.add.at(counts, (target, source), weight > 0)
        counts *= in_force > 0
        if not counts.any():
            raise InputError(
                "nothing to train on: no image of a source that has a weight "
                f"({dict(settings.weights)})"
            )
        return cls(
            pools=tuple(pools),
            names=tuple(names),
            settings=settings,
            seed=seed,
            batch_size=batch_size,
            total_steps=total_steps,
            weights=weights,
            _store=np.repeat(np.arange(len(pools)), lengths),
            _source=source,
            _row=np.concatenate([pool.rows for pool in pools]),
            _target=target,
            _weight=weight,
            _counts=counts,
            _prior=_class_shares(counts.sum(1), known, settings, names),
        )

    def with_weights(self, weights: Sequence[np.ndarray] | None) -> Mix:
        """The same run with other weights of single samples: for each pool [n], relative within
        (class, source). 0 takes a sample out."""
        return Mix.of(
            self.pools,
            self.names,
            self.settings,
            seed=self.seed,
            batch_size=self.batch_size,
            total_steps=self.total_steps,
            weights=weights,
        )

    @property
    def classes(self) -> int:
        return len(self.names)

    @property
    def known(self) -> int:
        """K: the number of characters in the alphabet, and the class "other, unspecified"."""
        return self.names.index(OTHER)

    def prior(self) -> np.ndarray:
        """[C] float64: how often each class is shown, as a share of all places. The same at every
        step: a schedule moves shares between sources and never between classes."""
        return self._prior.copy()

    def shares(self, step: int) -> np.ndarray:
        """[C, S] float64: probability of (class, source) at a step; sums to 1."""
        settings = self.settings
        progress = min(step / max(self.total_steps - 1, 1), 1.0)
        weight = np.array([settings.weights.get(name, 0.0) for name in SOURCES])
        synthetic = np.arange(len(SOURCES)) != REAL
        weight[synthetic] *= settings.synthetic_start + (1 - settings.synthetic_start) * progress
        mass = weight * (self._counts if settings.weigh == "image" else self._counts > 0)
        # synthetic_start 0 must not make a class without real images vanish at the first step
        gone = (mass.sum(1) == 0) & (self._counts.sum(1) > 0)
        mass[gone] = self._counts[gone]
        has_real = self._counts[:, REAL] > 0
        has_real[self.known :] = False
        if step >= self._first_real_only():
            mass[np.ix_(has_real, synthetic)] = 0
        shares = mass / np.maximum(mass.sum(1, keepdims=True), np.finfo(float).tiny)
        if settings.synthetic_cap is not None:
            part = shares[:, synthetic].sum(1)
            over = has_real & (part > settings.synthetic_cap)
            cut = settings.synthetic_cap / np.maximum(part, np.finfo(float).tiny)
            shares[:, synthetic] *= np.where(over, cut, 1.0)[:, None]
            shares[over, REAL] = 1 - settings.synthetic_cap
        return shares * self._prior[:, None]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Picks:
        """The batch of a step, or a rank's part of it (disjoint; together the whole)."""
        if not 0 <= step < self.total_steps:
            raise ValueError(f"step {step} of {self.total_steps}")
        if self.batch_size % world:
            raise InputError(
                f"a batch of {self.batch_size} cannot be shared equally by {world} processes"
            )
        first, steps = self._block_of(step)
        if first not in self._block:
            plan = self._draw_block(first, steps)
            self._block.clear()
            self._block[first] = plan
        at = self._block[first][step - first, rank::world]
        return Picks(self._store[at], self._source[at], self._row[at], self._target[at])

    def table(self, steps_per_epoch: int | None = None) -> str:
        """What a run will show, as text: a row for each source and group of classes.

        `repeats` is how often each image of the row is expected to be shown, in the run and in an
        epoch.
        """
        share = self._mean_shares()
        real = np.zeros(self.classes, np.int64)
        np.add.at(real, self._target[self._source == REAL], 1)
        group = np.full(self.classes, len(GROUPS))
        limits = np.array([fewest for _, fewest in GROUPS])
        group[: self.known] = (real[: self.known, None] < limits).sum(1)
        head = f"{'source':<8}{'classes':<18}{'images':>9}{'share':>9}{'repeats/run':>13}"
        lines = [head + (f"{'/epoch':>9}" if steps_per_epoch else "")]
        places = self.batch_size * self.total_steps
        for s, source in enumerate(SOURCES):
            for g, name in enumerate([*(name for name, _ in GROUPS), OTHER]):
                inside = group == g
                images = int(self._counts[inside, s].sum())
                if images == 0:
                    continue
                part = float(share[inside, s].sum())
                repeats = part * places / images
                line = f"{source:<8}{f'{name} ({inside.sum()})':<18}{images:>9,}{part:>9.1%}"
                line += f"{repeats:>13,.1f}"
                if steps_per_epoch:
                    line += f"{repeats * steps_per_epoch / self.total_steps:>9,.2f}"
                lines.append(line)
        empty = int((self._prior[: self.known] == 0).sum())
        if empty:
            lines.append(f"{empty} characters have no image and are never shown")
        return "\n".join(lines)

    def _first_real_only(self) -> int:
        return self.total_steps - round(self.settings.real_only_share * self.total_steps)

    def _mean_shares(self) -> np.ndarray:
        """[C, S] float64: mean of `shares` over the run, from 65 steps of each of its two parts."""
        turn = self._first_real_only()
        total = np.zeros_like(self._counts)
        for first, end in ((0, turn), (turn, self.total_steps)):
            if end > first:
                steps = np.unique(np.linspace(first, end - 1, 65).astype(int))
                total += (end - first) * np.mean([self.shares(int(s)) for s in steps], axis=0)
        return total / self.total_steps

    def _block_of(self, step: int) -> tuple[int, int]:
        """First step and number of steps of the block that a step lies in."""
        turn = self._first_real_only()
        first, end = (0, turn) if step < turn else (turn, self.total_steps)
        length = max(1, math.ceil(len(self._row) / self.batch_size))
        if self.settings.synthetic_start != 1:
            length = min(length, max(1, self.total_steps // _BLOCKS_OF_A_SCHEDULE))
        first += (step - first) // length * length
        return first, min(length, end - first)

    def _draw_block(self, first: int, steps: int) -> np.ndarray:
        """[steps, B] int64: indices into the images of all pools."""
        rng = np.random.default_rng([self.seed, first])
        cell = self._target * len(SOURCES) + self._source
        cells = self.classes * len(SOURCES)
        in_cell = np.bincount(cell, self._weight, cells)
        chance = self.shares(first + steps // 2).ravel() / np.where(in_cell > 0, in_cell, 1)
        # images lie along a line, each as long as its chance: those of a cell side by side, those
        # of a class, and those of "other" at the end; the orders are drawn anew in each block
        order = rng.permutation(self.classes)
        order[self.known :] += self.classes
        line = np.lexsort((rng.random(len(cell)), self._source, order[self._target]))
        edges = np.cumsum((chance[cell] * self._weight)[line])
        count = steps * self.batch_size
        points = (np.arange(count) + rng.random()) * (edges[-1] / count)
        at = np.searchsorted(edges, points, side="right")
        picked = line[np.minimum(at, len(line) - 1)]
        # one of each stratum for each batch, then the places of each batch in any order
        plan = rng.permuted(picked.reshape(self.batch_size, steps), axis=1)
        return rng.permuted(plan, axis=0).T


def _class_shares(
    images: np.ndarray, known: int, settings: MixSettings, names: Sequence[str]
) -> np.ndarray:
    """[C] images in use -> [C] float64 probability of each class; sums to 1."""
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
    shares = np.zeros(len(images))
    shares[:known] = rule(images[:known])
    # inside "other" the unspecified (real ones, blanks, scribbles) go by their number of images, or
    # a thousand other characters would leave them nothing; the rest by the rule
    inside = np.zeros(len(others))
    if others.sum() > 0:
        inside[0] = others[0] / others.sum()
        rest = rule(others[1:])
        inside[1:] = (1 - inside[0]) * rest / max(rest.sum(), np.finfo(float).tiny)
    if settings.other_share is None:
        shares[known:] = inside * rule(others.sum(keepdims=True))
        return shares / shares.sum()
    if shares[:known].sum() == 0:
        raise InputError("not one image of a character of the alphabet to train on")
    shares[:known] *= (1 - settings.other_share) / shares[:known].sum()
    shares[known:] = inside * settings.other_share
    return shares
