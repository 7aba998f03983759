"""How often a recogniser reads rendered samples right, by font and by strength of deformation.

The recogniser is a function passed in, best one that has seen real images only: a font that it
cannot read, or a strength at which reading breaks down, teaches a classifier wrong shapes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synth.errors import InputError
from synth.files import write_text
from synth.plan import CHUNK, make_plan
from synth.quota import Quota
from synth.render import render_places
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

    def unread_fonts(self, least: float, at: float) -> list[str]:
        """Fonts whose samples, at the strength `at` that will be used, are read less often than
        `least`, or that have none. Raises ValueError where that strength was not tried."""
        column = self.strengths.index(at)
        rows = zip(self.fonts, self.right[:, column], self.shown[:, column], strict=True)
        return [f for f, r, n in rows if not n or r / n < least]

    def unread_strengths(self, least: float, at: float) -> list[float]:
        """Strengths at which samples of the fonts that are read are read less than `least`; all
        of them where no font is."""
        good = ~np.isin(self.fonts, self.unread_fonts(least, at))
        right, shown = self.right[good].sum(0), self.shown[good].sum(0)
        rows = zip(self.strengths, right, shown, strict=True)
        return [s for s, r, n in rows if not n or r / n < least]

    def write(self, path: Path, least: float, at: float, made: dict[str, Any]) -> None:
        """As `Verdict.read` reads it. `made`: how, JSON values."""
        fonts, strengths = self.unread_fonts(least, at), self.unread_strengths(least, at)
        tried = [np.format_float_positional(s, trim="-") for s in self.strengths]  # all digits
        share = [[None if np.isnan(x) else round(x, 4) for x in row] for row in self.share.tolist()]
        text = {
            "made": made,
            "least": least,
            "fonts_judged_at": at,
            "fonts": {
                font: {
                    "read": font not in fonts,
                    "share": {s: x for s, x in zip(tried, row, strict=True)},
                }
                for font, row in zip(self.fonts, share, strict=True)
            },
            "strengths": {
                name: {"read": s not in strengths}
                for name, s in zip(tried, self.strengths, strict=True)
            },
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(text, ensure_ascii=False, indent=1) + "\n")

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
    strengths: Sequence[float],  # of the deformation, as `Style.weakened`
    per_font: int,  # images of each font at each strength; fewer where it has few characters
) -> Rates:
    """Renders and asks: the pictures that a studio of that strength would render. The same
    characters at each strength, each font's spread over its own."""
    usable = [c.usable for c in studio.coverages]
    counts = {c: sum(c in u for u in usable) for c in studio.alphabet.chars}
    names = tuple(c.font.name for c in studio.coverages)
    right, shown = (np.zeros((len(names), len(strengths)), int) for _ in range(2))
    for s, strength in enumerate(strengths):
        # as many images of a character as fonts have it: one in each font
        rounds = max(1, -(-per_font // len(studio.alphabet)))
        quota = Quota(0, {c: n * rounds for c, n in counts.items()}, 0, {})
        style = studio.style.weakened(strength)
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


@dataclass(frozen=True)
class Verdict:
    """Which fonts and strengths are read well enough to be used."""

    fonts: dict[str, bool]  # name -> read
    strengths: dict[float, bool]
    judged_at: float  # the strength at which the fonts were judged, one of those

    @classmethod
    def read(cls, path: Path) -> Verdict:
        """Of what `Rates.write` wrote. Raises InputError for any other file."""
        try:
            text = json.loads(path.read_text("utf-8"))
            fonts = {str(name): row["read"] for name, row in text["fonts"].items()}
            strengths = {float(s): row["read"] for s, row in text["strengths"].items()}
            judged_at = float(text["fonts_judged_at"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            line = " ".join(str(error).split())
            raise InputError(f"{path}: not what check_fonts.py --out writes ({line})") from None
        answered = all(isinstance(a, bool) for a in (*fonts.values(), *strengths.values()))
        if not answered or not np.isfinite([*strengths]).all() or judged_at not in strengths:
            raise InputError(f"{path}: not what check_fonts.py --out writes")
        return cls(fonts, strengths, judged_at)

    @property
    def unread(self) -> list[str]:
        """Names of the fonts that are not read."""
        return [name for name, read in self.fonts.items() if not read]

    def strength(self, wanted: float) -> float:
        """The wanted one, where it is read; else the one nearest to it that is read, the weaker of
        two. Raises InputError where none is, and where the fonts were judged at another one."""
        if wanted != self.judged_at:
            raise InputError(
                f"the fonts were judged at strength {self.judged_at:g}, wanted is {wanted:g}: "
                f"check_fonts.py --strength {wanted:g} judges them at that"
            )

        def near(strength: float) -> tuple[float, float]:
            return abs(strength - wanted), strength

        read = [s for s, is_read in self.strengths.items() if is_read]
        if not read:
            raise InputError("no strength of the deformation is read: nothing to render with")
        return wanted if self.strengths[wanted] else min(read, key=near)
