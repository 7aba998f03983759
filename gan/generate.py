"""A finished GAN run -> a store: glyphs in, checked handwriting out.

Nothing may train a classifier unseen: an image is kept only where it passes the checks of
`gan.checks`. What is refused is drawn again from another glyph and style, a few times, and counted
by character and reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan.checks import KEEP_FROM, NEAR_SHARE, REASONS, SKELETON_SHARE, Checks
from gan.glyphs import content_plan
from gan.memorised import COPY_BELOW, Neighbours
from gan.train import GanRun, device, fast_precision
from synth import chance
from synth.canvas import place, to_uint8
from synth.command import progress
from synth.paper import restretch
from synth.render import Plan, clean_range
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio

BATCH = 256
TRIES = 3  # glyphs and styles tried for one place
_APART = 1_000_003  # from the seed of the hands that the renderer of font images has
LEAST_TRIED = 5  # images of a character, before it is said that most are refused
_NOISE = 62


@dataclass(frozen=True)
class Tally:
    """How many images were tried and refused."""

    tried: Counter[str] = field(default_factory=Counter)  # by character
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # by character and reason

    def add(self, chars: np.ndarray, failed: np.ndarray) -> None:
        """[n] characters, [n] indices into REASONS or -1."""
        for char, reason in zip(chars.tolist(), failed.tolist(), strict=True):
            self.tried[char] += 1
            if reason >= 0:
                self.refused[char, REASONS[reason]] += 1

    def by_reason(self) -> dict[str, int]:
        return {r: sum(n for (_, why), n in self.refused.items() if why == r) for r in REASONS}

    def by_char(self) -> dict[str, dict[str, int]]:
        """Characters with refused images, the worst first: tried, and refused by reason."""
        rows = {
            c: {"tried": self.tried[c]}
            | {r: self.refused[c, r] for r in REASONS if self.refused[c, r]}
            for c in sorted({c for c, _ in self.refused})
        }
        return dict(sorted(rows.items(), key=lambda item: -self._share(item[0])))

    def mostly_refused(self) -> dict[str, str]:
        """Characters of which more than half was refused, and the commonest reason."""
        return {
            c: max(REASONS, key=lambda r: row.get(r, 0))
            for c, row in self.by_char().items()
            if row["tried"] >= LEAST_TRIED and self._share(c) > 0.5
        }

    def _share(self, char: str) -> float:
        return sum(self.refused[char, r] for r in REASONS) / self.tried[char]

    def summary(self) -> str:
        reasons = ", ".join(f"{r} {n:,}" for r, n in self.by_reason().items())
        lines = [
            f"generated: {sum(self.tried.values()):,} tried, "
            f"{sum(self.refused.values()):,} refused ({reasons})"
        ]
        if poor := self.mostly_refused():
            some = ", ".join(f"{c} ({why})" for c, why in list(poor.items())[:20])
            more = " ..." if len(poor) > 20 else ""
            lines.append(f"most images refused for {len(poor)} characters: {some}{more}")
        return "\n".join(lines)


def generate(
    run: GanRun,
    studio: Studio,  # its plan says how many of what
    out: Path,
    seed: int,
    made: dict[str, Any],
    real: Store | None = None,  # its training images, or None: those that the run has kept
    keep_refused: bool = False,  # and only count them: to see what the checks are worth
) -> Store:
    """The plan's characters (not its non-characters) in this data's handwriting.

    With `real`, the run keeps its training images, shrunk, so that further images of the finished
    run can be compared with them.
    """
    plan = _other_fonts(run.within_reach(studio.plan))
    whole = plan.whole
    neighbours = _neighbours(run, real)
    checks = Checks.prepare(
        run.recogniser, run.recogniser_chars, plan, neighbours, device(), fast_precision()
    )
    tally = Tally()
    notes: dict[str, Any] = {
        "run": str(run.path),
        "keep_from": KEEP_FROM,
        "near_share": NEAR_SHARE,
        "skeleton_px": SKELETON_SHARE * plan.canvas.size_px,
        "copy_below": None if neighbours is None else COPY_BELOW,
        "keep_refused": keep_refused,
    }
    with (
        StoreWriter(out, studio.canvas, studio.alphabet, made, notes) as writer,
        progress(int(whole.sum()), "image", "generate") as bar,
    ):
        for images, samples, done in _checked(
            run, plan, np.flatnonzero(whole), seed, checks, tally, keep_refused
        ):
            if len(samples):
                writer.append(images, samples)
            bar.update(done)
            bar.set_postfix(refused=sum(tally.refused.values()), refresh=False)
        notes["tried"] = sum(tally.tried.values())
        notes["refused"] = tally.by_reason()
        notes["refused_by_char"] = tally.by_char()
        notes["mostly_refused"] = tally.mostly_refused()
    print(tally.summary())
    return Store.open(out)


def _neighbours(run: GanRun, real: Store | None) -> Neighbours | None:
    path = run.path / "neighbours.npz"
    if path.is_file():
        return Neighbours.load(path)
    if real is None:
        print(f"not checked for copies of training images: {path.name} is not in {run.path}")
        return None
    neighbours = Neighbours.of_store(real)
    neighbours.save(path)
    return neighbours


def _checked(
    run: GanRun,
    plan: Plan,
    places: np.ndarray,
    seed: int,
    checks: Checks,
    tally: Tally,
    keep_refused: bool,
) -> Iterator[tuple[np.ndarray, list[Sample], int]]:
    where = device()
    generator = run.generator.to(where).to(memory_format=torch.channels_last)
    for start in range(0, len(places), BATCH):
        at = places[start : start + BATCH]
        images = np.zeros((len(at), plan.canvas.size_px, plan.canvas.size_px), np.uint8)
        score = np.full(len(at), np.nan, np.float32)
        kept = np.zeros(len(at), bool)
        attempt = np.zeros(len(at), int)
        for turn in range(TRIES):
            left = np.flatnonzero(~kept)
            if not len(left):
                break
            # another turn is another glyph: the same character and font in another hand
            content = replace(
                content_plan(plan, run.config.content_strength), seed=seed + _APART + turn
            )
            glyphs = clean_range(content, at[left])
            chars = [plan.chars[c] for c in plan.char[at[left]]]
            made = inked(generator, glyphs, chars, at[left], seed + turn, run, where)
            failed, p = checks.ask(made, glyphs, plan.char[at[left]])
            good = (failed < 0) | keep_refused
            images[left[good]], attempt[left] = made[good], turn
            score[left[good]] = p[good]
            kept[left[good]] = True
            tally.add(checks.chars[plan.char[at[left]]], failed)
        samples = [
            Sample(
                label=plan.label[i],
                char=plan.chars[plan.char[i]],
                source="gan",
                split=plan.split[i],
                kind=plan.kind[i],
                origin=f"{run.path.name}/generator.safetensors:"
                f"{plan.fonts[plan.font[i]].name}:{plan.chars[plan.char[i]]}",
                record=f'{{"place": {i}, "turn": {attempt[j]}}}',
                seed=seed,
                score=float(score[j]),
            )
            for j, i in enumerate(at)
            if kept[j]
        ]
        yield images[kept], samples, len(at)


def _other_fonts(plan: Plan) -> Plan:
    """The same characters, each in the font half of its fonts further on.

    Font images of the same seed show the same places. In their fonts and hands a generated image
    would be a second print of a rendered one, and the two stores together no more than one.
    """
    if plan.usable is None:
        return plan
    able = plan.usable.sum(0)  # [C] fonts of each character
    order = np.argsort(~plan.usable, axis=0, kind="stable")  # [F, C] its fonts first
    rank = np.cumsum(plan.usable, axis=0) - 1  # [F, C] place among them
    at = (rank[plan.font, plan.char] + able[plan.char] // 2) % able[plan.char]
    return replace(plan, font=order[at, plan.char].astype(plan.font.dtype))


@torch.no_grad()
def inked(
    generator: torch.nn.Module,
    glyphs: np.ndarray,  # [n, H, W] uint8
    chars: Sequence[str],  # what they show
    number: np.ndarray,  # [n] int64: seeds the style and the grain of each
    seed: int,
    run: GanRun,
    where: torch.device,
) -> np.ndarray:
    """-> [n, H, W] uint8, in the canvas's box at full ink, like every image of a store."""
    style = run.styles(number, seed)
    noise = chance.normal(seed, _NOISE, number, glyphs[0].size).astype(np.float32)
    precision = fast_precision()
    with torch.autocast(where.type, precision, enabled=precision != torch.float32):
        made = generator(
            run.contents(glyphs, chars).to(where),
            torch.from_numpy(style).to(where),
            torch.from_numpy(noise).view(len(glyphs), 1, *glyphs.shape[1:]).to(where),
        )
    images = restretch(to_uint8(made[:, 0].float().cpu().numpy()).astype(np.float32))
    # the generator may move and stretch a character; an imported one stands in its box
    return np.stack([place(image, run.canvas) for image in images])
