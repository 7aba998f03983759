"""Rates measured in turn, so that a machine that slows down slows all of them. No benchmark by
itself."""

from __future__ import annotations

import os
import platform
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

LEAST_ROUNDS = 5
SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Rates:
    """Images per second of one contender, a value each round."""

    name: str
    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """(highest - lowest) / median."""
        return (max(self.rates) - min(self.rates)) / self.median

    def ratios(self, other: Rates) -> tuple[float, ...]:
        """This one's rate divided by the other's in the same round, for each round."""
        return tuple(a / b for a, b in zip(self.rates, other.rates, strict=True))


@dataclass(frozen=True)
class Contender:
    """Batches, of which `count` are timed at a time."""

    batches: Iterator[Any]  # of things with a length in images
    count: int
    ahead: int = 0  # batches that it makes ahead: as many are taken first, not timed


def timed(one: Contender) -> float:
    """Images per second of its next batches.

    What it made ahead while nobody asked is taken first: in the time then measured it makes as many
    batches as it gives.
    """
    for _ in islice(one.batches, one.ahead):
        pass
    start = time.perf_counter()
    images = sum(len(batch) for batch in islice(one.batches, one.count))
    return images / (time.perf_counter() - start)


def interleaved(contenders: Mapping[str, Contender], rounds: int) -> dict[str, Rates]:
    """One turn of each to warm up, then `rounds` times all in turn. The order is drawn anew each
    time, by a fixed seed: none runs behind the same one again and again."""
    names, rng = list(contenders), random.Random(1)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-1, rounds):
        for name in rng.sample(names, len(names)):
            one = contenders[name]
            rate = timed(one)
            if turn >= 0:
                rates[name].append(rate)
            if one.ahead:  # what it goes on making must not cost the next one
                time.sleep(SETTLE_SECONDS)
    return {name: Rates(name, tuple(values)) for name, values in rates.items()}


def machine(packages: Sequence[str]) -> str:
    """One line: processor, cores in use, versions."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    cores = len(os.sched_getaffinity(0))
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, " + ", ".join(
        found
    )


def no_claim(rounds: int) -> bool:
    """Whether these are too few for one, which is then said."""
    if rounds < LEAST_ROUNDS:
        print(f"{rounds} rounds are no claim: it takes {LEAST_ROUNDS}")
    return rounds < LEAST_ROUNDS
