"""A GAN run from a real store to a finished generator: glyphs, recogniser, training."""

from __future__ import annotations

import io
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gan.config import PRESETS, GanConfig
from gan.data import PairLoader
from gan.glyphs import Glyphs, clean_glyphs, known_plan, written_glyphs
from gan.networks import BendingGenerator, Recogniser
from gan.recogniser import Trained, train_recogniser
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.files import has_checkpoint, write_text, write_whole
from synth.handwriting import Style
from synth.runs import keep_settings
from synth.store import Store, lock_output
from synth.studio import Studio

CONTENT_PER_CHAR, REFERENCE_PER_CHAR = 40, 16
_GRID_GLYPHS = 16


def preset(name: str | None) -> tuple[str, GanConfig]:
    """The named preset, or the one for this machine, in its fastest precision."""
    chosen = name or ("large" if torch.cuda.is_available() else "small")
    if chosen not in PRESETS:
        raise InputError(f"--preset {chosen!r}: there are {', '.join(PRESETS)}")
    fast = fast_precision() == torch.bfloat16
    return chosen, replace(PRESETS[chosen], precision="bf16-mixed" if fast else "32-true")


def check_config(config: GanConfig, seed: int) -> None:
    """Raises InputError for numbers that no run could end with."""
    for name, value, least in (
        ("--steps", config.steps, 1),
        ("--batch-size", config.batch_size, 2),
        ("--recogniser-steps", config.recogniser_steps, 4),
        ("--seed", seed, 0),
    ):
        if value < least:
            raise InputError(f"{name} {value}: must be at least {least}")


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_precision() -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    if torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


@dataclass(frozen=True)
class GanRun:
    """A finished run: all that generating needs. Loading it executes no code from it."""

    path: Path
    config: GanConfig
    canvas: Canvas
    alphabet: Alphabet
    style: Style  # of the real data, for the glyphs in front of the generator
    generator: BendingGenerator
    recogniser: Recogniser
    recogniser_chars: tuple[str, ...]  # what its classes are

    @classmethod
    def open(cls, path: Path) -> GanRun:
        """Raises InputError for a folder that is no finished run."""
        if not (path / "generator.json").is_file():
            raise InputError(f"{path}: no finished GAN run (no generator.json in it)")
        try:
            info = json.loads((path / "generator.json").read_text(encoding="utf-8"))
            config = GanConfig(**{**info["config"], "betas": tuple(info["config"]["betas"])})
            pen = tuple(info["style"]["stroke_px"])
            style = Style(**{**info["style"], "stroke_px": pen})
            generator = BendingGenerator(config.style_dim, config.width)
            generator.load_state_dict(load_file(path / "generator.safetensors"))
            chars = tuple(info["recogniser_chars"])
            recogniser = Recogniser(len(chars))
            recogniser.load_state_dict(load_file(path / "recogniser.safetensors"))
            return cls(
                path,
                config,
                Canvas(**info["canvas"]),
                Alphabet(tuple(info["alphabet"])),
                style,
                generator.eval(),
                recogniser.eval(),
                chars,
            )
        except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: damaged GAN run ({line})") from None


def real_of_known(real: Store, studio: Studio) -> tuple[np.ndarray, np.ndarray]:
    """The training images of characters that fonts have: [n, H, W] uint8, and [n] class numbers.

    Only split "train" is ever read here: validation and test images do not reach a generator.
    """
    index = {c: i for i, c in enumerate(studio.alphabet.chars)}
    labels = real.column("label")
    rows = np.array([r for r in real.rows("train") if labels[r] != OTHER], np.int64)
    if len(rows) == 0:
        raise InputError(f"{real.path}: no training image of a known character in it")
    return np.asarray(real.images[rows]), np.array([index[labels[r]] for r in rows], np.int64)


def train(
    real: Store,
    out: Path,
    config: GanConfig,
    font_folders: list[Path],
    seed: int,
    made: dict[str, Any],
) -> tuple[GanRun, Studio]:
    """Goes on where an unfinished run stopped; a finished one is only opened.

    Writes into `out`: config.yaml, recogniser.safetensors, checkpoints/, grids/, metrics.jsonl and,
    at the end, generator.safetensors and generator.json.
    """
    check_config(config, seed)
    studio = Studio.prepare(real.alphabet, real, font_folders, seed=seed)
    images, classes = real_of_known(real, studio)
    start = {
        "seed": seed,
        "alphabet": real.alphabet.digest,
        "real": real.content,
        "fonts": [c.font.name for c in studio.coverages],
    }
    lock = lock_output(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        settings = {"arguments": made, "gan": asdict(config), "start": start}
        keep_settings(out, settings, ("gan", "start"))
        if (out / "generator.json").is_file():
            print(f"{out}: its training is finished")
            return GanRun.open(out), studio
        chars = studio.plan.chars
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
        _fit(out, config, images[trusted], classes[trusted], content, reference, recogniser, seed)
        info = {
            "config": asdict(config),
            "canvas": asdict(studio.canvas),
            "style": asdict(studio.style),
            "alphabet": list(real.alphabet.chars),
            "recogniser_chars": list(chars),
            "made": made,
        }
        write_text(out / "generator.json", json.dumps(info, ensure_ascii=False, indent=1))
        return GanRun.open(out), studio
    finally:
        lock.release()


def _recogniser(
    out: Path, studio: Studio, images: np.ndarray, classes: np.ndarray, config: GanConfig, seed: int
) -> Trained:
    """Trained, or read back from the run."""
    chars = studio.plan.chars
    number = {c: i for i, c in enumerate(chars)}
    # the alphabet's characters stand first in the plan, in order
    known = np.array([number[c] for c in studio.alphabet.chars], np.int64)
    weights, labels = out / "recogniser.safetensors", out / "trusted.npy"
    if weights.is_file() and labels.is_file():
        network = Recogniser(len(chars))
        network.load_state_dict(load_file(weights))
        return Trained(network.eval(), np.load(labels, allow_pickle=False))
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
    )
    write_whole(weights, save(_on_cpu(trained.network)))
    buffer = io.BytesIO()
    np.save(buffer, trained.given)
    write_whole(labels, buffer.getvalue())  # last: both are there when this one is
    return replace(trained, network=trained.network.cpu())


def _fit(
    out: Path,
    config: GanConfig,
    real: np.ndarray,
    real_char: np.ndarray,
    content: Glyphs,
    reference: Glyphs,
    recogniser: Trained,
    seed: int,
) -> None:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import TensorBoardLogger

    from gan.lit import CheckedCheckpoints, GanModule, Keeper
    from gan.progress import Metrics, Progress

    module = GanModule(config, real.shape[1], recogniser.network, seed)
    loader = PairLoader(real, real_char, content, reference, config.batch_size, config.steps, seed)
    last = out / "checkpoints" / "last.ckpt"
    resume = last if has_checkpoint(last) else None
    if resume:
        data = CheckedCheckpoints().load_checkpoint(resume)
        loader.start_step = int(data["steps_done"])
        print(f"{out}: going on at step {loader.start_step} of {config.steps}")
    picked = np.linspace(0, len(content.images) - 1, _GRID_GLYPHS).astype(int)
    fixed = torch.from_numpy(to_float(content.images[picked]))[:, None]
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips are no result
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=config.precision,
        max_epochs=1,
        max_steps=-1,
        plugins=[CheckedCheckpoints()],
        callbacks=[Keeper(out, config, fixed), Progress(config), Metrics(out / "metrics.jsonl")],
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
    )
    started = time.monotonic()
    try:
        trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if module.steps_done < config.steps:
        raise RuntimeError(f"{out}: stopped at step {module.steps_done} of {config.steps}")
    print(f"GAN: {config.steps} steps in {time.monotonic() - started:.0f} s")
    write_whole(out / "generator.safetensors", save(_on_cpu(module.average)))


def _on_cpu(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
