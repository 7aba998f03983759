"""The Lightning module of the GAN: it calls the networks and losses, steps, and logs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from gan.augment import shifted, shifts
from gan.config import GanConfig
from gan.losses import (
    discriminator_loss,
    diversity_loss,
    generator_loss,
    gradient_penalty,
    prior_loss,
    rebuilding_loss,
    refuse_not_finite,
)
from gan.networks import Discriminator, Generator, Recogniser

_LOGGED = {  # term -> its name in the curves, in their order
    "discriminator loss": "d_loss",
    "R1": "r1",
    "R2": "r2",
    "generator loss": "g_loss",
    "diversity": "diversity",
    "rebuilding": "rebuild",
    "style prior": "style_prior",
    "recogniser": "read_loss",
}
_PENALTIES = ("r1", "r2")  # of their names, those that are not computed in every step


def numbers(seed: int, step: int) -> torch.Generator:
    """A generator that depends on nothing but its arguments."""
    mixed = np.random.SeedSequence([seed, step, 0]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> 1))


class GanModule(pl.LightningModule):
    """Generator, its moving average, discriminator. Two optimisers, stepped by hand."""

    def __init__(
        self,
        config: GanConfig,
        size_px: int,
        classes: int,  # numbers of `char` in the batches
        recogniser: Recogniser | None = None,  # frozen; `char` are its first classes
        seed: int = 1,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.size_px, self.seed = config, size_px, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(config, size_px, classes)
            self.discriminator = Discriminator(config, size_px, classes)
            self.average = Generator(config, size_px, classes)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False)
        self._recogniser = [recogniser.eval().requires_grad_(False)] if recogniser else []
        # half the time of a step on a CPU, together with bfloat16
        self.lay_out(torch.channels_last)
        self.steps_done = 0
        # As computed last. Lines and curves show these in every step: no line may ever fall on a
        # step that computes them (each 8th and each 10th, say).
        self._penalties: dict[str, Tensor] = {}

    def lay_out(self, layout: torch.memory_format) -> None:
        """All networks in this layout, the recogniser too: one that is read back from a file has
        another, and sums in another order."""
        for network in (self.generator, self.discriminator, self.average, *self._recogniser):
            network.to(memory_format=layout)

    def on_fit_start(self) -> None:
        for network in self._recogniser:  # in a list, so that Lightning neither moves nor saves it
            network.to(self.device)

    def training_step(self, batch: dict[str, Tensor], index: int) -> None:
        config, step, terms = self.config, self.steps_done, {}
        by_class = config.condition == "class"
        content = batch["char" if by_class else "content"]
        reference = batch["char" if by_class else "reference"]
        draws = numbers(self.seed, step)
        normal = self._normal(draws, config.style_dim)
        other_style = self._normal(draws, config.style_dim)
        noise = self._normal(draws, 1, self.size_px, self.size_px)
        moves = [self._mine(shifts(config.batch_size, draws)) for _ in range(3)]
        real = shifted(batch["real"], moves[0])
        optimisers = self.optimizers()
        assert isinstance(optimisers, list)
        g_opt, d_opt = optimisers

        # discriminator
        self.toggle_optimizer(d_opt)
        with torch.no_grad():
            style, _ = self._styles(batch, normal)
            fake = shifted(self.generator(content, style, noise), moves[1])
        d_loss, log = discriminator_loss(self.discriminator, real, fake, reference)
        terms["discriminator loss"] = d_loss
        if step % config.penalty_every == 0:
            # past a compiled call: no compiler differentiates twice
            score = self.discriminator.forward
            terms["R1"] = gradient_penalty(score, real, reference)
            terms["R2"] = gradient_penalty(score, fake, reference)
            d_loss = d_loss + config.penalty_every * config.gamma / 2 * (terms["R1"] + terms["R2"])
        refuse_not_finite(terms, step)
        self._step(d_opt, d_loss)
        self.untoggle_optimizer(d_opt)

        # generator
        self.toggle_optimizer(g_opt)
        style, read_style = self._styles(batch, normal)
        made = self.generator(content, style, noise)
        g_loss = generator_loss(self.discriminator, real, shifted(made, moves[2]), reference)
        own = {"generator loss": g_loss}
        total, half = g_loss, len(made) // 2
        if config.diversity:
            # half a batch shows it as well, for half the cost
            again = self.generator(content[-half:], other_style[-half:], noise[-half:])
            own["diversity"] = diversity_loss(
                made[-half:], again, style[-half:].detach(), other_style[-half:]
            )
            total = total + config.diversity * own["diversity"]
        if read_style is not None:
            own["rebuilding"] = rebuilding_loss(made[:half], batch["real"][:half])
            own["style prior"] = prior_loss(*read_style)
            total = total + config.rebuild * own["rebuilding"]
            total = total + config.style_prior * own["style prior"]
        if self._recogniser and config.recognise:
            logits = self._recogniser[0](made)
            own["recogniser"] = F.cross_entropy(logits.float(), batch["char"], label_smoothing=0.1)
            total = total + config.recognise * own["recogniser"]
            log["read"] = (logits.detach().argmax(1) == batch["char"]).float().mean()
        refuse_not_finite(own, step)
        self._step(g_opt, total)
        self.untoggle_optimizer(g_opt)

        self._follow(config.batch_size)
        self._decay(g_opt, d_opt)
        self.steps_done += 1
        now = {_LOGGED[name]: term.detach() for name, term in (terms | own).items()}
        self._penalties |= {name: now[name] for name in _PENALTIES if name in now}
        known = self._penalties | now
        log |= {n: known[n].to(self.device) for n in _LOGGED.values() if n in known}
        self.log_dict(
            log, prog_bar=True, batch_size=len(real), sync_dist=self.trainer.world_size > 1
        )

    def _mine(self, numbers: Tensor) -> Tensor:
        """[batch, ...] -> this process's rows. Numbers are drawn for the whole batch, so that they
        do not depend on how many processes share it."""
        return numbers[self.global_rank :: self.trainer.world_size].to(self.device)

    def _normal(self, draws: torch.Generator, *shape: int) -> Tensor:
        return self._mine(torch.randn(self.config.batch_size, *shape, generator=draws))

    def _styles(
        self, batch: dict[str, Tensor], normal: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """[B, S] styles; and mean and log variance of those that were read off images: the first
        half off the real image that is drawn again, a quarter off images of any class. The rest,
        and all without an encoder, is noise."""
        if self.generator.encoder is None:
            return normal, None
        half, read = len(normal) // 2, 3 * len(normal) // 4
        images = torch.cat([batch["real"][:half], batch["style_image"][half:read]])
        mean, log_var = self.generator.encoder(images)
        styles = mean + (log_var / 2).exp() * normal[:read]
        return torch.cat([styles, normal[read:]]), (mean, log_var)

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimiser.step()

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

    def refuse_broken_weights(self) -> None:
        """Raises RuntimeError where a weight is no finite number: it may not reach a file."""
        for name, p in self.named_parameters():
            if not torch.isfinite(p).all():
                raise RuntimeError(f"GAN: weight {name} is not finite after step {self.steps_done}")

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        c = self.config
        return [
            torch.optim.Adam(self.generator.parameters(), lr=c.generator_lr, betas=c.betas),
            torch.optim.Adam(self.discriminator.parameters(), lr=c.discriminator_lr, betas=c.betas),
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_done"] = self.steps_done
        # of all processes together
        known = self.trainer.callback_metrics
        checkpoint["penalties"] = {n: float(known[n]) for n in _PENALTIES if n in known}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps_done = checkpoint["steps_done"]
        found = checkpoint["penalties"]
        self._penalties = {name: torch.tensor(value) for name, value in found.items()}
