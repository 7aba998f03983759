"""A finished GAN run -> a store: glyphs in, checked handwriting out.

Nothing may train a classifier unseen: an image is kept only where a recogniser that the classifier
does not share gives its character a quarter of the probability or more. What is refused is drawn
again from another glyph and style, a few times, and counted. Characters that the recogniser does
not know cannot be checked: they are named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan.glyphs import content_plan
from gan.recogniser import probabilities
from gan.train import GanRun, device
from synth import chance
from synth.canvas import place, to_float, to_uint8
from synth.command import progress
from synth.paper import restretch
from synth.render import Plan, clean_range
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio

BATCH = 256
TRIES = 3  # glyphs and styles tried for one place
# A band, not only the most certain: an image is kept from this probability on, so that hard but
# right images stay.
KEEP_FROM = 0.25
_STYLE, _NOISE = 61, 62


def generate(
    run: GanRun,
    studio: Studio,  # its plan says how many of what
    out: Path,
    seed: int,
    made: dict[str, Any],
) -> Store:
    """The plan's characters (not its non-characters) in this data's handwriting."""
    plan = studio.plan
    whole = plan.whole
    notes: dict[str, Any] = {"run": str(run.path), "keep_from": KEEP_FROM}
    refused: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    with (
        StoreWriter(out, studio.canvas, studio.alphabet, made, notes) as writer,
        progress(int(whole.sum()), "image", "generate") as bar,
    ):
        for images, samples, done in _checked(
            run, plan, np.flatnonzero(whole), seed, refused, tried
        ):
            if len(samples):
                writer.append(images, samples)
            bar.update(done)
            bar.set_postfix(refused=sum(refused.values()), refresh=False)
        notes["tried"] = sum(tried.values())
        notes["refused"] = sum(refused.values())
        notes["unchecked"] = sorted(
            {plan.chars[c] for c in plan.char[whole]} - set(run.recogniser_chars)
        )
        notes["refused_by_char"] = {c: [n, tried[c]] for c, n in refused.most_common()}
    poor = [c for c, n in refused.items() if n > tried[c] / 2 and tried[c] >= 5]
    if unchecked := notes["unchecked"]:
        print(
            f"not checked: the run's recogniser does not know {len(unchecked)} characters: "
            f"{''.join(unchecked)[:60]}"
        )
    print(
        f"generated: {sum(tried.values())} tried, {sum(refused.values())} refused by the recogniser"
    )
    if poor:
        print(f"most images refused for {len(poor)} characters: {''.join(sorted(poor))[:60]}")
    return Store.open(out)


def _checked(
    run: GanRun,
    plan: Plan,
    places: np.ndarray,
    seed: int,
    refused: Counter[str],
    tried: Counter[str],
) -> Iterator[tuple[np.ndarray, list[Sample], int]]:
    where = device()
    generator, recogniser = run.generator.to(where), run.recogniser.to(where)
    number = {c: i for i, c in enumerate(run.recogniser_chars)}
    known = np.array([number.get(c, -1) for c in plan.chars])
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
            content = replace(content_plan(plan, run.config.content_strength), seed=seed + turn)
            made = inked(
                generator, clean_range(content, at[left]), at[left], seed + turn, run, where
            )
            wanted = known[plan.char[at[left]]]
            p = probabilities(recogniser, made, np.maximum(wanted, 0), where)
            # a character that the recogniser does not know cannot be checked, and is said to be so
            good = (p >= KEEP_FROM) | (wanted < 0)
            images[left[good]], attempt[left] = made[good], turn
            score[left[good]] = np.where(wanted[good] < 0, np.nan, p[good])
            kept[left[good]] = True
            for c in plan.char[at[left]]:
                tried[plan.chars[c]] += 1
            for c in plan.char[at[left[~good]]]:
                refused[plan.chars[c]] += 1
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


@torch.no_grad()
def inked(
    generator: torch.nn.Module,
    glyphs: np.ndarray,  # [n, H, W] uint8
    number: np.ndarray,  # [n] int64: seeds the style and the grain of each
    seed: int,
    run: GanRun,
    where: torch.device,
) -> np.ndarray:
    """-> [n, H, W] uint8, in the canvas's box at full ink, like every image of a store."""
    style = chance.normal(seed, _STYLE, number, run.config.style_dim).astype(np.float32)
    noise = chance.normal(seed, _NOISE, number, glyphs[0].size).astype(np.float32)
    x = torch.from_numpy(to_float(glyphs))[:, None].to(where)
    made = generator(
        x, torch.from_numpy(style).to(where), torch.from_numpy(noise).view_as(x).to(where)
    )
    images = restretch(to_uint8(made[:, 0].float().cpu().numpy()).astype(np.float32))
    # the generator may move and stretch a character; an imported one stands in its box
    return np.stack([place(image, run.canvas) for image in images])
