"""What a run trains on, checked and decided before anything is written."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from classifier.bending import Bending
from classifier.best import MONITORED
from classifier.card import MOST_MEMBERS
from classifier.config import ClassifierConfig, Precision
from classifier.corrections import Corrections
from classifier.images import Images
from classifier.layers import replace_layers
from classifier.mixing import REAL, Mix, MixSettings, Pool, training_classes
from classifier.networks import build_network, require_model
from classifier.noise import NOISE_LOSSES
from classifier.norms import steady_rows
from classifier.pipeline import Augment, CheckedFunction, load_function
from classifier.pretrained import start_from
from classifier.rejection import OTHER_SCORES
from classifier.schedules import OPTIMISERS, SCHEDULES
from classifier.shares import others_shown
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.near_copies import name_of
from synth.store import SOURCES, Store

PRECISIONS = get_args(Precision)
# Fewer other images than this are a sample, not a class to fill a third of every batch with.
ENOUGH_OTHERS = 1000
# Fewer real images than this give no statistics to normalise by.
ENOUGH_REAL = 256
# 0 would be divided by: weights decay by a share of the learning rate.
LEAST_LR, MOST_LR = 1e-12, 1e3


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
    corrections: Corrections  # what a person decided about real training labels

    @property
    def known(self) -> int:
        return self.mix.known


def prepare(
    real: Store,
    synth: list[Store],
    config: ClassifierConfig,
    seed: int,
    test: Store | None,
    corrections: Path | None = None,  # CSV, see classifier.corrections
    real_rows: np.ndarray | None = None,  # [n] int64 to train on; None: all that are for training
) -> Setup:
    """Raises InputError for whatever a run could not end well with."""
    for store in (*synth, *([test] if test else [])):
        store.require(real.canvas, real.alphabet)
    for store in synth:
        if (store.column("source") == SOURCES[REAL]).any():
            raise InputError(
                f"{store.path}: holds real images, and --synth takes font and GAN stores; import "
                "all real images into one store (import_data.py)"
            )
    _no_leak(real, test)
    require_model(config.model)
    if config.precision not in PRECISIONS:
        raise InputError(f"--precision {config.precision!r}: there are {', '.join(PRECISIONS)}")
    if config.precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("--precision 16-mixed: for a GPU alone; on a CPU take bf16-mixed")
    if seed < 0:
        raise InputError(f"--seed {seed}: must be 0 or more")
    _require_options(config)
    _require_start(config)
    _require_monitored(config, real, synth)
    stores = [real, *synth]
    decided = Corrections.read(corrections, real) if corrections else Corrections.none()
    others, targets = training_classes(real.alphabet, stores)
    if config.others == "one":
        others, targets = (), [np.minimum(t, len(real.alphabet)) for t in targets]
    targets[0] = decided.targets(targets[0])
    rows = decided.keep(real.rows("train") if real_rows is None else real_rows)
    pools = [
        Pool.of(store, t, rows if store is real else None)
        for store, t in zip(stores, targets, strict=True)
    ]
    settings = MixSettings(
        weights={
            "real": config.real_weight,
            "font": config.font_weight,
            "gan": config.gan_weight,
        },
        weigh="image",
        sampling=config.sampling,
        synthetic_cap=config.synthetic_cap,
        synthetic_start=config.synthetic_start,
        real_share=config.real_share,
        real_only_share=config.real_only_share,
        skip_empty=True,
        source_weights=config.source_weights,
        group_weights=config.group_weights,
        class_weights=config.class_weights,
        kind_weights=config.kind_weights,
    )
    mix = Mix.of(
        pools,
        (*real.alphabet.classes, *others),
        replace(settings, other_share=_other_share(config, pools, len(real.alphabet), settings)),
        seed=seed,
        batch_size=config.batch_size,
        total_steps=config.steps,
    )
    strength, default = config.augment_strength, Bending()
    augment = Augment.of(config.augmentation).scaled(strength)  # refuses a strength outside 0 to 2
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
        corrections=decided,
    )


def _require_options(config: ClassifierConfig) -> None:
    """Raises InputError for a value out of its range."""
    for flag, value, there in (
        ("optimiser", config.optimiser, OPTIMISERS),
        ("schedule", config.schedule, SCHEDULES),
        ("noise-loss", config.noise_loss, NOISE_LOSSES),
        ("monitor", config.monitor, (None, *MONITORED)),
        ("others", config.others, ("each", "one")),
        ("other-score", config.other_score, OTHER_SCORES),
        ("threshold-by", config.threshold_by, ("all", "group")),
    ):
        if value not in there:
            names = ", ".join(name for name in there if name)
            raise InputError(f"--{flag} {value!r}: there are {names}")
    for flag, number, least, most in (
        ("steps", config.steps, 1, np.inf),
        ("batch-size", config.batch_size, 1, np.inf),
        ("lr", config.lr, LEAST_LR, MOST_LR),
        ("muon-lr", config.muon_lr, LEAST_LR, MOST_LR),
        ("members", config.members, 1, MOST_MEMBERS),
        ("lr-decay-by-depth", config.lr_decay_by_depth, 1e-3, 1.0),
        ("clip-norm", config.clip_norm, 0.0, np.inf),
        ("mixup", config.mixup, 0.0, 100.0),
        ("cutmix", config.cutmix, 0.0, 100.0),
        ("logit-adjustment", config.logit_adjustment, 0.0, 10.0),
        ("one-vs-rest", config.one_vs_rest, 0.0, 100.0),
        ("known-lost", config.known_lost, 0.0, 1.0),
        ("synthetic-loss-weight", config.synthetic_loss_weight, 0.0, 100.0),
        ("hard-weight", config.hard_weight, 1.0, 100.0),
        ("freeze-steps", config.freeze_steps, 0, config.steps),
        *(("clean-at", share, 0.0, 1.0) for share in config.clean_at),
        ("doubt-below", config.doubt_below, 0.0, 1.0),
        ("smoothing-real", config.smoothing_real, 0.0, 1.0),
        ("smoothing-synthetic", config.smoothing_synthetic, 0.0, 1.0),
        ("ema-decay", config.ema_decay, 0.0, 1.0),
        ("weight-decay", config.weight_decay, 0.0, np.inf),
        ("warmup-share", config.warmup_share, 0.0, 1.0),
        ("patience", 1 if config.patience is None else config.patience, 1, np.inf),
        ("threads", config.threads, 1, 1024),
        ("resident-gib", config.resident_gib, 0.0, 2.0**20),
    ):
        if not least <= number <= most:
            raise InputError(f"--{flag} {number}: not between {least:g} and {most:g}")
    if config.noise_loss == "elr" and (config.mixup or config.cutmix):
        raise InputError("--noise-loss elr remembers whole images: it goes without mixup, cutmix")
    compilers = [os.environ.get("CXX") or "g++", "clang++"]
    if config.compile and not any(map(shutil.which, compilers)):
        raise InputError("--compile: torch.compile needs a C++ compiler (g++ or clang++), or CXX")


def _require_start(config: ClassifierConfig) -> None:
    """Raises InputError for weights that cannot be had and layers that cannot be replaced."""
    if config.pretrained or config.replace:
        network = build_network(config.model, 2)
        if config.pretrained:
            start_from(network, config.model, config.pretrained)
        replace_layers(network, config.replace)


def _require_monitored(config: ClassifierConfig, real: Store, synth: list[Store]) -> None:
    """Raises InputError where validation cannot give the figure that the run goes by."""
    wanted = {
        "--monitor": config.monitor,
        "--patience": config.patience and (config.monitor or "val_known"),
        "--schedule plateau": config.schedule == "plateau" and (config.monitor or "val_known"),
    }
    known = (real.column("label")[real.rows("val")] != OTHER).any()
    others = any((s.column("label")[s.rows("val")] == OTHER).any() for s in (real, *synth))
    there = {"val_known": known, "val_other": others, "val_macro": known or others}
    for flag, figure in wanted.items():
        if figure and not there[figure]:
            raise InputError(
                f"{flag}: {figure} cannot be measured, no such image is for validation; "
                "import_data.py splits some off"
            )


def _no_leak(real: Store, test: Store | None) -> None:
    """Raises InputError where an image to be measured on is one to be trained on."""
    digests, trained = real.column("sha256"), real.rows("train")
    measured = {"validation": set(digests[real.rows("val")])}
    if test is not None:
        measured["test"] = set(test.column("sha256"))
    for name, those in measured.items():
        shared = trained[np.array([d in those for d in digests[trained]], bool)]
        shared = shared[real.take(shared).any((1, 2))]  # blanks are all alike
        if len(shared):
            raise InputError(
                f"{len(set(digests[shared]))} images of the {name} split are training images of "
                f"{real.path} too, first {name_of(real, int(shared[0]))}; a measurement on them "
                "would say nothing"
            )


def _other_share(
    config: ClassifierConfig, pools: list[Pool], known: int, settings: MixSettings
) -> float | None:
    """The wanted share of "other" in a batch, or None (like one class of the alphabet) where there
    are fewer than ENOUGH_OTHERS images of it that the mix shows.

    Raises InputError where it is in force and a weight of "other" would do nothing.
    """
    others = sum(
        int(((p.targets >= known) & others_shown(p.sources, p.kinds, settings)).sum())
        for p in pools
    )
    if config.other_share is None or others < ENOUGH_OTHERS:
        return None
    for flag, given in (("group", config.group_weights), ("class", config.class_weights)):
        if OTHER in given:
            raise InputError(
                f"--{flag}-weights: with {others:,} other images --other-share "
                f"({config.other_share:g}) alone decides how often 'other' is shown; change that"
            )
    return config.other_share


def steady_images(setup: Setup, seed: int) -> np.ndarray:
    """[n, H, W] uint8: training images that the batch norms' final statistics are of.

    Real ones, as those to be read will be; with few of these, or none in use, of all sources in
    use: a network that shall see no real image sees none here either.
    """
    pools = setup.mix.pools
    real = pools[0].rows[pools[0].sources == REAL]
    if setup.mix.settings.weights["real"] > 0 and len(real) >= ENOUGH_REAL:
        return setup.stores[0].take(steady_rows(real, seed))
    store = np.repeat(np.arange(len(pools)), [len(pool.rows) for pool in pools])
    row = np.concatenate([pool.rows for pool in pools])
    used = [i for i, name in enumerate(SOURCES) if setup.mix.settings.weights[name] > 0]
    there = np.flatnonzero(np.isin(np.concatenate([pool.sources for pool in pools]), used))
    drawn = steady_rows(there, seed)
    return Images(setup.stores, resident_bytes=0).take(store[drawn], row[drawn])
