"""Every number of a GAN run, in presets: `small` for CPUs that gain by bfloat16, `lean` for others
with AVX-512, `light` for the rest, `large` for a GPU, `demo` to look at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self


@dataclass(frozen=True)
class GanConfig:
    """One run. Images are counted, not epochs."""

    generator: str = "bend"  # or "paint"
    condition: str = "glyph"  # the content; "class" is the class number, for comparison
    style: str = "noise"  # or "image": an encoder reads it off a real image, and noise works too
    steps: int = 1000  # optimiser steps of each network
    batch_size: int = 64  # images a step, over all processes
    generator_lr: float = 4e-4
    discriminator_lr: float = 4e-4
    betas: tuple[float, float] = (0.0, 0.99)
    final_lr_share: float = 0.2  # cosine decay down to this share
    gamma: float = 0.1  # weight of R1 and R2; R3GAN eq. 4. With 8 images vary little (docs/LOG.md)
    penalty_every: int = 8  # steps between penalties, which then count that many times
    diversity: float = 1.0  # weight of the diversity term
    recognise: float = 0.15  # weight of the recogniser's cross-entropy in the generator's loss
    rebuild: float = 2.0  # weight of drawing an image again in its own style, with style "image"
    style_prior: float = 0.002  # weight of the divergence of read styles from noise
    ema_half_images: int = 5000  # images after which a generator's weight counts half
    style_dim: int = 48
    width: int = 1  # multiplies the channels of both networks
    content_strength: float = 0.9  # of the font deformation in front of the generator
    recogniser_steps: int = 1000
    recogniser_batch: int = 128
    checkpoint_every: int = 100  # steps
    grid_every: int = 100  # steps between pictures of fixed glyphs and styles
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    def for_classes(self, known: int) -> Self:
        """With a recogniser for that many known characters: the preset's is for a hundred. The
        generator learns how this data is written, which takes no longer for more characters."""
        steps = round(self.recogniser_steps * max(1.0, known / 100) ** 0.5)
        return replace(self, recogniser_steps=steps)


PRESETS = {
    "demo": GanConfig(  # four minutes on 2 cores, with what it generates
        steps=70, ema_half_images=2000, recogniser_steps=350, checkpoint_every=35, grid_every=35
    ),
    "light": GanConfig(steps=300, ema_half_images=4000, recogniser_steps=600),
    "lean": GanConfig(steps=600),
    "small": GanConfig(),
    "large": GanConfig(
        steps=20_000,
        batch_size=256,
        generator_lr=2e-4,
        discriminator_lr=2e-4,
        width=3,
        style_dim=96,
        ema_half_images=50_000,
        recogniser_steps=4000,
        checkpoint_every=500,
        grid_every=500,
    ),
}
