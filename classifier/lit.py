"""The Lightning module of the classifier: it calls the network and the loss, and logs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from classifier.bending import Bending
from classifier.blending import Blend
from classifier.config import ClassifierConfig
from classifier.data import Batch
from classifier.gradients import layer_norms
from classifier.layers import blocks, replace_layers
from classifier.losses import folded, folded_log_prob, log_prior, smoothed_loss
from classifier.mixing import REAL
from classifier.networks import build_network
from classifier.noise import EarlyLearning, generalised_cross_entropy, symmetric_cross_entropy
from classifier.norms import compile_split, measure_norms, split_norms
from classifier.one_vs_rest import OneVsRest, one_vs_rest_loss
from classifier.pretrained import start_from
from classifier.schedules import optimiser, schedule
from synth.learning import load_checkpoint, save_checkpoint


class ClassifierModule(pl.LightningModule):
    """A network, its moving average (which is what is validated and kept), one optimiser."""

    smoothing: Tensor  # [S] label smoothing of each source
    adjustment: Tensor | None  # [C] added to the logits

    def __init__(
        self,
        config: ClassifierConfig,
        classes: int,  # known + 1 + other characters
        known: int,
        bending: Bending,
        seed: int = 1,
        # [classes] how often each is shown in the mix in force: logit adjustment
        prior: Callable[[], np.ndarray] | None = None,
        real_images: int = 0,  # rows of the real store, the first one: early-learning memory
        # [n, H, W] uint8 that the average's norms are measured on; None: its running statistics
        # stay averages, which lag far behind the weights
        steady: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.config, self.known, self.bending, self.seed = config, known, bending, seed
        self.started_from = ""  # which pretrained weights were taken, for the record
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(config.model, classes)
            if config.pretrained:
                taken, fresh = start_from(network, config.model, config.pretrained)
                self.started_from = (
                    f"{config.pretrained}: {taken} tensors taken, fresh: {', '.join(fresh) or '-'}"
                )
            replace_layers(network, config.replace)
        self.parts, self.steady = split_norms(network), steady
        self.network = network.to(memory_format=torch.channels_last)
        self.average = AveragedModel(
            self.network, avg_fn=partial(_follow, config.ema_decay), use_buffers=True
        )
        self.average.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # after the average was copied: what it reads is not kept
            wanted = config.one_vs_rest > 0
            self.one_vs_rest = OneVsRest(self.network, classes, known if wanted else 0)
        smoothing = torch.tensor(
            [config.smoothing_real, config.smoothing_synthetic, config.smoothing_synthetic]
        )
        self.register_buffer("smoothing", smoothing, persistent=False)
        adjustment = None
        self._prior = prior
        if config.logit_adjustment:
            if prior is None:
                raise ValueError("logit adjustment needs the prior of the mix")
            adjustment = self._adjustment(prior())
        self.register_buffer("adjustment", adjustment, persistent=False)
        self.early = EarlyLearning(real_images, known + 1) if config.noise_loss == "elr" else None
        # [B] probability of each image's given label, in the last batch
        self.given: Tensor | None = None
        if config.compile:
            compile_split(self.network)
        self.validated: list[tuple[Tensor, Tensor, Tensor]] = []
        self._refreshed = False  # whether the average is as `refresh_average` left it

    def training_step(self, batch: Batch, index: int) -> Tensor:
        step = self.global_step
        # dropout and everything else random depends on (seed, step, process) alone: a resumed run
        # is the same. The first process draws what a single one does: a 0 at the end adds nothing
        entropy = np.random.SeedSequence([self.seed, step, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        real = batch["source"] == REAL
        eased = self.config.ease(step)
        images = self.bending.apply(
            batch["images"],
            self.seed,
            step,
            self.global_rank,
            self._world,
            # a synthetic image was bent when it was made
            torch.where(real, eased, eased * self.config.synthetic_bending).view(-1, 1, 1, 1),
        )
        blend = self._blend(images, step)
        seen = images if blend is None else blend.apply(images)
        order = torch.argsort(~real, stable=True)  # real ones first: norms take the two apart
        with self.parts.of(int(real.sum())):
            logits = self.network(seen[order].contiguous(memory_format=torch.channels_last))
        back = torch.argsort(order)
        logits = logits.float()[back]
        apart = self.one_vs_rest()
        apart = apart[back] if apart is not None else None
        losses = self._losses(logits, batch, apart)
        if blend is not None:
            tensors = cast(dict[str, Tensor], batch)
            partner = {k: v[blend.partner.to(v.device)] for k, v in tensors.items()}
            own, theirs = self.given, self._losses(logits, cast(Batch, partner), apart)
            losses = blend.share * losses + (1 - blend.share) * theirs
            if own is not None and self.given is not None:
                self.given = blend.larger(own, self.given)
        loss = losses.mean()
        if not torch.isfinite(loss):
            raise RuntimeError(f"classifier: loss of the batch is {loss.item()} at step {step}")
        right = folded(logits.detach(), self.known).argmax(1) == batch["target"].clamp(
            max=self.known
        )
        for number, name in enumerate(("real", "font", "gan")):
            mine = batch["source"] == number
            if mine.any():
                self.log(f"right_{name}", right[mine].float().mean(), batch_size=int(mine.sum()))
        self.log("loss", loss.detach(), prog_bar=True, batch_size=len(images))
        return loss

    def _blend(self, images: Tensor, step: int) -> Blend | None:
        config = self.config
        if not (config.mixup or config.cutmix):
            return None
        return Blend.draw(
            len(images),
            images.shape[-1],
            config.mixup,
            config.cutmix,
            self.seed,
            step,
            self.global_rank,
        )

    def _losses(self, logits: Tensor, batch: Batch, apart: Tensor | None = None) -> Tensor:
        """[B, C] logits, [B, known] those of one against the rest -> [B] losses."""
        config, target, source = self.config, batch["target"], batch["source"]
        if self.adjustment is not None:
            logits = logits + self.adjustment
        losses = smoothed_loss(logits, target, self.known, self.smoothing[source])
        doubtable = (source == REAL) & (target < self.known)
        if config.noise_loss != "none" or config.hard_weight > 1:
            log_prob = folded_log_prob(logits, target, self.known)
            self.given = log_prob.detach().exp()
            if config.noise_loss == "gce":
                losses = torch.where(doubtable, generalised_cross_entropy(log_prob), losses)
            elif config.noise_loss == "sce":
                robust = symmetric_cross_entropy(log_prob, losses)
                losses = torch.where(doubtable, robust, losses)
            elif self.early is not None:
                losses = losses + self._held_back(logits, batch["row"], doubtable)
        if apart is not None:
            further = config.one_vs_rest * one_vs_rest_loss(apart, target)
            if config.noise_loss != "none":  # which it would undo: it believes every label
                further = further.masked_fill(doubtable, 0.0)
            losses = losses + further
        if config.synthetic_loss_weight != 1:
            losses = torch.where(source == REAL, losses, losses * config.synthetic_loss_weight)
        return losses

    def _held_back(self, logits: Tensor, row: Tensor, doubtable: Tensor) -> Tensor:
        """[B] early-learning penalty of the real images of known classes, 0 for all others."""
        assert self.early is not None
        probability = torch.softmax(folded(logits, self.known), 1)
        told, rows, shown = probability.detach(), row, doubtable
        if self._world > 1:  # the next look at an image may fall to another process
            told, rows, shown = (x.flatten(0, 1) for x in self.all_gather((told, rows, shown)))
        self.early.remember(rows[shown], told[shown])
        penalty = self.early(row.where(doubtable, row.new_zeros(())), probability)
        return penalty.where(doubtable, penalty.new_zeros(()))

    def _adjustment(self, prior: np.ndarray) -> Tensor:
        """[C] shares -> [C] float32, what is added to the logits while training."""
        return self.config.logit_adjustment * log_prior(torch.from_numpy(prior)).float()

    @property
    def _world(self) -> int:
        return self.trainer.world_size

    def on_train_epoch_start(self) -> None:
        """The mix changes between epochs: where labels came to be doubted, and in a resumed run."""
        if self.adjustment is not None and self._prior is not None:
            self.adjustment.copy_(self._adjustment(self._prior()))

    def on_train_batch_start(self, *_: Any) -> None:
        """Freezes all blocks but the head in the first steps, and thaws them."""
        frozen = self.global_step < self.config.freeze_steps
        for block in blocks(self.network)[:-1] if self.config.freeze_steps else ():
            for parameter in block:
                parameter.requires_grad_(not frozen)

    def on_train_batch_end(self, *_: Any) -> None:
        self.average.update_parameters(self.network)
        self._refreshed = False
        if 0 < self.trainer.max_steps <= self.global_step:
            self.trainer.should_stop = True  # Lightning then validates, however short the epoch

    def refresh_average(self) -> None:
        """The batch norms of the averaged weights get statistics of their own, the same in every
        process and in a resumed run."""
        if self.steady is not None and not self._refreshed:
            measure_norms(self.average.module, self.steady)
            self._refreshed = True
        self.average.eval()

    def on_train_end(self) -> None:
        self.refresh_average()

    def on_validation_start(self) -> None:
        self.validated = []
        self.refresh_average()

    def validation_step(self, batch: Batch, index: int) -> None:
        if not batch:  # there are no images for it
            return
        images = batch["images"].contiguous(memory_format=torch.channels_last)
        logits = self.average.module(images).float()[batch["valid"]]
        target = batch["target"][batch["valid"]]
        self.validated.append(
            (folded(logits, self.known).cpu(), target.cpu(), batch["source"][batch["valid"]].cpu())
        )

    def on_validation_epoch_end(self) -> None:
        if not self.validated or self.trainer.sanity_checking:
            return
        logits, target, source = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
        known = self.known
        target = target.clamp(max=known)
        counted = (source == REAL) | (target == known)
        hit = counted & (logits.argmax(1) == target)
        there, right = (
            torch.bincount(target[mask], minlength=known + 1) for mask in (counted, hit)
        )
        both = torch.stack([there, right]).to(self.device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(both)
        there, right = both.float()
        if there[:known].any():
            self.log("val_known", right[:known].sum() / there[:known].sum(), prog_bar=True)
        if there[known]:
            self.log("val_other", right[known] / there[known], prog_bar=True)
        if there.any():  # every class the same, "other" as one
            self.log("val_macro", (right / there)[there > 0].mean())

    def configure_optimizers(self) -> Any:
        rate = optimiser(self.network, self.config, self.one_vs_rest.parameters())
        return [rate], schedule(rate, self.config)

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """As Lightning does it, but for the one that `schedules.Plateau` steps."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any
    ) -> None:
        parameters = [*self.network.parameters(), *self.one_vs_rest.parameters()]
        norm = torch.nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
        # in float16 the scaler finds infinite gradients itself, and skips the step
        if self.config.precision != "16-mixed" and not torch.isfinite(norm):
            bad = [k for k, v in layer_norms(self.network).items() if not np.isfinite(v)]
            raise RuntimeError(
                f"classifier: gradient norm {norm} at step {self.global_step}, not finite in "
                f"{', '.join(bad[:5]) or 'their sum'}"
            )
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        self.log("gradient_norm", norm, batch_size=1)


def _follow(decay: float, mean: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
    """Exponential moving average that follows faster at first: the untrained start is soon gone."""
    keep = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return now + keep * (mean - now) if mean.is_floating_point() else now


class CheckedCheckpoints(CheckpointIO):
    """Lightning's checkpoints, whole or not there, with a checksum and the one before kept."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path), map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
