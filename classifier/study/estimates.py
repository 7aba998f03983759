"""The rows of a study -> estimates of figures, differences and shares."""

from __future__ import annotations

from collections.abc import Sequence

from classifier.study.grid import Study
from classifier.study.intervals import Estimate, Pair, by_scenario, mean_of, ratio_of_means
from classifier.study.results import FIGURES, Row, closed
from synth.groups import parse_groups


def title_of(study: Study, arm: str) -> str:
    return study.arms[arm].title or arm


def figures_of(study: Study, data: str) -> dict[str, str]:
    """Figure -> its heading: the groups of the data's scenarios, the known ones of them without
    "other" as an answer, then the others."""
    groups = parse_groups(study.data[data].groups)
    names = {g.name: g.name.replace("_", " ") for g in groups}
    without = {closed(g.name): f"{names[g.name]}, closed set" for g in groups if g.known}
    return names | without | FIGURES


def of_data(rows: Sequence[Row], data: str) -> list[Row]:
    return [row for row in rows if row.data == data]


def values(rows: Sequence[Row], arm: str, figure: str) -> dict[Pair, float]:
    """Pair -> figure of the arm's runs."""
    return {r.pair: r.figures[figure] for r in rows if r.arm == arm and figure in r.figures}


def estimate(rows: Sequence[Row], arm: str, figure: str) -> Estimate | None:
    """None where no run has the figure."""
    found = values(rows, arm, figure)
    return mean_of(by_scenario(found)) if found else None


def difference(rows: Sequence[Row], arm: str, other: str, figure: str) -> Estimate | None:
    """arm - other, over the pairs that both have."""
    found = _differences(values(rows, arm, figure), values(rows, other, figure))
    return mean_of(by_scenario(found)) if found else None


def gap_closed(
    rows: Sequence[Row], arm: str, base: str, oracle: str, figure: str
) -> Estimate | None:
    """(arm - base) / (oracle - base), over the pairs that all three have; None: none has."""
    mine, low, high = (values(rows, a, figure) for a in (arm, base, oracle))
    part, whole = _differences(mine, low), _differences(high, low)
    both = part.keys() & whole.keys()
    if not both:
        return None
    return ratio_of_means(
        by_scenario({p: part[p] for p in both}), by_scenario({p: whole[p] for p in both})
    )


def _differences(mine: dict[Pair, float], theirs: dict[Pair, float]) -> dict[Pair, float]:
    return {p: mine[p] - theirs[p] for p in mine.keys() & theirs.keys()}
