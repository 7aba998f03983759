"""Which sample of which store stands at each place of each batch. numpy only.

What may be shown stands in `pools`, how often in `shares`.

A batch is a pure function of (seed, step, settings, sample weights in force). The run is cut into
blocks, about one pass over the images each or shorter. A block is drawn at once by systematic
sampling: every (class, source) has its expected count in the block, n, and gets floor(n) or ceil(n)
places, and so do every class and "other" as a whole; whose image stands at them is `turns`' part.
Within the block each batch takes one place out of each of B neighbouring strata, so that every
single batch is close to the wanted shares as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from classifier.pools import Picks, Pool, training_classes
from classifier.shares import (
    GROUP_NAMES,
    REAL,
    MixSettings,
    class_groups,
    class_shares,
    shares_at,
    source_weights,
)
from classifier.turns import take_turns
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.store import SOURCES

__all__ = [
    "REAL",
    "Mix",
    "MixSettings",
    "Picks",
    "Pool",
    "training_classes",
]

_BLOCKS_OF_A_SCHEDULE = 16  # a share that changes over the run changes in at least this many steps


def _kind_factors(pools: Sequence[Pool], weights: Mapping[str, float]) -> np.ndarray:
    """[n] over all pools: the weight of each image's kind."""
    factors = [np.ones(len(pool.rows)) for pool in pools]
    for pool, factor in zip(pools, factors, strict=True):
        if pool.kinds is not None:
            for kind, weight in weights.items():
                factor[pool.kinds == kind] = weight
    return np.concatenate(factors)


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
    # derived, over classes: [C] groups, [C, S] weights, [C, S] images in use, [C] probability
    _groups: np.ndarray = field(repr=False)
    _source_weight: np.ndarray = field(repr=False)
    _counts: np.ndarray = field(repr=False)
    _seen: np.ndarray = field(repr=False)  # the same, an image as its kind is weighed
    _prior: np.ndarray = field(repr=False)
    _block: dict[int, np.ndarray] = field(repr=False, default_factory=dict)  # the last one drawn
    # places of each [C x S] before the block that begins at a step: the last one asked for
    _before: dict[int, np.ndarray] = field(repr=False, default_factory=dict)

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
        factor = np.where(target < known, 1.0, _kind_factors(pools, settings.kind_weights))
        weight = weight * factor
        # an image that is left out is none that its class has
        real = (source == REAL) & (weight > 0)
        groups = class_groups(np.bincount(target[real], minlength=classes), known)
        in_force = source_weights(settings, groups, known, names)
        counts = np.zeros((classes, len(SOURCES)))
        np.add.at(counts, (target, source), weight > 0)
        counts *= in_force > 0
        # an image counts as often as its kind is to be shown
        seen = np.zeros_like(counts)
        np.add.at(seen, (target, source), np.where(weight > 0, factor, 0.0))
        seen *= in_force > 0
        images = counts.sum(1)
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
            _seen=seen,
            _groups=groups,
            _source_weight=in_force,
            _prior=class_shares(
                images,
                (seen * in_force if settings.weigh == "image" else seen).sum(1),
                np.divide(seen.sum(1), images, out=np.ones_like(images), where=images > 0),
                groups,
                known,
                settings,
                names,
            ),
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
        return shares_at(
            min(step / max(self.total_steps - 1, 1), 1.0),
            step >= self._first_real_only(),
            self._source_weight,
            self._seen,
            self._prior,
            self.known,
            self.settings,
        )

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
        head = f"{'source':<8}{'classes':<18}{'images':>9}{'share':>9}{'repeats/run':>13}"
        lines = [head + (f"{'/epoch':>9}" if steps_per_epoch else "")]
        places = self.batch_size * self.total_steps
        for s, source in enumerate(SOURCES):
            for g, name in enumerate(GROUP_NAMES):
                inside = self._groups == g
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
        if self.settings.synthetic_start != 1 or self.settings.real_share:
            length = min(length, max(1, self.total_steps // _BLOCKS_OF_A_SCHEDULE))
        first += (step - first) // length * length
        return first, min(length, end - first)

    def _draw_block(self, first: int, steps: int) -> np.ndarray:
        """[steps, B] int64: indices into the images of all pools."""
        rng = np.random.default_rng([self.seed, first])
        cells, places = self._places(rng, first, steps)
        cell = self._target * len(SOURCES) + self._source
        before = self._places_before(first)[cells]
        picked = take_turns(cell, self._weight, cells, places, before, self.seed)
        # one of each stratum for each batch, then the places of each batch in any order
        plan = rng.permuted(picked.reshape(self.batch_size, steps), axis=1)
        return rng.permuted(plan, axis=0).T

    def _places(
        self, rng: np.random.Generator, first: int, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """[c], [c] int64: the (class, source) that a block shows, and how many places each has.

        They lie along a line, each as long as its share, those of a class side by side and "other"
        at the end; the order of the classes is drawn anew in each block.
        """
        share = self.shares(first + steps // 2).ravel()
        order = rng.permutation(self.classes)
        order[self.known :] += self.classes
        line = np.argsort(np.repeat(order, len(SOURCES)), kind="stable")
        edges, count = np.cumsum(share[line]), steps * self.batch_size
        # points at equal distances, the first one anywhere: how many lie before each edge
        points = np.ceil(edges * (count / edges[-1]) - rng.random()).clip(0, count).astype(np.int64)
        points[edges >= edges[-1]] = count
        places = np.diff(points, prepend=0)
        return line[places > 0], places[places > 0]

    def _places_before(self, first: int) -> np.ndarray:
        """[C x S] int64: the places that each (class, source) has in all blocks before one."""
        step = max((s for s in self._before if s <= first), default=0)
        total = self._before.get(step, np.zeros(self.classes * len(SOURCES), np.int64)).copy()
        while step < first:
            _, steps = self._block_of(step)
            rng = np.random.default_rng([self.seed, step])
            cells, places = self._places(rng, step, steps)
            total[cells] += places
            step += steps
        self._before.clear()
        self._before[first] = total
        return total
