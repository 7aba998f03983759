"""What a run shows while it trains: a bar with rate and time left, pictures, lines of JSON."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from gan.config import GanConfig
from gan.lit import GanModule
from synth.canvas import to_uint8
from synth.command import progress
from synth.files import write_whole
from synth.runs import MetricsFile

_SHOWN = ("d_loss", "g_loss", "read", "d_right")


class Progress(pl.Callback):
    def __init__(self, config: GanConfig) -> None:
        self.config = config

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, GanModule)
        done, per_step = module.steps_done, self.config.batch_size
        self.bar = progress(self.config.steps * per_step, "image", "GAN", done * per_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.bar.update(self.config.batch_size)
        values = trainer.callback_metrics
        self.bar.set_postfix(
            {k: f"{float(values[k]):.2f}" for k in _SHOWN if k in values}, refresh=False
        )

    def on_train_end(self, *_: Any) -> None:
        self.bar.close()

    def on_exception(self, *_: Any) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


class Metrics(pl.Callback):
    """metrics.jsonl: a line every 10 steps; r1 and r2 in it are those computed last."""

    def __init__(self, path: Path, every: int = 10) -> None:
        self.file, self.every = MetricsFile(path), every

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, GanModule)
        self.file.start(module.steps_done)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, GanModule)
        if module.steps_done % self.every == 0:
            self.file.add(module.steps_done, trainer.callback_metrics)


class Grids(pl.Callback):
    """Pictures of fixed glyphs (the first row) in fixed styles (a row each), as files and in the
    curves; with a style encoder, the image that each style was read off stands in front."""

    def __init__(
        self,
        run: Path,
        config: GanConfig,
        glyphs: Tensor,  # [G, 1, H, W] -1..1
        char: Tensor,  # [G] int64
        style_images: Tensor,  # [R, 1, H, W] real
    ) -> None:
        self.run, self.config, self.glyphs, self.images = run, config, glyphs, style_images
        self.content = char if config.condition == "class" else glyphs
        draws = torch.Generator().manual_seed(7)
        self.styles = torch.randn(len(style_images), config.style_dim, generator=draws)
        self.noise = torch.randn(1, *glyphs.shape[1:], generator=draws)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, GanModule)
        done = module.steps_done
        if done % self.config.grid_every == 0 or done == self.config.steps:
            self._picture(module, done)

    @torch.no_grad()
    def _picture(self, module: GanModule, step: int) -> None:
        count, where, average = len(self.glyphs), module.device, module.average
        content, noise = self.content.to(where), self.noise.to(where).expand(count, -1, -1, -1)
        styles = self.styles.to(where)
        rows, front = [self.glyphs], [torch.full_like(self.images[:1], -1.0)]
        if average.encoder is not None:
            styles, _ = average.encoder(self.images.to(where))
            front += [image[None] for image in self.images]
        for style in styles:
            rows.append(average(content, style.expand(count, -1), noise).cpu())
        if average.encoder is not None:
            rows = [torch.cat([a, b]) for a, b in zip(front, rows, strict=True)]
        grid = torch.cat([torch.cat(list(row[:, 0]), 1) for row in rows], 0).float().numpy()
        picture = 255 - to_uint8(grid)
        page = io.BytesIO()
        Image.fromarray(picture).save(page, "PNG")
        folder = self.run / "grids"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"step_{step:06d}.png", page.getvalue())
        curves = getattr(module.logger, "experiment", None)
        if curves is not None and hasattr(curves, "add_image"):
            curves.add_image("grid", picture[None], step)
