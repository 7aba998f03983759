"""Every number of a classifier run, in presets: `small` for CPUs that gain by bfloat16, `lean` for
others with AVX-512, `light` for the rest, `large` for a GPU, `demo` to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

_EASE_FROM = 0.7  # of the run
# With fewer, labels would be doubted at quite other parts of the run than `clean_at`.
_LEAST_EPOCHS, _SHORT_RUNS_EPOCHS = 4, 5


@dataclass(frozen=True)
class ClassifierConfig:
    """One run. Images are counted in steps of a batch, not in epochs."""

    model: str = "compact"
    members: int = 1  # networks trained from different starts, whose probabilities are averaged
    steps: int = 5000
    batch_size: int = 64
    steps_per_epoch: int = 250  # a validation after each
    lr: float = 3e-3  # peak of the one-cycle schedule
    weight_decay: float = 0.05
    warmup_share: float = 0.15
    ema_decay: float = 0.998  # per step
    smoothing_real: float = 0.10
    smoothing_synthetic: float = 0.02  # its labels are right
    # A class's places go to its sources by weight x images. A real image counts as three synthetic
    # ones at first, so that a class with five of them, half of them wrongly labelled, shows mostly
    # others; as nine at the end, when wrong labels have been left out.
    real_weight: float = 9.0
    font_weight: float = 1.0
    gan_weight: float = 1.0
    sampling: Literal["balanced", "sqrt", "natural"] = "balanced"  # of the classes
    synthetic_cap: float | None = None  # most that font and GAN may be of a class with real images
    real_only_share: float = 0.0  # last part of the run without synthetic images of known classes
    real_share: float = 0.5  # least that real images are of a class that has some, at the end
    synthetic_start: float = 3.0  # font and GAN weights times this at first, times 1 at the end
    # Factors: how often the classes of a group (common, rare, few, none, other) or one class are
    # shown; and on a source's weight in a group or class, 0 switches it off there.
    group_weights: Mapping[str, float] = field(default_factory=dict)
    class_weights: Mapping[str, float] = field(default_factory=dict)
    kind_weights: Mapping[str, float] = field(default_factory=dict)  # of a kind inside "other"
    source_weights: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    other_share: float | None = 0.35  # of a batch, where there are other images enough
    others: str = "each"  # classes of "other" characters: one together, or each its own
    other_score: str = "norms"  # norms, logit, energy or softmax, see classifier.rejection
    threshold_by: str = "all"  # one threshold for all known classes, or one for each group
    known_lost: float = 0.05  # share of the known images read right that it may call other
    augment_strength: float = 1.0  # 0 to 2
    augment_ease: float = 0.4  # share of it that is left at the end of the run, see `ease`
    synthetic_bending: float = 0.5  # share of the bending for images that were bent when made
    augmentation: Mapping[str, float] = field(default_factory=dict)  # ranges, see Augment
    augment: str | None = None  # module:function, a user's own on top
    clean_at: tuple[float, ...] = (0.35, 0.6)  # shares of the run at which labels are doubted
    doubt_below: float = 0.10  # probability of a real label under which its image is left out
    threads: int = 2  # of DALI
    resident_gib: float = 2.0  # images up to this are held in memory, more are read as they come
    precision: Precision = "32-true"
    # where the network starts
    pretrained: str | None = None  # "library", a weights file, or a finished run's folder
    replace: tuple[str, ...] = ()  # pattern=module:Class: layers that a user's own stand in for
    freeze_steps: int = 0  # first steps that train the head alone
    # how it is trained
    optimiser: str = "muon"  # muon (the rest by adamw), adamw or sgd
    muon_lr: float = 0.02  # of the hidden convolutions
    schedule: str = "one-cycle"  # one-cycle, cosine, step or plateau
    lr_decay_by_depth: float = 1.0  # of the learning rate, for each block away from the head
    clip_norm: float = 5.0  # of the gradients of all layers together; 0: they are left as they are
    mixup: float = 0.0  # two images blended by Beta(m, m); 0: off
    cutmix: float = 0.0  # a box of another image pasted in, by Beta(m, m); 0: off
    one_vs_rest: float = 0.5  # weight of that auxiliary loss, see `OneVsRest`
    logit_adjustment: float = 0.0  # strength; 1 trains for equally frequent classes
    synthetic_loss_weight: float = 1.0  # of a font or GAN image in the loss; a real one has 1
    noise_loss: str = "none"  # against wrong real labels: none, gce, sce or elr
    hard_weight: float = 1.0  # how much oftener an image of middling difficulty is shown
    compile: bool = False  # torch.compile
    # which weights are kept
    monitor: str | None = None  # validation figure whose best weights are kept; None: the last
    patience: int | None = None  # validations without a better `monitor` that end the run

    def changed(self, named: Mapping[str, Any]) -> Self:
        """With what a user named. Weights that are started from are trained by adamw unless an
        optimiser is named: `muon_lr` is a rate for hidden layers that start from nothing."""
        if named.get("pretrained") and "optimiser" not in named:
            named = {**named, "optimiser": "adamw"}
        return replace(self, **named)

    def for_classes(self, known: int) -> Self:
        """With steps for that many known characters: the preset's are for a hundred, more take
        longer, but each character less than its share."""
        return replace(self, steps=round(self.steps * max(1.0, known / 100) ** 0.75))

    def with_epochs(self) -> Self:
        """With shorter epochs where the run has too few steps for the preset's."""
        if round(self.steps / self.steps_per_epoch) >= _LEAST_EPOCHS:
            return self
        return replace(self, steps_per_epoch=max(1, round(self.steps / _SHORT_RUNS_EPOCHS)))

    def ease(self, step: int) -> float:
        """Share of the augmentation's ranges at a step: all, and at the end less, so that the last
        images look like those to be read."""
        late = (step / self.steps - _EASE_FROM) / (1 - _EASE_FROM)
        return 1 - (1 - self.augment_ease) * min(max(late, 0.0), 1.0)


PRESETS = {
    # Two minutes on 2 cores. In runs as short as these many small batches learn more than few large
    # ones in the same time (docs/LOG.md).
    "demo": ClassifierConfig(steps=600, batch_size=48, steps_per_epoch=50),
    "light": ClassifierConfig(members=2, steps=1700),
    "lean": ClassifierConfig(members=2, steps=3000),
    "small": ClassifierConfig(members=2),
    "large": ClassifierConfig(
        model="efficientnet-b0", steps=20_000, batch_size=512, steps_per_epoch=1000, threads=8
    ),
}
