"""Every number of a classifier run, in presets: `small` for CPUs, `large` for a GPU, `demo`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClassifierConfig:
    """One run. Images are counted in steps of a batch, not in epochs."""

    model: str = "compact"
    steps: int = 1800
    batch_size: int = 128
    steps_per_epoch: int = 150  # a validation after each
    lr: float = 3e-3  # peak of the one-cycle schedule
    weight_decay: float = 0.05
    warmup_share: float = 0.15
    ema_decay: float = 0.998  # per step
    smoothing_real: float = 0.10
    smoothing_synthetic: float = 0.02  # its labels are right
    # A class's places go to its sources by weight x images. A real image counts as three synthetic
    # ones; a class with five real images, half of them wrongly labelled, still shows mostly others.
    real_weight: float = 3.0
    font_weight: float = 1.0
    gan_weight: float = 1.0
    sampling: str = "balanced"  # of the classes: balanced, sqrt or natural
    synthetic_cap: float | None = None  # most that font and GAN may be of a class with real images
    real_only_share: float = 0.0  # last part of the run without synthetic images of known classes
    other_share: float | None = 0.35  # of a batch, where there are other images enough
    augment_strength: float = 1.0  # 0 to 2
    augment: str | None = None  # module:function, a user's own on top
    clean_at: tuple[float, ...] = (0.35, 0.6)  # shares of the run at which labels are doubted
    doubt_below: float = 0.10  # probability of a real label under which its image is left out
    threads: int = 2  # of DALI
    precision: str = "32-true"


PRESETS = {
    "demo": ClassifierConfig(steps=320, steps_per_epoch=64),  # two minutes on 2 cores
    "small": ClassifierConfig(),
    "large": ClassifierConfig(
        model="efficientnet-b0", steps=20_000, batch_size=512, steps_per_epoch=1000, threads=8
    ),
}
