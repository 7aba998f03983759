"""The Lightning module of the GAN: it calls the networks and losses, steps, and logs."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from gan.config import GanConfig
from gan.losses import discriminator_loss, diversity_loss, generator_loss, gradient_penalty
from gan.networks import BendingGenerator, Discriminator, Recogniser
from synth.canvas import to_uint8
from synth.files import load_checked, save_checked

SHIFT_PX = (
    3  # the only augmentation in front of the discriminator: flips and turns change characters
)


def numbers(seed: int, step: int, stream: int) -> torch.Generator:
    """A generator that depends on nothing but its arguments."""
    mixed = np.random.SeedSequence([seed, step, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))


class GanModule(pl.LightningModule):
    """Generator, its moving average, discriminator. Two optimisers, stepped by hand."""

    def __init__(
        self,
        config: GanConfig,
        size_px: int,
        recogniser: Recogniser | None = None,  # frozen; its classes are the `char` of the batches
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.size_px, self.seed = config, size_px, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = BendingGenerator(config.style_dim, config.width)
            self.discriminator = Discriminator(size_px, config.width)
            self.average = BendingGenerator(config.style_dim, config.width)
        # half the time of a step on a CPU, together with bfloat16
        for network in (self.generator, self.discriminator, self.average):
            network.to(memory_format=torch.channels_last)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        self._recogniser = [recogniser.eval().requires_grad_(False)] if recogniser else []
        self.steps_done = 0

    def on_fit_start(self) -> None:
        for network in self._recogniser:  # in a list, so that Lightning neither moves nor saves it
            network.to(self.device)

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        config = self.config
        step = self.steps_done
        real, content, reference = batch["real"], batch["content"], batch["reference"]
        draws = numbers(self.seed, step, self.global_rank)
        style, other_style = self._styles(len(real), draws), self._styles(len(real), draws)
        noise = self._noise(real, draws)
        real = shifted(real, draws)
        g_opt, d_opt = self.optimizers()

        # discriminator
        self.toggle_optimizer(d_opt)
        with torch.no_grad():
            fake = shifted(self.generator(content, style, noise), draws)
        d_loss, log = discriminator_loss(self.discriminator, real, fake, reference)
        self._finite(d_loss, "discriminator loss", step)
        if step % config.penalty_every == 0:
            r1 = gradient_penalty(self.discriminator, real, reference)
            r2 = gradient_penalty(self.discriminator, fake, reference)
            self._finite(r1 + r2, "gradient penalty", step)
            d_loss = d_loss + config.penalty_every * config.gamma / 2 * (r1 + r2)
            log |= {"r1": r1.detach(), "r2": r2.detach()}
        self._step(d_opt, d_loss)
        self.untoggle_optimizer(d_opt)

        # generator
        self.toggle_optimizer(g_opt)
        made = self.generator(content, style, noise)
        g_loss = generator_loss(self.discriminator, real, shifted(made, draws), reference)
        total = g_loss
        if config.diversity:
            half = len(made) // 2  # half a batch shows it as well, for half the cost
            again = self.generator(content[:half], other_style[:half], noise[:half])
            spread = diversity_loss(made[:half], again, style[:half], other_style[:half])
            total = total + config.diversity * spread
            log["diversity"] = spread.detach()
        if self._recogniser and config.recognise:
            logits = self._recogniser[0](made)
            read = F.cross_entropy(logits.float(), batch["char"], label_smoothing=0.1)
            total = total + config.recognise * read
            log["read"] = (logits.detach().argmax(1) == batch["char"]).float().mean()
        self._finite(total, "generator loss", step)
        self._step(g_opt, total)
        self.untoggle_optimizer(g_opt)

        self._follow(len(real) * self.trainer.world_size)
        self._decay(g_opt, d_opt)
        self.steps_done += 1
        log |= {"d_loss": d_loss.detach(), "g_loss": g_loss.detach()}
        self.log_dict(log, prog_bar=True, batch_size=len(real))

    def _styles(self, count: int, draws: torch.Generator) -> Tensor:
        return torch.randn(count, self.config.style_dim, generator=draws).to(self.device)

    @staticmethod
    def _noise(like: Tensor, draws: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=draws).to(like.device)

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimiser.step()

    def _finite(self, loss: Tensor, term: str, step: int) -> None:
        if not torch.isfinite(loss):
            raise RuntimeError(f"GAN: {term} is {loss.item()} at step {step}")

    def _follow(self, images: int) -> None:
        """The moving average takes a step towards the generator (Karras et al. 2018, sec. 4.2);
        in the first half-lives it follows faster, or it would keep the untrained start."""
        half = min(self.config.ema_half_images, 0.3 * (self.steps_done + 1) * images)
        keep = 0.5 ** (images / max(half, 1e-9))
        with torch.no_grad():
            for mean, now in zip(
                self.average.parameters(), self.generator.parameters(), strict=True
            ):
                mean.lerp_(now, 1 - keep)

    def _decay(self, *optimisers: Any) -> None:
        done = (self.steps_done + 1) / self.config.steps
        share = self.config.final_lr_share
        factor = share + (1 - share) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for optimiser, rate in zip(
            optimisers, (self.config.generator_lr, self.config.discriminator_lr), strict=True
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        c = self.config
        return [
            torch.optim.Adam(self.generator.parameters(), lr=c.generator_lr, betas=c.betas),
            torch.optim.Adam(self.discriminator.parameters(), lr=c.discriminator_lr, betas=c.betas),
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_done"] = self.steps_done

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps_done = checkpoint["steps_done"]


def shifted(images: Tensor, draws: torch.Generator) -> Tensor:
    """[B, 1, H, W] each moved by up to SHIFT_PX; paper (-1) comes in. Differentiable."""
    n, _, height, width = images.shape
    move = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2, n, 1), generator=draws).to(images.device)
    padded = F.pad(images, [SHIFT_PX] * 4, value=-1.0)
    rows = torch.arange(height, device=images.device) + SHIFT_PX + move[0]  # [B, H]
    columns = torch.arange(width, device=images.device) + SHIFT_PX + move[1]
    which = torch.arange(n, device=images.device)[:, None, None]
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class CheckedCheckpoints(CheckpointIO):
    """Lightning's checkpoints, whole or not there, with a checksum and the one before kept."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        save_checked(Path(path), buffer.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        data, found = load_checked(Path(path))
        if found != Path(path):
            print(f"{path} is damaged or missing: going on from {found.name}")
        return torch.load(io.BytesIO(data), map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class Keeper(pl.Callback):
    """Saves a checkpoint every so many steps, and pictures of fixed glyphs in fixed styles."""

    def __init__(self, run: Path, config: GanConfig, glyphs: Tensor, styles: int = 6) -> None:
        self.run, self.config, self.glyphs = run, config, glyphs  # [G, 1, H, W] float -1..1
        draws = torch.Generator().manual_seed(7)
        self.styles = torch.randn(styles, config.style_dim, generator=draws)
        self.noise = torch.randn(1, *glyphs.shape[1:], generator=draws)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(module, GanModule)
        done = module.steps_done
        if done % self.config.checkpoint_every == 0 or done == self.config.steps:
            trainer.save_checkpoint(self.run / "checkpoints" / "last.ckpt")
        if (
            done % self.config.grid_every == 0 or done == self.config.steps
        ) and module.global_rank == 0:
            self._picture(module, done)

    @torch.no_grad()
    def _picture(self, module: GanModule, step: int) -> None:
        from PIL import Image

        rows = [self.glyphs]
        for style in self.styles:
            style = style.expand(len(self.glyphs), -1).to(module.device)
            noise = self.noise.expand(len(self.glyphs), -1, -1, -1).to(module.device)
            rows.append(module.average(self.glyphs.to(module.device), style, noise).cpu())
        grid = torch.cat([torch.cat(list(r[:, 0]), 1) for r in rows], 0).numpy()
        picture = 255 - to_uint8(grid)
        folder = self.run / "grids"
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"step_{step:06d}.png")
        if module.logger is not None and hasattr(module.logger.experiment, "add_image"):
            module.logger.experiment.add_image("grid", picture[None], step)
