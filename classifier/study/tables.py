"""The rows of a study -> its tables."""

from __future__ import annotations

from collections.abc import Sequence

from classifier.study.cells import Cell, Table, percent
from classifier.study.estimates import difference, estimate, figures_of, of_data, title_of
from classifier.study.gains import gap_tables, worth_table
from classifier.study.grid import Study
from classifier.study.intervals import signs
from classifier.study.results import COSTS, LOWER_IS_BETTER, Row, labels
from synth.groups import parse_groups


def tables(study: Study, rows: Sequence[Row], data: str) -> list[Table]:
    """Figures, differences to the baseline, costs, gap closed, images worth; of one data set."""
    mine = of_data(rows, data)
    arms = [a for a in study.arms_of(data) if any(r.arm == a for r in mine)]
    figures = figures_of(study, data)
    found = [
        _figures(study, mine, arms, figures, data),
        _differences(study, mine, arms, figures, data),
        _costs(study, mine, arms, data),
        *gap_tables(study, mine, arms, data),
        *(worth_table(study, mine, worth, data) for worth in study.compare.worth),
    ]
    return [table for table in found if table.lines]


def _figures(
    study: Study, rows: list[Row], arms: list[str], figures: dict[str, str], data: str
) -> Table:
    lines = []
    for arm in arms:
        found = [estimate(rows, arm, f) for f in figures]
        runs = sum(r.arm == arm for r in rows)
        lines.append((Cell(title_of(study, arm)), *(Cell(percent(e)) for e in found), _n(runs)))
    return Table(f"{data}: figures", ("arm", *figures.values(), "runs"), tuple(lines))


def _n(number: float) -> Cell:
    return Cell(f"{number:,.0f}")


def _differences(
    study: Study, rows: list[Row], arms: list[str], figures: dict[str, str], data: str
) -> Table:
    base = study.compare.baseline
    found = {(a, f): difference(rows, a, base, f) for a in arms if a != base for f in figures}
    marks = dict(zip(found, signs(list(found.values())), strict=True))
    lines = []
    for arm in arms:
        of = {f: found.get((arm, f)) for f in figures}
        if any(of.values()):
            cells = [
                Cell(
                    percent(e, sign=True),
                    -marks[arm, f] if f in LOWER_IS_BETTER else marks[arm, f],
                )
                for f, e in of.items()
            ]
            lines.append((Cell(title_of(study, arm)), *cells))
    title = f"{data}: difference to {title_of(study, base)}, points"
    return Table(title, ("arm", *figures.values()), tuple(lines))


def _costs(study: Study, rows: list[Row], arms: list[str], data: str) -> Table:
    groups = [g.name for g in parse_groups(study.data[data].groups) if g.known]
    lines = []
    for arm in arms:
        found = [estimate(rows, arm, cost) for cost in COSTS]
        texts = [
            "" if e is None else f"{e.mean:,.1f}" if "minutes" in cost else f"{e.mean:,.0f}"
            for cost, e in zip(COSTS, found, strict=True)
        ]
        texts += [_filed(rows, arm, group) for group in groups]
        lines.append((Cell(title_of(study, arm)), *map(Cell, texts)))
    title = (
        f"{data}: cost of a run, beside the other commands (stores: once for a scenario), and the "
        "real training images of a class under a right + under a wrong label"
    )
    return Table(title, ("arm", *COSTS.values(), *groups), tuple(lines))


def _filed(rows: list[Row], arm: str, group: str) -> str:
    found = [estimate(rows, arm, labels(kind, group)) for kind in ("right", "wrong")]
    return " + ".join(f"{e.mean:.1f}" for e in found if e is not None)
