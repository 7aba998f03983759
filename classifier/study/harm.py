"""When not to use synthetic images: what an arm with them makes worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from classifier.study.cells import percent
from classifier.study.estimates import difference, figures_of, of_data, title_of
from classifier.study.grid import Study
from classifier.study.intervals import LEVEL, Estimate, signs
from classifier.study.results import LOWER_IS_BETTER, Row


@dataclass(frozen=True)
class Compared:
    """A figure of an arm with synthetic images and of one without, of the same real images."""

    data: str
    arm: str
    plain: str
    figure: str
    change: Estimate  # arm - plain

    @property
    def is_known(self) -> bool:
        """A single run of both has no interval: whether it harms cannot be told."""
        return not math.isnan(self.change.p)


def harms(study: Study, rows: Sequence[Row]) -> list[str]:
    """The lines of the page, at least one: what is worse, what is not known, or that none is; and
    how small a harm could have been seen."""
    every = [one for data in study.data for one in compared(study, rows, data)]
    if not every:
        return ["Not known: no arm with synthetic images was compared with one without them."]
    known = [one for one in every if one.is_known]
    found = zip(known, signs([one.change for one in known]), strict=True)
    worse = [
        f"{_names(study, one)[0]}: {figures_of(study, one.data)[one.figure]} "
        f"{percent(one.change, sign=True)} points {_names(study, one)[1]}"
        for one, sign in found
        if sign == (1 if one.figure in LOWER_IS_BETTER else -1)
    ]
    arms = {_names(study, one) for one in known}
    unknown = [
        f"{arm}: not known: one run {against}"
        for arm, against in dict.fromkeys(_names(study, one) for one in every)
        if (arm, against) not in arms
    ]
    if not known:
        return unknown
    none = (
        f"No {'other ' if unknown else ''}arm with synthetic images is worse than the one without "
        "them by more than chance explains."
    )
    return [*worse, *unknown, *([] if worse else [none]), _least(known)]


def _names(study: Study, one: Compared) -> tuple[str, str]:
    """Of the arm and of what it is set against."""
    return f"{one.data}: {title_of(study, one.arm)}", f"against {title_of(study, one.plain)}"


def _least(known: Sequence[Compared]) -> str:
    """What could have been seen: without it, none found would read as none there."""
    over = sorted({one.change.n for one in known})
    told = f"{over[0]}" if len(over) == 1 else f"{over[0]} to {over[-1]}"
    looked = (
        f"Looked for in {len(known)} comparisons, together at {100 * (1 - LEVEL):.0f} % (Holm), "
        f"each of {told} scenarios or training seeds."
    )
    of_each = [100 * one.change.smallest(len(known)) for one in known]
    if not (least := sorted(points for points in of_each if not math.isnan(points))):
        return looked
    return (
        f"{looked} The smallest harm that could have been seen, had it been the only one, at the "
        f"spread there is: {least[len(least) // 2]:.1f} points in the median comparison, "
        f"{least[0]:.1f} to {least[-1]:.1f} in all."
    )


def compared(study: Study, rows: Sequence[Row], data: str) -> Iterator[Compared]:
    """Arms that share no run with the one without synthetic images are left out."""
    mine = of_data(rows, data)
    for arm in study.arms_of(data):
        if not study.arms[arm].stores or (plain := without_stores(study, arm, data)) is None:
            continue
        for figure in figures_of(study, data):
            if (change := difference(mine, arm, plain, figure)) is not None:
                yield Compared(data, arm, plain, figure, change)


def without_stores(study: Study, arm: str, data: str) -> str | None:
    """The arm of the same cut and noise without synthetic images that this data has: the baseline
    where it is such a one, else one of the same options, else any. None: there is none."""
    mine, base = study.arms[arm], study.compare.baseline
    there = study.arms_of(data)
    plain = [a for a in there if not study.arms[a].stores and study.arms[a].cut == mine.cut]
    # the first of the best: arms in their order, the baseline before all
    plain.sort(key=lambda a: (a != base, study.arms[a].options != mine.options))
    return plain[0] if plain else None
