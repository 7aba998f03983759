"""A finished GAN run, opened: all that generating needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gan.config import GanConfig
from gan.networks import Generator, Recogniser
from synth import chance
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.handwriting import Style
from synth.render import Plan

_STYLE, _READ = 61, 63  # streams of `synth.chance`


@dataclass(frozen=True)
class GanRun:
    """Loading it executes no code from it."""

    path: Path
    config: GanConfig
    canvas: Canvas
    alphabet: Alphabet
    style: Style  # of the real data, for the glyphs in front of the generator
    generator: Generator
    recogniser: Recogniser
    recogniser_chars: tuple[str, ...]  # what its classes are
    drawable: dict[str, int] | None = None  # character -> class number; None: all that fonts have
    read_styles: np.ndarray | None = None  # [n, 2, S] float32, see `gan.fit`; None: noise only

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
            canvas, alphabet = Canvas(**info["canvas"]), Alphabet(tuple(info["alphabet"]))
            generator = Generator(config, canvas.size_px, len(alphabet.chars))
            generator.load_state_dict(load_file(path / "generator.safetensors"))
            chars = tuple(info["recogniser_chars"])
            recogniser = Recogniser(len(chars))
            recogniser.load_state_dict(load_file(path / "recogniser.safetensors"))
            drawable = info.get("drawable")
            number = {c: i for i, c in enumerate(alphabet.chars)}
            read = path / "styles.npy"
            return cls(
                path,
                config,
                canvas,
                alphabet,
                style,
                generator.eval(),
                recogniser.eval(),
                chars,
                None if drawable is None else {c: number[c] for c in drawable},
                np.load(read, allow_pickle=False) if config.style == "image" else None,
            )
        except (KeyError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: damaged GAN run ({line})") from None

    def contents(self, glyphs: np.ndarray, chars: Sequence[str]) -> Tensor:
        """[n, H, W] uint8 glyphs of n characters -> what the generator draws from: the glyphs
        [n, 1, H, W] -1..1, or class numbers [n] int64.

        Raises InputError naming the characters that a run of class numbers cannot draw.
        """
        if self.drawable is None:
            content = torch.from_numpy(to_float(glyphs))[:, None]
            return content.contiguous(memory_format=torch.channels_last)
        self.refuse_unknown(chars)
        return torch.tensor([self.drawable[c] for c in chars], dtype=torch.int64)

    def refuse_unknown(self, chars: Sequence[str]) -> None:
        """Raises InputError naming the characters that this run cannot draw."""
        if self.drawable is None:
            return
        lost = sorted(set(chars) - self.drawable.keys())
        if lost:
            more = f" and {len(lost) - 40} more" if len(lost) > 40 else ""
            raise InputError(
                f"{self.path}: trained with --condition class, it draws only the "
                f"{len(self.drawable)} characters it had images of; not {''.join(lost[:40])}{more}"
            )

    def within_reach(self, plan: Plan) -> Plan:
        """The places of the plan whose character this run can draw."""
        if self.drawable is None:
            return plan
        keep = np.array([plan.chars[c] in self.drawable for c in plan.char]) & plan.whole
        rows = {n: getattr(plan, n)[keep] for n in ("char", "partner", "font", "kind", "label")}
        return replace(plan, **rows, split=plan.split[keep])

    def styles(self, number: np.ndarray, seed: int) -> np.ndarray:
        """Sample numbers [n] -> styles [n, S] float32: noise, or read off a real image that the
        number picks, with as much noise as the encoder has doubt, as in training. Pure."""
        noise = chance.normal(seed, _STYLE, number, self.config.style_dim).astype(np.float32)
        if self.read_styles is None:
            return noise
        u = chance.uniform(seed, _READ, number, 1)[:, 0]
        mean, spread = self.read_styles[(u * len(self.read_styles)).astype(int)].swapaxes(0, 1)
        return mean + spread * noise
