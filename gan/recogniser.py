"""A recogniser of the GAN's own: it finds wrong labels before training and wrong images after it.

It is trained on rendered characters, whose labels are right, and on the real training images, whose
labels are doubted: while it trains, real images whose given label it finds improbable are left out.
Until the first doubt real images are a fifth of a batch and come as they are, each as often as any
other: balanced over the classes, the few of a rare class, most of them wrong, would be shown so
often that it learns them by heart and believes them.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from gan.networks import Recogniser
from gan.saved import damage_named
from synth.canvas import to_float
from synth.command import progress
from synth.files import has_checkpoint
from synth.grouping import rows_by
from synth.learning import Muon, groups_for_muon, load_checkpoint, save_checkpoint

DOUBT_BELOW = 0.05  # a given label under this probability is doubted
# A recogniser that doubts more than this share has learned nothing: then no label is doubted.
MOST_DOUBTED = 0.6
_DOUBTS = (0.4, 0.7)  # shares of the run at which labels are doubted
_REAL_SHARES = (0.2, 0.5)  # of a batch: before the first doubt, after it
_NORM_BATCHES = 16  # last ones that the batch norms are measured on


@dataclass(frozen=True)
class Trained:
    """A recogniser and what it thinks of the real training labels."""

    network: Recogniser
    given: np.ndarray  # [n] float32: probability of each real image's given label

    @property
    def trusted(self) -> np.ndarray:
        """[n] bool: real images whose label may be believed."""
        return believed(self.given)


def believed(given: np.ndarray) -> np.ndarray:
    """[n] probabilities of given labels -> [n] bool."""
    keep = given >= DOUBT_BELOW
    return keep if keep.mean() >= 1 - MOST_DOUBTED else np.ones(len(given), bool)


def train_recogniser(
    real: np.ndarray,  # [n, H, W] uint8
    real_class: np.ndarray,  # [n] int64
    font: np.ndarray,  # [m, H, W] uint8
    font_class: np.ndarray,  # [m] int64
    classes: int,
    steps: int,
    batch_size: int,
    seed: int,
    device: torch.device,
    precision: torch.dtype,  # of the autocast: float32 or bfloat16
    checkpoint: Path | None = None,  # goes on from it, where it is there; None: keeps none
    checkpoint_every: int = 100,  # steps
) -> Trained:
    """Cross-entropy with label smoothing, Muon, one cycle; two rounds of doubt at 40 and 70 %.

    Raises InputError for a damaged checkpoint, RuntimeError for a loss that is not finite.
    """
    torch.manual_seed(seed)
    network = Recogniser(classes).to(device).to(memory_format=torch.channels_last)
    optimiser = Muon(groups_for_muon(network.parameters(), 4e-3, 0.02, 0.02, 0.004))
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rates, total_steps=steps)
    generator = np.random.default_rng(seed)
    keep = np.ones(len(real), bool)
    given = np.ones(len(real), np.float32)
    doubts = [int(steps * share) for share in _DOUBTS]
    undoubted, doubted = (round(batch_size * share) if len(real) else 0 for share in _REAL_SHARES)
    font_rows = _by_class(font_class)
    recent: deque[Tensor] = deque(maxlen=_NORM_BATCHES)
    start = 0
    if checkpoint is not None and has_checkpoint(checkpoint):
        found = load_checkpoint(checkpoint)
        with damage_named(f"{checkpoint}: of another version, remove the run to start anew"):
            start = found["step"]
            network.load_state_dict(found["network"])
            optimiser.load_state_dict(found["optimiser"])
            schedule.load_state_dict(found["schedule"])
            generator.bit_generator.state = json.loads(found["generator"])
            keep, given = found["keep"].numpy(), found["given"].numpy()
            recent.extend(x.to(device) for x in found["recent"])
        print(f"recogniser: going on at step {start} of {steps}", flush=True)
    # not by class before labels were doubted
    real_rows = [np.arange(len(real))] if start <= doubts[0] else _by_class(real_class, keep)
    with progress(steps, "step", "recogniser", start) as bar:
        for step in range(start, steps):
            n_real = undoubted if step < doubts[0] else doubted
            if n_real and step in doubts:
                update_bn(list(recent), network)  # a running average lags behind the weights
                given = probabilities(network, real, real_class, device)
                keep = believed(given)
                real_rows = _by_class(real_class, keep)
            picked_font = _balanced(font_rows, batch_size - n_real, generator)
            images, target = [font[picked_font]], [font_class[picked_font]]
            if n_real:
                picked = _balanced(real_rows, n_real, generator)
                images.append(real[picked])
                target.append(real_class[picked])
            x = torch.from_numpy(to_float(np.concatenate(images)))[:, None].to(device)
            x = jitter(x, torch.Generator().manual_seed(int(generator.integers(1 << 62))))
            x = x.contiguous(memory_format=torch.channels_last)
            recent.append(x)
            y = torch.from_numpy(np.concatenate(target)).to(device)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = network(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=0.1)
            if not torch.isfinite(loss):
                raise RuntimeError(f"recogniser: loss {loss.item()} at step {step}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.update()
            if step % 20 == 0:
                bar.set_postfix(
                    loss=f"{loss.item():.2f}", doubted=int((~keep).sum()), refresh=False
                )
            done = step + 1
            if checkpoint is not None and done % checkpoint_every == 0 and done < steps:
                state = {
                    "step": done,
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    # its numbers have 128 bits, and a checkpoint is read as plain data
                    "generator": json.dumps(generator.bit_generator.state),
                    "keep": torch.from_numpy(keep),
                    "given": torch.from_numpy(given),
                    "recent": list(recent),
                }
                save_checkpoint(state, checkpoint)
    update_bn(list(recent), network)
    if len(real):
        given = probabilities(network, real, real_class, device)
    return Trained(network.eval(), given)


def jitter(x: Tensor, generator: torch.Generator) -> Tensor:
    """[B, 1, H, W] a little turned, scaled, slanted and moved, each by its own draw."""
    n = len(x)
    r = (torch.rand(n, 6, generator=generator) * 2 - 1).to(x.device)
    turn, slant = 0.12 * r[:, 0], 0.12 * r[:, 1]
    sx, sy = 1 + 0.12 * r[:, 2], 1 + 0.12 * r[:, 3]
    matrix = torch.stack(
        [
            sx * turn.cos(),
            -turn.sin() + slant,
            0.08 * r[:, 4],
            turn.sin(),
            sy * turn.cos(),
            0.08 * r[:, 5],
        ],
        1,
    ).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x + 1, grid, align_corners=False) - 1


@torch.no_grad()
def probabilities(
    network: Recogniser, images: np.ndarray, wanted: np.ndarray, device: torch.device
) -> np.ndarray:
    """[n, H, W] uint8, [n] classes -> [n] float32: the probability of each image's class."""
    was = network.training
    network.eval()
    out = []
    for i in range(0, len(images), 512):
        x = torch.from_numpy(to_float(images[i : i + 512]))[:, None].to(device)
        p = torch.softmax(network(x.contiguous(memory_format=torch.channels_last)), 1)
        rows = torch.from_numpy(wanted[i : i + 512]).to(device)
        out.append(p.gather(1, rows[:, None])[:, 0].float().cpu().numpy())
    network.train(was)
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def _by_class(classes: np.ndarray, keep: np.ndarray | None = None) -> list[np.ndarray]:
    """Rows of each class that has some. It sorts them all: not for every step."""
    rows = np.arange(len(classes)) if keep is None else np.flatnonzero(keep)
    return [rows[at] for at in rows_by(classes[rows]).values()]


def _balanced(rows: list[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """[count] rows: the class at random, then one of its rows."""
    lengths = np.array([len(r) for r in rows])
    of = generator.integers(len(rows), size=count)
    nth = (generator.random(count) * lengths[of]).astype(int)
    return np.array([rows[c][k] for c, k in zip(of, nth, strict=True)])
