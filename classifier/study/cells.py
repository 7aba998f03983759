"""Tables, and estimates as text."""

from __future__ import annotations

import math
from dataclasses import dataclass

from classifier.study.intervals import Estimate


@dataclass(frozen=True)
class Cell:
    text: str
    sign: int = 0  # 1: better than the baseline by more than chance, -1: worse


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


def percent(e: Estimate | None, sign: bool = False) -> str:
    """With its interval, where it has one; "" for None."""
    if e is None:
        return ""
    half = f" ± {100 * e.half:.1f}" if math.isfinite(e.half) else ""
    return f"{100 * e.mean:{'+' if sign else ''}.1f}{half}"


def share(e: Estimate | None) -> str:
    """Of a gap, in percent, with its interval."""
    if e is None or math.isnan(e.mean):
        return ""
    if math.isinf(e.low):
        return f"{100 * e.mean:.0f} % (the gap may be none)"
    within = "" if math.isnan(e.low) else f" ({100 * e.low:.0f} to {100 * e.high:.0f})"
    return f"{100 * e.mean:.0f} %{within}"
