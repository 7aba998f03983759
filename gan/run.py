"""A finished GAN run, opened: all that generating needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gan.config import GanConfig
from gan.networks import Generator, Recogniser
from gan.saved import damage_named, read_array
from synth import chance
from synth.alphabet import Alphabet
from synth.canvas import Canvas, to_float
from synth.errors import InputError
from synth.files import sha256_of
from synth.handwriting import Style
from synth.plan import Plan

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
    style_rows: np.ndarray | None = None  # [n] int64: rows of the real store they were read off
    digest: str = ""  # 12 hex digits of generator.safetensors' sha256
    real: str = ""  # content of the real store it was trained on, "" where the run does not say
    font_folders: tuple[Path, ...] = ()  # that it was trained with, besides the project's fonts
    without: tuple[str, ...] = ()  # names of fonts that it was trained without
    seed: int | None = None  # of its training and its own samples

    @classmethod
    def open(cls, path: Path) -> GanRun:
        """Raises InputError for a folder that is no finished run, or a damaged one."""
        if not (path / "generator.json").is_file():
            raise InputError(f"{path}: no finished GAN run (no generator.json in it)")
        with damage_named(f"{path}: damaged GAN run"):
            info = json.loads((path / "generator.json").read_text(encoding="utf-8"))
            config = GanConfig(**{**info["config"], "betas": tuple(info["config"]["betas"])})
            pen = tuple(info["style"]["stroke_px"])
            style = Style(**{**info["style"], "stroke_px": pen})
            canvas, alphabet = Canvas(**info["canvas"]), Alphabet(tuple(info["alphabet"]))
            generator = Generator(config, canvas.size_px, len(alphabet.chars))
            chars = tuple(info["recogniser_chars"])
            recogniser = Recogniser(len(chars))
            read_weights(generator, path / "generator.safetensors")
            read_weights(recogniser, path / "recogniser.safetensors")
            return cls(
                path,
                config,
                canvas,
                alphabet,
                style,
                generator.eval(),
                recogniser.eval(),
                chars,
                _drawable(info, alphabet),
                *_read_styles(path, config),
                sha256_of(path / "generator.safetensors")[:12],
                info.get("real", ""),
                tuple(Path(p) for p in info.get("font_folders", ())),
                tuple(info.get("without", ())),
                info.get("made", {}).get("seed"),
            )

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
        mean, spread = self.read_styles[self._picked(number, seed)].swapaxes(0, 1)
        return mean + spread * noise

    def style_images(self, number: np.ndarray, seed: int) -> np.ndarray | None:
        """Sample numbers [n] -> [n] int64 rows of the real store: the images that `styles` reads
        the styles off. None where styles are noise, or the run does not say. Pure."""
        if self.style_rows is None:
            return None
        return self.style_rows[self._picked(number, seed)]

    def _picked(self, number: np.ndarray, seed: int) -> np.ndarray:
        assert self.read_styles is not None
        u = chance.uniform(seed, _READ, number, 1)[:, 0]
        return (u * len(self.read_styles)).astype(int)


def read_weights(network: nn.Module, path: Path) -> None:
    """Raises one of `gan.saved.DAMAGE` for a file that does not hold this network's weights."""
    network.load_state_dict(load_file(path))
    for name, weight in network.state_dict().items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{path.name}: {name} is not finite")


def _drawable(info: dict[str, Any], alphabet: Alphabet) -> dict[str, int] | None:
    if info.get("drawable") is None:
        return None
    number = {c: i for i, c in enumerate(alphabet.chars)}
    return {c: number[c] for c in info["drawable"]}


def _read_styles(path: Path, config: GanConfig) -> tuple[np.ndarray | None, np.ndarray | None]:
    """[n, 2, S] styles and the [n] rows they were read off, as the run keeps them."""
    if config.style != "image":
        return None, None
    styles = read_array(path / "styles.npy", (None, 2, config.style_dim), np.float32)
    if not (path / "style_rows.npy").is_file():  # a run of an earlier version
        return styles, None
    return styles, read_array(path / "style_rows.npy", (len(styles),), np.int64)
