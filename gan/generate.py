"""A finished GAN run -> a store: glyphs in, checked handwriting out.

Nothing may train a classifier unseen: an image is kept only where it passes the checks of
`gan.checks`. What is refused is drawn again from another glyph and style, a few times, and counted
by character and reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan.checks import KEEP_FROM, NEAR_SHARE, SKELETON_SHARE, Checks
from gan.fit import keep_rate
from gan.glyphs import content_plan
from gan.memorised import COPY_BELOW, Neighbours
from gan.tally import Tally
from gan.train import GanRun, device, fast_precision
from synth import chance
from synth.canvas import place, to_uint8
from synth.command import progress
from synth.errors import InputError
from synth.paper import restretch
from synth.plan import Plan
from synth.provenance import licences_of
from synth.render import clean_range
from synth.store import Sample, Store, StoreWriter
from synth.studio import Studio

BATCH = 256
SLACK_PX = 1  # a generated character may miss its box by
TRIES = 3  # glyphs and styles tried for one place
_NOISE, _TURN = 62, 64  # streams of `synth.chance`


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
    run can be compared with them. Beside the store's files stands rates.json, see `gan.fit`.
    """
    asked = _other_fonts(studio.plan)
    plan = run.within_reach(asked)
    whole = plan.whole
    asked_for = int(whole.sum())
    if not asked_for:
        raise InputError(
            f"{out}: nothing to generate: of the characters that {run.path} can draw no image is "
            "asked for (see --per-class)"
        )
    neighbours = _neighbours(run, real)
    checks = Checks.prepare(
        run.recogniser,
        run.recogniser_chars,
        asked,
        [coverage.font for coverage in studio.check.fonts],
        neighbours,
        device(),
        fast_precision(),
    )
    tally = Tally()
    notes: dict[str, Any] = {
        "run": str(run.path),
        "keep_from": KEEP_FROM,
        "near_share": NEAR_SHARE,
        "skeleton_px": SKELETON_SHARE * plan.canvas.size_px,
        "copy_below": None if neighbours is None else COPY_BELOW,
        "keep_refused": keep_refused,
        "generator": run.digest,
        "steps": run.config.steps,
        "trained_on": run.real,  # content of the real store
        "licences": licences_of(plan.fonts),
    }
    started = time.monotonic()
    with (
        StoreWriter(out, studio.canvas, studio.alphabet, made, notes) as writer,
        progress(asked_for, "image", "generate") as bar,
    ):
        for images, samples, done in _checked(
            run, plan, np.flatnonzero(whole), seed, checks, tally, keep_refused
        ):
            if len(samples):
                writer.append(images, samples)
            bar.update(done)
            bar.set_postfix(refused=sum(tally.refused.values()), refresh=False)
        notes["asked"] = asked_for
        notes["tried"] = sum(tally.tried.values())
        notes["refused"] = tally.by_reason()
        notes["refused_by_char"] = tally.by_char()
        notes["mostly_refused"] = tally.mostly_refused()
        notes["none_kept"] = tally.none_kept()
        # into the folder that has not its name yet: a finished store has its rate
        rate = keep_rate(writer.part, notes["tried"], time.monotonic() - started)
    print(tally.summary(asked_for))
    print(f"tried {rate}")
    return Store.open(out)


def _neighbours(run: GanRun, real: Store | None) -> Neighbours | None:
    path = run.path / "neighbours.npz"
    if path.is_file():
        try:
            return Neighbours.load(path)
        except InputError as error:
            if real is None:
                raise
            print(f"{error}: made anew from {real.path}")
    elif real is None:
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
    where, checkpoint = device(), checkpoint_of(run)
    generator = run.generator.to(where).to(memory_format=torch.channels_last)
    for start in range(0, len(places), BATCH):
        at = places[start : start + BATCH]
        images = np.zeros((len(at), plan.canvas.size_px, plan.canvas.size_px), np.uint8)
        score = np.full(len(at), np.nan, np.float32)
        kept = np.zeros(len(at), bool)
        attempt = np.zeros(len(at), int)
        style_row = np.full(len(at), -1)
        for turn in range(TRIES):
            left = np.flatnonzero(~kept)
            if not len(left):
                break
            # another turn is another glyph: the same character and font in another hand
            drawn_from = of_turn(seed, turn)
            content = replace(content_plan(plan, run.config.content_strength), seed=drawn_from)
            glyphs = clean_range(content, at[left])
            chars = [plan.chars[c] for c in plan.char[at[left]]]
            made = inked(generator, glyphs, chars, at[left], drawn_from, run, where)
            failed, p = checks.ask(made, glyphs, plan.char[at[left]])
            good = (failed < 0) | keep_refused
            images[left[good]], attempt[left] = made[good], turn
            score[left[good]] = p[good]
            if (rows := run.style_images(at[left], drawn_from)) is not None:
                style_row[left[good]] = rows[good]
            kept[left[good]] = True
            tally.add(checks.chars[plan.char[at[left]]], failed)
        samples = [
            Sample(
                label=plan.label[i],
                char=plan.chars[plan.char[i]],
                source="gan",
                split=plan.split[i],
                kind=plan.kind[i],
                origin=f"{checkpoint}:{plan.fonts[plan.font[i]].name}:{plan.chars[plan.char[i]]}",
                record=_record(int(i), int(attempt[j]), int(style_row[j])),
                seed=seed,
                score=float(score[j]),
            )
            for j, i in enumerate(at)
            if kept[j]
        ]
        yield images[kept], samples, len(at)


def of_turn(seed: int, turn: int) -> int:
    """The seed of a turn's hands, styles and grain. No sum, or one more turn of a seed would be the
    first one of the next seed; nor the seed itself, whose hands the font images have."""
    return int(chance.bits(seed, _TURN, np.array([turn]), 1)[0, 0] >> np.uint64(1))


def checkpoint_of(run: GanRun) -> str:
    """The generator's file as an image's origin names it. Colons separate what follows."""
    name = f"{run.path.name}/generator.safetensors".replace(":", "_")
    return f"{name}@{run.digest}" if run.digest else name


def _record(place: int, turn: int, style_row: int) -> str:
    """How one image was drawn: its place in the plan, the attempt, and the row of the real store
    that its style was read off, where it was."""
    read = {"style_row": style_row} if style_row >= 0 else {}
    return json.dumps({"place": place, "turn": turn} | read)


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
    """-> [n, H, W] uint8, in the canvas's box at full ink and blank around, like every image of a
    store; the longer extent may lack SLACK_PX."""
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
    # an imported character stands in its box; a generator that bends aims at it, a pen may miss it
    return np.stack([place(image, run.canvas, SLACK_PX) for image in images])
