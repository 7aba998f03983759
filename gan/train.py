"""A GAN run from a real store to a finished generator: glyphs, recogniser, training."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from gan.config import PRESETS, GanConfig
from gan.fit import fit, on_cpu
from gan.generators import GENERATORS
from gan.glyphs import clean_glyphs, known_plan, written_glyphs
from gan.networks import Recogniser
from gan.processes import rank, wait_for_first, world
from gan.recogniser import Trained, train_recogniser
from gan.run import GanRun, read_weights
from gan.saved import DAMAGE, read_array
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.files import sha256_of, write_text, write_whole
from synth.learning import fitting_preset, gains_by_bfloat16
from synth.runs import keep_settings
from synth.store import Store, lock_output
from synth.studio import Studio

CONTENT_PER_CHAR, REFERENCE_PER_CHAR = 40, 16
METHOD = 2  # of the generator: an unfinished run of another is no beginning of this one
STRENGTH = 1.0  # of the deformation, where no other is asked for
_CHECKPOINT = Path("checkpoints") / "recogniser.ckpt"  # while it trains


def preset(name: str | None) -> tuple[str, GanConfig]:
    """The named preset, or the one for this machine, in its fastest precision."""
    chosen = name or fitting_preset()
    if chosen not in PRESETS:
        raise InputError(f"--preset {chosen!r}: there are {', '.join(PRESETS)}")
    fast = fast_precision() == torch.bfloat16
    return chosen, replace(PRESETS[chosen], precision="bf16-mixed" if fast else "32-true")


def check_config(config: GanConfig, seed: int, processes: int = 1) -> None:
    """Raises InputError for what no run could end with."""
    for name, choice, choices in (
        ("--generator", config.generator, GENERATORS),
        ("--condition", config.condition, ("glyph", "class")),
        ("--style", config.style, ("noise", "image")),
    ):
        if choice not in choices:
            raise InputError(f"{name} {choice!r}: there are {', '.join(choices)}")
    for name, value, least in (
        ("--steps", config.steps, 1),
        ("--batch-size", config.batch_size, 2),
        ("--recogniser-steps", config.recogniser_steps, 4),
        ("--seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"{name} {value}: must be at least {least}")
    if config.batch_size % processes or config.batch_size < 2 * processes:
        raise InputError(
            f"--batch-size {config.batch_size}: {processes} processes share it, so it must be a "
            f"multiple of {processes}, two each at least"
        )


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_precision() -> torch.dtype:
    """bfloat16 where this machine gains by it, else float32."""
    return torch.bfloat16 if gains_by_bfloat16() else torch.float32


def real_of_known(real: Store, studio: Studio) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training images of characters that fonts have: [n, H, W] uint8, [n] class numbers, [n]
    their rows in the store.

    Only split "train" is ever read here: validation and test images do not reach a generator.
    """
    index = {c: i for i, c in enumerate(studio.alphabet.chars)}
    labels = real.column("label")
    rows = np.array([r for r in real.rows("train") if labels[r] != OTHER], np.int64)
    if len(rows) == 0:
        raise InputError(f"{real.path}: no training image of a known character in it")
    classes = np.array([index[labels[r]] for r in rows], np.int64)
    return real.take(rows), classes, rows


def train(
    real: Store,
    out: Path,
    config: GanConfig,
    font_folders: list[Path],
    seed: int,
    made: dict[str, Any],
    devices: int = 1,  # processes that share each batch, where torchrun started none
    compiled: bool = False,
    without: Sequence[str] = (),  # names of fonts to leave out
    strength: float = STRENGTH,  # of the deformation
) -> tuple[GanRun, Studio]:
    """Goes on where an unfinished run stopped; a finished one is only opened.

    Writes into `out`: config.yaml, recogniser.safetensors, checkpoints/, grids/, metrics.jsonl and,
    at the end, rates.json, generator.safetensors and generator.json. Every process but the first
    ends here, with SystemExit. Raises InputError, with nothing written, for what cannot be trained
    from.
    """
    check_config(config, seed, world(devices))
    # refuses training images that are copies of those to be measured on
    studio = Studio.prepare(
        real.alphabet, real, font_folders, strength=strength, seed=seed, without=without
    )
    images, classes, rows = real_of_known(real, studio)
    start = {
        "seed": seed,
        "alphabet": real.alphabet.digest,
        "real": real.content,
        "fonts": [c.font.name for c in studio.coverages],
        "strength": strength,
        "method": METHOD,
    }
    # by what they hold: a file may be replaced under its name
    files = {f"font {c.font.name}": sha256_of(c.font.path) for c in studio.coverages}
    first = rank() == 0
    lock = lock_output(out) if first else None
    try:
        if first:
            if out.exists():  # by its table the store is as it was; by its pixels too?
                real.require_unchanged()
            out.mkdir(parents=True, exist_ok=True)
            settings = {"arguments": made, "gan": asdict(config), "start": start | files}
            keep_settings(out, settings, ("gan", "start"))
        if (out / "generator.json").is_file():
            if not first:
                raise SystemExit(0)
            print(f"{out}: its training is finished")
            return GanRun.open(out), studio
        chars = studio.plan.chars
        if first:
            recogniser = _recogniser(out, studio, images, classes, config, seed)
            for name in (_CHECKPOINT.name, f"{_CHECKPOINT.name}.previous"):
                (out / _CHECKPOINT).with_name(name).unlink(missing_ok=True)
        wait_for_first()
        if not first:  # reads what the first one has written
            recogniser = _recogniser(out, studio, images, classes, config, seed)
        trusted = recogniser.trusted
        print(
            f"recogniser: trusts {trusted.sum()} of {len(trusted)} real labels "
            f"(mean probability of those {recogniser.given[trusted].mean():.2f})",
            flush=True,
        )
        content = clean_glyphs(
            known_plan(studio, CONTENT_PER_CHAR, seed + 1, config.content_strength)
        )
        reference = clean_glyphs(known_plan(studio, REFERENCE_PER_CHAR, seed + 2, 0.3))
        fit(
            out,
            config,
            images[trusted],
            classes[trusted],
            content,
            reference,
            recogniser,
            seed,
            devices,
            compiled,
        )
        if not first:
            raise SystemExit(0)
        if config.style == "image":
            _save_array(out / "style_rows.npy", rows[trusted])
        drawn = [real.alphabet.chars[i] for i in np.unique(classes[trusted])]
        info = {
            "config": asdict(config),
            "canvas": asdict(studio.canvas),
            "style": asdict(studio.style),
            "alphabet": list(real.alphabet.chars),
            "recogniser_chars": list(chars),
            "drawable": drawn if config.condition == "class" else None,
            "real": real.content,
            "font_folders": [str(p.resolve()) for p in font_folders],
            "without": list(without),
            "made": made,
        }
        write_text(out / "generator.json", json.dumps(info, ensure_ascii=False, indent=1))
        return GanRun.open(out), studio
    finally:
        if lock:
            lock.release()


def _recogniser(
    out: Path, studio: Studio, images: np.ndarray, classes: np.ndarray, config: GanConfig, seed: int
) -> Trained:
    """Trained, or read back from the run."""
    chars = studio.plan.chars
    kept = _kept_recogniser(out, len(chars), len(images))
    if kept is not None:
        return kept
    number = {c: i for i, c in enumerate(chars)}
    # the alphabet's characters stand first in the plan, in order
    known = np.array([number[c] for c in studio.alphabet.chars], np.int64)
    plan = studio.plan
    whole = np.flatnonzero(plan.whole)
    trained = train_recogniser(
        real=images,
        real_class=known[classes],
        font=written_glyphs(plan, whole),
        font_class=plan.char[whole].astype(np.int64),
        classes=len(chars),
        steps=config.recogniser_steps,
        batch_size=config.recogniser_batch,
        seed=seed,
        device=device(),
        precision=fast_precision(),
        checkpoint=out / _CHECKPOINT,
        checkpoint_every=config.checkpoint_every,
    )
    write_whole(out / "recogniser.safetensors", save(on_cpu(trained.network)))
    _save_array(out / "trusted.npy", trained.given)  # last: both are there when this one is
    return replace(trained, network=trained.network.cpu())


def _kept_recogniser(out: Path, classes: int, images: int) -> Trained | None:
    """The one that an earlier start of this run has trained. A damaged one is trained anew: with
    the same seed on the same machine it becomes the same."""
    weights, labels = out / "recogniser.safetensors", out / "trusted.npy"
    if not (weights.is_file() and labels.is_file()):
        return None
    network = Recogniser(classes)
    try:
        read_weights(network, weights)
        return Trained(network.eval(), read_array(labels, (images,), np.float32))
    except (OSError, MemoryError):
        raise  # of this machine, now: nothing is wrong with the file
    except DAMAGE as error:
        line = " ".join(str(error).split())[:200]
        print(f"{out}: its recogniser is damaged ({line}) and is trained anew", flush=True)
        return None


def _save_array(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_whole(path, buffer.getvalue())
