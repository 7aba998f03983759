"""What synthetic images gain: the share of a gap that they close, the real images they are worth.

Both are told with "other" as an answer and without: the threshold of "other" is chosen in each run,
and one that lies lower loses characters that the network reads.
"""

from __future__ import annotations

from collections.abc import Sequence

from classifier.study.cells import Cell, Table, share
from classifier.study.estimates import estimate, gap_closed, title_of, values
from classifier.study.grid import Study, Worth
from classifier.study.intervals import Reading, worth_of
from classifier.study.results import Row, closed, labels
from synth.groups import is_known, parse_groups


def gap_tables(study: Study, rows: Sequence[Row], arms: Sequence[str], data: str) -> list[Table]:
    """One for each baseline with an oracle."""
    compare = study.compare
    oracles = {compare.baseline: compare.oracle} if compare.oracle else {}
    oracles |= compare.gaps
    if not compare.gap:
        return []
    return [_gap(study, rows, arms, data, base, oracle) for base, oracle in oracles.items()]


def _gap(
    study: Study, rows: Sequence[Row], arms: Sequence[str], data: str, base: str, oracle: str
) -> Table:
    lines, figures = [], _with_closed(study.compare.gap)
    for arm in arms:
        # other cuts have other real images: only arms that lack what the oracle has
        if study.arms[arm].cut != study.arms[base].cut or arm == base:
            continue
        found = [gap_closed(rows, arm, base, oracle, figure) for figure in figures]
        if any(found):
            lines.append((Cell(title_of(study, arm)), *(Cell(share(e)) for e in found)))
    head = [
        f"{group}, {_filed(study, data, group, base)} real images a class"
        f"{right_and_wrong(rows, base, group)}{told}"
        for group, told in figures.values()
    ]
    title = (
        f"{data}: share of the gap between {title_of(study, base)} and {title_of(study, oracle)} "
        "that is closed"
    )
    return Table(title, ("arm", *head), tuple(lines))


def _with_closed(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Figure -> its group, and what to say of it."""
    found = {}
    for group in groups:
        found[group] = (group, "")
        if is_known(group):
            found[closed(group)] = (group, "; closed set")
    return found


def _filed(study: Study, data: str, group: str, arm: str) -> int:
    groups = {g.name: g.images for g in parse_groups(study.data[data].groups)}
    return study.arms[arm].images.get(group, groups.get(group, 0))


def right_and_wrong(rows: Sequence[Row], arm: str, group: str) -> str:
    """In brackets, with a space in front; "" where it is not known."""
    right, wrong = (estimate(rows, arm, labels(kind, group)) for kind in ("right", "wrong"))
    if right is None or wrong is None:
        return ""
    return f" ({right.mean:.1f} right, {wrong.mean:.1f} wrong)"


def worth_table(study: Study, rows: Sequence[Row], worth: Worth, data: str) -> Table:
    figures = _with_closed([worth.group])
    lines = []
    for arm, has in worth.arms.items():
        cells = []
        for figure in figures:
            curve = {n: values(rows, a, figure) for n, a in worth.real.items()}
            there = {n: of for n, of in curve.items() if of}
            cells.append(Cell(_worth(worth_of(values(rows, arm, figure), there), has)))
        if any(cell.text for cell in cells):
            filed = Cell(f"{has:g}{right_and_wrong(rows, arm, worth.group)}")
            lines.append((Cell(title_of(study, arm)), filed, *cells))
    points = ", ".join(
        f"{n:g}{right_and_wrong(rows, arm, worth.group)}"
        for n, arm in sorted(worth.real.items())
        if values(rows, arm, worth.group)
    )
    head = [f"worth further real images{told}" for _, told in figures.values()]
    return Table(
        f"{data}: real images that the synthetic images of a class in {worth.group!r} are worth "
        f"(measured without synthetic images at {points} a class; ≤ and ≥: beyond the ends of that "
        "curve)",
        ("arm", "real images it has", *head),
        tuple(lines),
    )


def _worth(readings: Sequence[Reading], has: float) -> str:
    """The images beyond those that the arm has, and the interval in brackets."""
    told = [f"{('≤ ', '', '≥ ')[r.side + 1]}{r.images - has:.1f}" for r in readings]
    return " ".join([*told[:1], *([f"({told[1]} to {told[2]})"] if told[1:] else [])])
