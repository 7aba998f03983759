"""What a run trains on, checked and decided before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from classifier.bending import Bending
from classifier.config import ClassifierConfig
from classifier.mixing import Mix, MixSettings, Pool, training_classes
from classifier.networks import require_model
from classifier.pipeline import Augment, CheckedFunction, load_function
from synth.errors import InputError
from synth.store import SOURCES, Store

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
# Fewer other images than this are a sample, not a class to fill a third of every batch with.
ENOUGH_OTHERS = 1000


@dataclass(frozen=True)
class Setup:
    """Stores, classes and the mix of one run."""

    stores: list[Store]  # the real one first
    others: tuple[str, ...]  # other characters that are classes of their own
    targets: list[np.ndarray]  # for each store [N] int64
    val_rows: list[np.ndarray]  # for each store [n] int64
    mix: Mix
    augment: Augment
    bending: Bending
    user_function: CheckedFunction | None

    @property
    def known(self) -> int:
        return self.mix.known


def prepare(
    real: Store,
    synth: list[Store],
    config: ClassifierConfig,
    seed: int,
    test: Store | None,
) -> Setup:
    """Raises InputError for whatever a run could not end well with."""
    for store in (*synth, *([test] if test else [])):
        store.require(real.canvas, real.alphabet)
    _no_leak(real, test)
    require_model(config.model)
    if config.precision not in PRECISIONS:
        raise InputError(f"--precision {config.precision!r}: there are {', '.join(PRECISIONS)}")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or more")
    stores = [real, *synth]
    others, targets = training_classes(real.alphabet, stores)
    pools = [Pool.of(store, t) for store, t in zip(stores, targets, strict=True)]
    weights = {
        "real": config.real_weight,
        "font": config.font_weight,
        "gan": config.gan_weight,
    }
    mix = Mix.of(
        pools,
        (*real.alphabet.classes, *others),
        MixSettings(
            weights=weights,
            weigh="image",
            sampling=config.sampling,
            other_share=_other_share(config, pools, len(real.alphabet), weights),
            synthetic_cap=config.synthetic_cap,
            real_only_share=config.real_only_share,
            skip_empty=True,
        ),
        seed=seed,
        batch_size=config.batch_size,
        total_steps=config.steps,
    )
    strength, default = config.augment_strength, Bending()
    augment = Augment().scaled(strength)  # refuses a strength outside 0 to 2
    return Setup(
        stores=stores,
        others=others,
        targets=targets,
        val_rows=[store.rows("val") for store in stores],
        mix=mix,
        augment=augment,
        bending=Bending(
            default.elastic_px * strength, default.nodes, min(default.pen * strength, 1.0)
        ),
        user_function=load_function(config.augment) if config.augment else None,
    )


def _no_leak(real: Store, test: Store | None) -> None:
    """Raises InputError where an image to be measured on is one to be trained on."""
    digests, split = real.column("sha256"), real.column("split")
    inked = real.images.reshape(len(real), -1).any(1)  # blanks are all alike
    trained = set(digests[(split == "train") & inked])
    measured = {"validation": set(digests[split == "val"])}
    if test is not None:
        measured["test"] = set(test.column("sha256"))
    for name, those in measured.items():
        if shared := trained & those:
            raise InputError(
                f"{len(shared)} images of the {name} split are training images of {real.path} too; "
                f"a measurement on them would say nothing"
            )


def _other_share(
    config: ClassifierConfig, pools: list[Pool], known: int, weights: dict[str, float]
) -> float | None:
    """The wanted share of "other" in a batch, or None (like one class of the alphabet) where there
    are fewer than ENOUGH_OTHERS images of it in the sources in use."""
    in_use = np.array([weights[name] > 0 for name in SOURCES])
    others = sum(int(((p.targets >= known) & in_use[p.sources]).sum()) for p in pools)
    return config.other_share if others >= ENOUGH_OTHERS else None


def threshold_images(setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """[n, H, W] uint8 and [n] int64 targets of the validation images that set the threshold.

    Real known ones, and others. Of these, GAN images are used where there are some (they are nearer
    to real ones than font images), else font images; never one of a character that another store
    shows in training, which would not be held out.
    """
    images, targets, sources = [], [], []
    for store, rows, target in zip(setup.stores, setup.val_rows, setup.targets, strict=True):
        if len(rows):
            images.append(np.asarray(store.images[rows]))
            targets.append(target[rows])
            names = store.column("source")[rows]
            sources.append(np.array([SOURCES.index(name) for name in names]))
    if not images:
        size = setup.stores[0].canvas.size_px
        return np.zeros((0, size, size), np.uint8), np.zeros(0, np.int64)
    image, target, source = (np.concatenate(x) for x in (images, targets, sources))
    real, font, gan = range(len(SOURCES))
    other = target == setup.known  # above: a character of the training images
    best = gan if (other & (source == gan)).any() else font
    use = ((target < setup.known) & (source == real)) | (
        other & ((source == best) | (source == real))
    )
    return image[use], target[use]
