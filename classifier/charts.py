"""The report's charts as SVG text, in the page's own colours: no library, no script, no image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 380, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 12, 40  # free around the plot: half a last tick of 20,000


@dataclass(frozen=True)
class Series:
    """One line, or one set of bars."""

    name: str
    colour: int  # number of the page's colour
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class _Frame:
    """Data -> pixels."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at_x(self, value: float) -> float:
        low, high = self.x
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def at_y(self, value: float) -> float:
        low, high = self.y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def lines(series: Sequence[Series], x_label: str, share: bool) -> str:
    """Lines over steps. share: the values are shares, so the axis runs from 0 to 100 %; else it
    has 0 on it, and goes below for values that do."""
    high_x = max(max(s.x) for s in series)
    low_x = min(min(s.x) for s in series)
    low_y, high_y = (0.0, 1.0) if share else _around_0([y for s in series for y in s.y])
    frame = _Frame((min(0, low_x), high_x if high_x > 0 else 1.0), (low_y, high_y))
    y_ticks = _ticks(*frame.y, 4)
    body = [_grid(frame, _ticks(*frame.x, 4), y_ticks, x_label, _percent if share else _short)]
    for s in series:
        points = [(frame.at_x(x), frame.at_y(y)) for x, y in zip(s.x, s.y, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        last = _percent(s.y[-1]) if share else _short(s.y[-1])
        body.append(
            f'<path class="line c{s.colour}" d="{path}"/>'
            f'<circle class="dot c{s.colour}" cx="{points[-1][0]:.1f}" '
            f'cy="{points[-1][1]:.1f}" r="4">'
            f"<title>{escape(s.name)}: {last} at {s.x[-1]:g}</title></circle>"
        )
    return _svg("".join(body))


def _around_0(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis with room for all values and for 0, never at one place."""
    low, high = 1.05 * min(0.0, *values), 1.05 * max(0.0, *values)
    return low, high if high > low else 1.0


def bars(groups: Sequence[str], series: Sequence[Series]) -> str:
    """Shares 0..1 of each group, a bar for each series; `x` numbers the groups."""
    frame = _Frame((0.0, float(len(groups))), (0.0, 1.0))
    body = [_grid(frame, [], _ticks(0, 1, 4), "", _percent)]
    width = 0.72 / len(series)
    for nth, s in enumerate(series):
        for x, y in zip(s.x, s.y, strict=True):
            left = frame.at_x(x + 0.14 + nth * width)
            right = frame.at_x(x + 0.14 + (nth + 1) * width) - 2
            top = frame.at_y(y)
            value = f"{100 * y:.0f}" if len(groups) * len(series) <= 12 else ""
            body.append(
                f'<rect class="bar c{s.colour}" x="{left:.1f}" y="{top:.1f}" '
                f'width="{right - left:.1f}" height="{max(frame.at_y(0) - top, 0.5):.1f}" rx="2">'
                f"<title>{escape(groups[int(x)])}, {escape(s.name)}: {100 * y:.1f} %</title></rect>"
                f'<text class="tick" text-anchor="middle" x="{(left + right) / 2:.1f}" '
                f'y="{max(top - 3, 9):.1f}">{value}</text>'
            )
    for nth, group in enumerate(groups):
        body.append(_text(frame.at_x(nth + 0.5), _HEIGHT - _BOTTOM + 16, group, "middle", "label"))
    return _svg("".join(body))


def two_sided(
    up: np.ndarray,  # [N] scores 0..1 of what stands above the line
    down: np.ndarray,  # [M] of what stands below
    names: tuple[str, str],
    threshold: float,
    bins: int = 25,
) -> str:
    """Shares of each side's own images by score; a square-root scale lets tails be seen."""
    edges = np.linspace(0, 1, bins + 1)
    sides = [np.histogram(v, edges)[0] / max(len(v), 1) for v in (up, down)]
    limit = math.sqrt(max(side.max() for side in sides))
    frame = _Frame((0.0, 1.0), (-limit, limit))
    marks = [m for m in (0.01, 0.1, 0.4, 1.0) if math.sqrt(m) <= limit]
    y_ticks = [s * math.sqrt(m) for m in marks for s in (-1, 1)]  # 0 would stand on 1 %
    body = [_grid(frame, _ticks(0, 1, 5), y_ticks, "other score", lambda v: _percent(v * v))]
    for side, name, sign, colour in zip(sides, names, (1, -1), (0, 1), strict=True):
        for share, low, high in zip(side, edges[:-1], edges[1:], strict=True):
            if share:
                ends = sorted((frame.at_y(sign * math.sqrt(share)), frame.at_y(0)))
                body.append(
                    f'<rect class="bar c{colour}" x="{frame.at_x(low) + 0.5:.1f}" '
                    f'y="{ends[0]:.1f}" width="{frame.at_x(high) - frame.at_x(low) - 1:.1f}" '
                    f'height="{ends[1] - ends[0]:.1f}"><title>{escape(name)}, score {low:.2f} to '
                    f"{high:.2f}: {100 * share:.1f} %</title></rect>"
                )
    x = frame.at_x(min(threshold, 1.0))
    side = "start" if threshold < 0.6 else "end"
    body.append(
        f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        + _text(
            x + (5 if side == "start" else -5),
            _TOP + 10,
            f"threshold {threshold:.2f}",
            side,
            "label",
        )
    )
    return _svg("".join(body))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> str:
    """Share of right answers by confidence; a dot's area is its share of the images."""
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    body = [_grid(frame, _ticks(0, 1, 5), _ticks(0, 1, 5), "confidence", _percent)]
    body.append(
        f'<line class="mark" x1="{frame.at_x(0):.1f}" y1="{frame.at_y(0):.1f}" '
        f'x2="{frame.at_x(1):.1f}" y2="{frame.at_y(1):.1f}"/>'
    )
    for share, mean, hit in _binned(confidence, right, bins):
        body.append(
            f'<circle class="dot c0" cx="{frame.at_x(mean):.1f}" cy="{frame.at_y(hit):.1f}" '
            f'r="{3 + 11 * math.sqrt(share):.1f}"><title>confidence {100 * mean:.0f} %: '
            f"{100 * hit:.1f} % right, {100 * share:.1f} % of the images</title></circle>"
        )
    return _svg("".join(body))


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Mean over images of |confidence - accuracy| of their bin (Guo et al. 2017, eq. 3)."""
    return float(sum(s * abs(mean - hit) for s, mean, hit in _binned(confidence, right, bins)))


def _binned(
    confidence: np.ndarray, right: np.ndarray, bins: int
) -> list[tuple[float, float, float]]:
    """Share of the images, mean confidence and share of right answers of each bin that has some."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (float(mine.mean()), float(confidence[mine].mean()), float(right[mine].mean()))
        for mine in (which == b for b in range(bins))
        if mine.any()
    ]


def _grid(frame: _Frame, x_ticks, y_ticks, x_label, y_format) -> str:
    parts = []
    for value in y_ticks:
        y = frame.at_y(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            + _text(_LEFT - 6, y + 4, y_format(value), "end", "tick")
        )
    for value in x_ticks:
        parts.append(
            _text(frame.at_x(value), _HEIGHT - _BOTTOM + 15, _short(value), "middle", "tick")
        )
    if x_label:
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(_text(middle, _HEIGHT - 6, x_label, "middle", "label"))
    return "".join(parts)


def _ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers that divide low..high."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return (
        f'<text class="{kind}" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
    )


def _svg(body: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{body}</svg>'
