"""Pictures of a study, as PNG files."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from classifier.study.estimates import estimate, figures_of, of_data, title_of
from classifier.study.grid import Curve, Study
from classifier.study.intervals import Estimate
from classifier.study.results import LOWER_IS_BETTER, Row

_COLOURS = ("#2563ab", "#c2571a", "#1a9a72", "#8b4fa8", "#7a7468", "#b03a5b")
_DPI = 110


def write_arms(
    study: Study, rows: Sequence[Row], data: str, out: Path, only: Collection[str] | None = None
) -> bool:
    """A panel a figure (of `only`, or of all), a line an arm: mean, interval, and every run as a
    dot. False: no run."""
    mine = of_data(rows, data)
    arms = [a for a in study.arms_of(data) if any(r.arm == a for r in mine)]
    figures = {
        f: name
        for f, name in figures_of(study, data).items()
        if any(f in r.figures for r in mine) and (only is None or f in only)
    }
    if not arms or not figures:
        return False
    columns = min(4, len(figures))
    lines = math.ceil(len(figures) / columns)
    size = (2.1 + 2.3 * columns, lines * (0.9 + 0.27 * len(arms)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    at = np.arange(len(arms))[::-1]
    for panel, (key, name) in zip(panels.flat, figures.items(), strict=False):
        for y, arm in zip(at, arms, strict=True):
            _mark(panel, y, arm, key, mine, base=arm == study.compare.baseline)
        if base := estimate(mine, study.compare.baseline, key):
            panel.axvline(100 * base.mean, color="#999", lw=0.8, ls=":", zorder=0)
        panel.set_title(name + (" (less is better)" if key in LOWER_IS_BETTER else ""), fontsize=9)
        panel.set_yticks(at, [title_of(study, arm) for arm in arms], fontsize=8)
        panel.tick_params(axis="x", labelsize=8)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", color="#e5e5e5", lw=0.6)
        panel.spines[["top", "right", "left"]].set_visible(False)
    for panel in panels.flat[len(figures) :]:
        panel.set_visible(False)
    figure.supxlabel(f"{data}: percent", fontsize=9)
    _save(figure, out)
    return True


def _mark(panel, y: float, arm: str, key: str, rows: list[Row], base: bool) -> None:
    if (found := estimate(rows, arm, key)) is None:
        return
    colour = _COLOURS[1] if base else _COLOURS[0]
    dots = [100 * r.figures[key] for r in rows if r.arm == arm and key in r.figures]
    panel.plot(dots, [y] * len(dots), "o", ms=3.5, color=colour, alpha=0.4, mew=0)
    panel.plot([100 * found.mean], [y], "o", ms=5, color=colour)
    if math.isfinite(found.low):
        panel.plot([100 * found.low, 100 * found.high], [y, y], "-", lw=1.4, color=colour)


def write_curve(study: Study, rows: Sequence[Row], data: str, curve: Curve, out: Path) -> bool:
    """A line for each of the curve's lines, its interval as a bar. False: fewer than two points."""
    mine = of_data(rows, data)
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    panel = figure.subplots()
    points = 0
    numbers: set[float] = set()
    for colour, (name, line) in zip(_COLOURS * 9, curve.lines.items(), strict=False):
        found: dict[float, Estimate] = {
            x: e for x, arm in sorted(line.items()) if (e := estimate(mine, arm, curve.figure))
        }
        if not found:
            continue
        points, numbers = max(points, len(found)), numbers | set(found)
        height = [100 * e.mean for e in found.values()]
        half = [100 * e.half if math.isfinite(e.half) else 0.0 for e in found.values()]
        panel.errorbar(
            list(found), height, half, marker="o", ms=4, lw=1.5, capsize=2, color=colour, label=name
        )
    if points < 2:
        return False
    # numbers of images span decades and may be 0
    if max(numbers) >= 20 * min((x for x in numbers if x > 0), default=1):
        panel.set_xscale("symlog", linthresh=1)
    panel.set_xticks(sorted(numbers), [f"{x:g}" for x in sorted(numbers)])
    panel.minorticks_off()
    panel.set_title(f"{data}: {curve.title}", fontsize=10)
    panel.set_xlabel(curve.x, fontsize=9)
    panel.set_ylabel(f"{figures_of(study, data).get(curve.figure, curve.figure)}, %", fontsize=9)
    panel.grid(color="#e5e5e5", lw=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False)
    _save(figure, out)
    return True


def _save(figure: Figure, out: Path) -> None:
    part = out.with_name(f".{out.name}.partial.png")
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        # the date and version would make two equal pictures different files
        figure.savefig(part, dpi=_DPI, metadata={"Software": None})
    part.replace(out)
