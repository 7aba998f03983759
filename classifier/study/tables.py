"""The rows of a study -> tables of numbers, and their text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from classifier.study.grid import Study, Worth
from classifier.study.intervals import Estimate, images_worth, mean_of, ratio_of_means
from classifier.study.results import COSTS, FIGURES, LOWER_IS_BETTER, Row
from synth.scenario import parse_groups


@dataclass(frozen=True)
class Cell:
    text: str
    sign: int = 0  # 1: the whole interval is better than the baseline, -1: worse


@dataclass(frozen=True)
class Table:
    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]

    def markdown(self) -> str:
        rows = [self.head, ["---"] * len(self.head)]
        rows += [[_marked(c) for c in line] for line in self.lines]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"### {self.title}\n\n{table}\n"


def _marked(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.sign > 0 else f"_{cell.text}_" if cell.sign < 0 else cell.text


def title_of(study: Study, arm: str) -> str:
    return study.arms[arm].title or arm


def figures_of(study: Study, data: str) -> dict[str, str]:
    """Figure -> its heading: the groups of the data's scenarios, then the others."""
    groups = parse_groups(study.data[data].groups)
    return {g.name: g.name.replace("_", " ") for g in groups} | FIGURES


def of_data(rows: Sequence[Row], data: str) -> list[Row]:
    return [row for row in rows if row.data == data]


def values(rows: Sequence[Row], arm: str, figure: str) -> dict[tuple[str, int, int], float]:
    """Pair -> figure of the arm's runs."""
    return {r.pair: r.figures[figure] for r in rows if r.arm == arm and figure in r.figures}


def estimate(rows: Sequence[Row], arm: str, figure: str) -> Estimate | None:
    """None where no run has the figure."""
    found = values(rows, arm, figure)
    return mean_of(list(found.values())) if found else None


def difference(rows: Sequence[Row], arm: str, other: str, figure: str) -> Estimate | None:
    """arm - other, over the pairs that both have."""
    mine, theirs = values(rows, arm, figure), values(rows, other, figure)
    both = sorted(mine.keys() & theirs.keys())
    return mean_of([mine[p] - theirs[p] for p in both]) if both else None


def tables(study: Study, rows: Sequence[Row], data: str) -> list[Table]:
    """Figures, differences to the baseline, costs, gap closed, images worth; of one data set."""
    mine = of_data(rows, data)
    arms = [a for a in study.arms_of(data) if any(r.arm == a for r in mine)]
    figures = figures_of(study, data)
    found = [
        _figures(study, mine, arms, figures, data),
        _differences(study, mine, arms, figures, data),
        _costs(study, mine, arms, data),
        _gap(study, mine, arms, data),
        *(_worth(study, mine, worth, data) for worth in study.compare.worth),
    ]
    return [table for table in found if table is not None and table.lines]


def _figures(
    study: Study, rows: list[Row], arms: list[str], figures: dict[str, str], data: str
) -> Table:
    lines = []
    for arm in arms:
        found = [estimate(rows, arm, f) for f in figures]
        runs = sum(r.arm == arm for r in rows)
        lines.append((Cell(title_of(study, arm)), *map(_cell, found), Cell(str(runs))))
    return Table(f"{data}: figures", ("arm", *figures.values(), "runs"), tuple(lines))


def _differences(
    study: Study, rows: list[Row], arms: list[str], figures: dict[str, str], data: str
) -> Table:
    base, lines = study.compare.baseline, []
    for arm in arms:
        found = {f: difference(rows, arm, base, f) for f in figures}
        if arm != base and any(found.values()):
            cells = [
                Cell(
                    percent(e, sign=True),
                    (e.sign if f not in LOWER_IS_BETTER else -e.sign) if e else 0,
                )
                for f, e in found.items()
            ]
            lines.append((Cell(title_of(study, arm)), *cells))
    title = f"{data}: difference to {title_of(study, base)}, points"
    return Table(title, ("arm", *figures.values()), tuple(lines))


def _costs(study: Study, rows: list[Row], arms: list[str], data: str) -> Table:
    lines = []
    for arm in arms:
        found = [estimate(rows, arm, cost) for cost in COSTS]
        texts = [
            "" if e is None else f"{e.mean:,.1f}" if "minutes" in cost else f"{e.mean:,.0f}"
            for cost, e in zip(COSTS, found, strict=True)
        ]
        lines.append((Cell(title_of(study, arm)), *map(Cell, texts)))
    title = f"{data}: cost of a run, beside the other commands (stores: once for a scenario)"
    return Table(title, ("arm", *COSTS.values()), tuple(lines))


def gap_closed(
    rows: Sequence[Row], arm: str, base: str, oracle: str, figure: str
) -> Estimate | None:
    """(arm - base) / (oracle - base), over the pairs that all three have; None: none has."""
    of = [values(rows, a, figure) for a in (arm, base, oracle)]
    both = sorted(of[0].keys() & of[1].keys() & of[2].keys())
    if not both:
        return None
    mine, low, high = ([one[p] for p in both] for one in of)
    return ratio_of_means(
        [m - b for m, b in zip(mine, low, strict=True)],
        [h - b for h, b in zip(high, low, strict=True)],
    )


def _gap(study: Study, rows: list[Row], arms: list[str], data: str) -> Table | None:
    compare, lines = study.compare, []
    if compare.oracle is None or not compare.gap:
        return None
    for arm in arms:
        # other cuts have other real images: only arms that lack what the oracle has
        if study.arms[arm].cut != study.arms[compare.baseline].cut or arm == compare.baseline:
            continue
        found = [gap_closed(rows, arm, compare.baseline, compare.oracle, f) for f in compare.gap]
        if any(found):
            lines.append((Cell(title_of(study, arm)), *(Cell(_share(e)) for e in found)))
    title = (
        f"{data}: share of the gap between {title_of(study, compare.baseline)} and "
        f"{title_of(study, compare.oracle)} that is closed"
    )
    head = [f"{g}, {_real_images(study, data, g)} real images a class" for g in compare.gap]
    return Table(title, ("arm", *head), tuple(lines))


def _real_images(study: Study, data: str, group: str) -> int:
    base = study.arms[study.compare.baseline].images
    groups = {g.name: g.images for g in parse_groups(study.data[data].groups)}
    return base.get(group, groups.get(group, 0))


def _worth(study: Study, rows: list[Row], worth: Worth, data: str) -> Table:
    points = {n: values(rows, arm, worth.group) for n, arm in worth.real.items()}
    lines = []
    for arm, has in worth.arms.items():
        found = []
        for pair, accuracy in sorted(values(rows, arm, worth.group).items()):
            curve = {n: of[pair] for n, of in points.items() if pair in of}
            if len(curve) > 1:
                found.append(images_worth(accuracy, curve))
        if found:
            mean = mean_of([n - has for n, _ in found])
            outside = sum(not inside for _, inside in found)
            lines.append(
                (
                    Cell(title_of(study, arm)),
                    Cell(f"{has:g}"),
                    Cell(f"{mean.mean:.1f}{_plus_minus(mean.half)}"),
                    Cell(f"{outside} of {len(found)}"),
                )
            )
    there = ", ".join(f"{n:g}" for n in sorted(worth.real))
    return Table(
        f"{data}: real images that the synthetic images of a class in {worth.group!r} are worth "
        f"(measured without synthetic images at {there} a class; "
        "a run outside the curve counts as its end)",
        ("arm", "real images it has", "worth further real images", "runs outside the curve"),
        tuple(lines),
    )


def _cell(e: Estimate | None) -> Cell:
    return Cell("" if e is None else percent(e))


def percent(e: Estimate | None, sign: bool = False) -> str:
    """With its interval, where it has one; "" for None."""
    if e is None:
        return ""
    return f"{100 * e.mean:{'+' if sign else ''}.1f}{_plus_minus(100 * e.half)}"


def _plus_minus(half: float) -> str:
    return f" ± {half:.1f}" if math.isfinite(half) else ""


def _share(e: Estimate | None) -> str:
    if e is None or math.isnan(e.mean):
        return ""
    if math.isinf(e.low):
        return f"{100 * e.mean:.0f} % (the gap may be none)"
    within = "" if math.isnan(e.low) else f" ({100 * e.low:.0f} to {100 * e.high:.0f})"
    return f"{100 * e.mean:.0f} %{within}"
