"""A GAN run of seconds, for tests; also as a process of its own:

python tests/tiny_gan.py OUT [STEPS] [DEVICES] [STYLE]
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gan.config import PRESETS, GanConfig
from gan.fit import fit
from gan.glyphs import Glyphs
from gan.networks import Recogniser
from gan.recogniser import Trained

CONFIG = replace(
    PRESETS["small"], steps=6, batch_size=8, checkpoint_every=2, grid_every=6, penalty_every=2
)


def strokes() -> tuple[np.ndarray, np.ndarray]:
    """[18, 64, 64] uint8 pictures of three characters, and which each shows."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(3), 6)
    images = np.zeros((18, 64, 64), np.uint8)
    for i, c in enumerate(of):
        images[i, 10 + 8 * c : 14 + 8 * c, 8:56] = 255
        images[i, 8:56, 8 + rng.integers(40)] = 255
    return images, of


def train(out: Path, config: GanConfig = CONFIG, devices: int = 1, compiled: bool = False) -> None:
    out.mkdir(exist_ok=True)
    images, of = strokes()
    torch.manual_seed(0)
    glyphs = Glyphs(images, of, ("a", "b", "c"))
    recogniser = Trained(Recogniser(3).eval(), np.ones(18, np.float32))
    fit(out, config, images, of, glyphs, glyphs, recogniser, 1, devices, compiled)


if __name__ == "__main__":
    from gan.processes import join

    out, steps, devices, style = [*sys.argv[1:], *("6", "1", "noise")[len(sys.argv) - 2 :]]
    join(int(devices))
    # Adam without momentum divides a gradient by its size: at the usual rate, rounding in the last
    # bit turns the sign of steps where the gradient is nearly zero, and losses drift apart
    small = replace(CONFIG, steps=int(steps), generator_lr=2e-5, discriminator_lr=2e-5)
    train(Path(out), replace(small, style=style, grid_every=int(steps)), int(devices))
