"""How often a recogniser reads rendered samples right, by font and by strength of deformation.

The recogniser is a function passed in, best one that has seen real images only: a font that it
cannot read, or a strength at which reading breaks down, teaches a classifier wrong shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from synth.quota import Quota
from synth.render import CHUNK, make_plan, render_places
from synth.studio import Studio


@dataclass(frozen=True)
class Rates:
    """Samples read right of samples shown; row: font, column: strength."""

    fonts: tuple[str, ...]
    strengths: tuple[float, ...]
    right: np.ndarray  # [F, S] int
    shown: np.ndarray  # [F, S] int

    @property
    def share(self) -> np.ndarray:
        """[F, S] 0..1; NaN where nothing was shown."""
        return np.where(self.shown > 0, self.right / np.maximum(self.shown, 1), np.nan)

    def unread_fonts(self, least: float) -> list[str]:
        """Fonts whose samples, over all strengths, are read less often than `least`."""
        share = self.right.sum(1) / np.maximum(self.shown.sum(1), 1)
        return [
            f
            for f, s, n in zip(self.fonts, share, self.shown.sum(1), strict=True)
            if n and s < least
        ]

    def unread_strengths(self, least: float) -> list[float]:
        """Strengths at which samples of the fonts that are read are read less than `least`."""
        good = ~np.isin(self.fonts, self.unread_fonts(least))
        right, shown = self.right[good].sum(0), self.shown[good].sum(0)
        return [
            s for s, r, n in zip(self.strengths, right, shown, strict=True) if n and r / n < least
        ]

    def table(self) -> str:
        """Fonts by strengths, in percent, and all fonts together."""
        width = max(len("all fonts"), *map(len, self.fonts))
        lines = [
            f"{'read right, %':{width}} {'images':>7}"
            + "".join(f"{f'at {s:g}':>8}" for s in self.strengths)
        ]
        total = self.right.sum(0) / np.maximum(self.shown.sum(0), 1)
        rows = [*zip(self.fonts, self.shown.sum(1), self.share, strict=True)]
        for name, count, shares in [*rows, ("all fonts", self.shown.sum(), total)]:
            lines.append(f"{name:{width}} {count:7}" + "".join(f"{100 * s:8.1f}" for s in shares))
        return "\n".join(lines)


def reading_rates(
    studio: Studio,
    read: Callable[[np.ndarray], Sequence[str]],  # [n, H, W] uint8 -> n characters
    strengths: Sequence[float],  # of the deformation, as `Style.scaled`
    per_font: int,  # images of each font at each strength; fewer where it has few characters
) -> Rates:
    """Renders and asks. The same characters at each strength, each font's spread over its own."""
    usable = [c.usable for c in studio.coverages]
    counts = {c: sum(c in u for u in usable) for c in studio.alphabet.chars}
    names = tuple(c.font.name for c in studio.coverages)
    right, shown = (np.zeros((len(names), len(strengths)), int) for _ in range(2))
    for s, strength in enumerate(strengths):
        # as many images of a character as fonts have it: one in each font
        rounds = max(1, -(-per_font // len(studio.alphabet)))
        quota = Quota(0, {c: n * rounds for c, n in counts.items()}, 0, {})
        style = studio.style.scaled(strength)
        plan = make_plan(
            studio.alphabet, studio.coverages, {}, quota, style, studio.canvas, studio.seed
        )
        at = _spread(plan.font, per_font)
        for i in range(0, len(at), CHUNK):
            images, samples = render_places(plan, at[i : i + CHUNK])
            answers = read(images)
            if len(answers) != len(samples):
                raise ValueError(f"{len(answers)} answers to {len(samples)} images")
            for place, sample, answer in zip(at[i : i + CHUNK], samples, answers, strict=True):
                right[plan.font[place], s] += answer == sample.char
                shown[plan.font[place], s] += 1
    return Rates(names, tuple(strengths), right, shown)


def _spread(font: np.ndarray, each: int) -> np.ndarray:
    """[N] font numbers -> places, `each` of a font at even steps through all of its own."""
    picked = []
    for f in np.unique(font):
        of_font = np.flatnonzero(font == f)
        steps = np.linspace(0, len(of_font) - 1, min(each, len(of_font))).astype(int)
        picked.append(of_font[steps])
    return np.sort(np.concatenate(picked))
