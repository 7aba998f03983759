"""When not to use synthetic images: what an arm with them makes worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from classifier.study.grid import Study
from classifier.study.intervals import Estimate
from classifier.study.results import LOWER_IS_BETTER, Row
from classifier.study.tables import difference, figures_of, of_data, percent, title_of


@dataclass(frozen=True)
class Compared:
    """An arm with synthetic images and one without, of the same real images."""

    arm: str
    plain: str
    changes: dict[str, Estimate]  # figure -> arm - plain, at least one

    @property
    def is_known(self) -> bool:
        """A single run of both has no interval: whether it harms cannot be told."""
        return not all(math.isnan(change.low) for change in self.changes.values())

    @property
    def worse(self) -> list[str]:
        """Figures that are worse by their whole interval."""
        return [
            figure
            for figure, change in self.changes.items()
            if change.sign == (1 if figure in LOWER_IS_BETTER else -1)
        ]


def harms(study: Study, rows: Sequence[Row]) -> list[str]:
    """The lines of the page, at least one: what is worse, what is not known, or that none is."""
    worse, unknown, known = [], [], 0
    for data in study.data:
        names = figures_of(study, data)
        for one in compared(study, rows, data):
            arm = f"{data}: {title_of(study, one.arm)}"
            against = f"against {title_of(study, one.plain)}"
            known += one.is_known
            if not one.is_known:
                unknown.append(f"{arm}: not known: one run {against}")
            for figure in one.worse:
                change = percent(one.changes[figure], sign=True)
                worse.append(f"{arm}: {names[figure]} {change} points {against}")
    if not known and not unknown:
        return ["Not known: no arm with synthetic images was compared with one without them."]
    if known and not worse:
        return [
            *unknown,
            f"No {'other ' if unknown else ''}arm with synthetic images is by its whole interval "
            "worse than the one without them.",
        ]
    return [*worse, *unknown]


def compared(study: Study, rows: Sequence[Row], data: str) -> Iterator[Compared]:
    """Arms that share no run with the one without synthetic images are left out."""
    mine = of_data(rows, data)
    for arm in study.arms_of(data):
        if not study.arms[arm].stores or (plain := without_stores(study, arm, data)) is None:
            continue
        found = {f: difference(mine, arm, plain, f) for f in figures_of(study, data)}
        if changes := {f: change for f, change in found.items() if change is not None}:
            yield Compared(arm, plain, changes)


def without_stores(study: Study, arm: str, data: str) -> str | None:
    """The arm of the same cut and noise without synthetic images that this data has: the baseline
    where it is such a one, else one of the same options, else any. None: there is none."""
    mine, base = study.arms[arm], study.compare.baseline
    there = study.arms_of(data)
    plain = [a for a in there if not study.arms[a].stores and study.arms[a].cut == mine.cut]
    # the first of the best: arms in their order, the baseline before all
    plain.sort(key=lambda a: (a != base, study.arms[a].options != mine.options))
    return plain[0] if plain else None
