"""Rendered glyphs for the GAN: the content it bends, and references for its discriminator."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from synth.plan import Plan, make_plan
from synth.quota import Quota
from synth.render import clean_range, render_places
from synth.studio import Studio


@dataclass(frozen=True)
class Glyphs:
    """Pictures of characters and what each shows."""

    images: np.ndarray  # [N, H, W] uint8
    char: np.ndarray  # [N] int64 into `chars`
    chars: tuple[str, ...]
    font: np.ndarray | None = None  # [N] int64: number of each one's font; None: not known

    def rows_of(self) -> list[np.ndarray]:
        """For each character, the rows that show it."""
        order = np.argsort(self.char, kind="stable")
        bounds = np.searchsorted(self.char[order], np.arange(len(self.chars) + 1))
        return [order[a:b] for a, b in itertools.pairwise(bounds)]


def content_plan(plan: Plan, strength: float) -> Plan:
    """The same characters and fonts, bent less: the generator does the rest."""
    return replace(plan, style=plan.style.scaled(strength))


def known_plan(studio: Studio, per_char: int, seed: int, strength: float) -> Plan:
    """`per_char` glyphs of each known character, fonts dealt out evenly."""
    quota = Quota(0, dict.fromkeys(studio.alphabet.chars, per_char), 0, {})
    style = studio.style.scaled(strength)
    return make_plan(studio.alphabet, studio.coverages, {}, quota, style, studio.canvas, seed)


def clean_glyphs(plan: Plan) -> Glyphs:
    """Bent and inked by the pen; grain, blur and noise are left to the generator."""
    chunks = [
        clean_range(plan, np.arange(i, min(i + 512, len(plan)))) for i in range(0, len(plan), 512)
    ]
    char, font = plan.char.astype(np.int64), plan.font.astype(np.int64)
    return Glyphs(np.concatenate(chunks), char, plan.chars, font)


def written_glyphs(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """[n] places of the plan -> [n, H, W] uint8 as `render_fonts.py` writes them, with paper."""
    return np.concatenate(
        [render_places(plan, rows[i : i + 512])[0] for i in range(0, len(rows), 512)]
    )
