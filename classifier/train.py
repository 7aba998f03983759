"""A classifier run: stores -> mix -> training -> threshold -> model, figures."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from classifier.bending import Bending
from classifier.config import PRESETS, ClassifierConfig
from classifier.data import MixData
from classifier.evaluate import evaluate
from classifier.export import load_model, save_model
from classifier.finished import versions
from classifier.lit import CheckedCheckpoints, ClassifierModule, Cleaner
from classifier.mixing import Mix, MixSettings, Pool, training_classes
from classifier.networks import require_model
from classifier.pipeline import Augment, CheckedFunction, load_function
from classifier.progress import Metrics, Progress, Saver
from classifier.rejection import choose_threshold
from classifier.report import write_report
from synth.files import has_checkpoint, write_text
from synth.quota import real_counts
from synth.runs import keep_settings, plain
from synth.store import Store, lock_output


def preset(name: str | None) -> tuple[str, ClassifierConfig]:
    """The named preset, or the one for this machine, in its fastest precision."""
    from dataclasses import replace

    chosen = name or ("large" if torch.cuda.is_available() else "small")
    fast = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return chosen, replace(PRESETS[chosen], precision="bf16-mixed" if fast else "32-true")


def train(
    real: Store,
    synth: list[Store],
    out: Path,
    config: ClassifierConfig,
    seed: int,
    arguments: dict[str, Any],  # as given, for the record
    test: Store | None = None,  # measured once, at the end
) -> dict[str, Any]:
    """Returns the figures, which also stand in `out`/metrics.json.

    The same call on an unfinished run goes on from its last checkpoint; on a finished one it
    returns what is there.
    """
    for store in (*synth, *([test] if test else [])):
        store.require(real.canvas, real.alphabet)
    require_model(config.model)
    user_function = load_function(config.augment) if config.augment else None
    out.mkdir(parents=True, exist_ok=True)
    lock = lock_output(out)
    try:
        if (out / "metrics.json").is_file():  # written last
            print(f"{out}: this run is finished")
            if not (out / "report.html").is_file():
                write_report(out / "report.html", out)
            return json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        return _train(real, synth, out, config, user_function, seed, arguments, test)
    finally:
        lock.release()


def _train(
    real: Store,
    synth: list[Store],
    out: Path,
    config: ClassifierConfig,
    user_function: CheckedFunction | None,
    seed: int,
    arguments: dict[str, Any],
    test: Store | None,
) -> dict[str, Any]:
    stores = [real, *synth]
    start = {"digest": real.alphabet.digest, "seed": seed}
    settings = plain({"arguments": arguments, "classifier": asdict(config), "start": start})
    keep_settings(out, settings, ("classifier", "start"))

    others, targets = training_classes(real.alphabet, stores)
    names = (*real.alphabet.classes, *others)
    known = len(real.alphabet)
    pools = [Pool.of(store, t) for store, t in zip(stores, targets, strict=True)]
    mix = Mix.of(
        pools,
        names,
        MixSettings(
            weights={
                "real": config.real_weight,
                "font": config.font_weight,
                "gan": config.gan_weight,
            },
            weigh="image",
            sampling=config.sampling,
            other_share=_other_share(config, pools, known),
            skip_empty=True,
        ),
        seed=seed,
        batch_size=config.batch_size,
        total_steps=config.steps,
    )
    table = mix.table(config.steps_per_epoch)
    print(table, flush=True)
    write_text(out / "mix.txt", table + "\n")

    val_rows = [store.rows("val") for store in stores]
    data = MixData(
        stores,
        mix,
        Augment().scaled(config.augment_strength),
        seed=seed,
        steps_per_epoch=config.steps_per_epoch,
        val_stores=stores if sum(map(len, val_rows)) else (),
        val_rows=val_rows,
        val_targets=targets,
        threads=config.threads,
        user_function=user_function,
    )
    bending = bending_of(config)
    module = ClassifierModule(config, len(names), known, bending, seed)
    started = time.monotonic()
    steps = _fit(module, data, out, config, stores)
    module.refresh_average()
    seconds = time.monotonic() - started

    threshold, chosen = _threshold(module, stores, val_rows, targets, known)
    info = {
        "arguments": settings["arguments"],
        "config": settings["classifier"],
        "seed": seed,
        "sources": [{"store": str(s.path), "made": s.info["made"]} for s in stores],
        "threshold_on_validation": chosen,
        "versions": versions(),
    }
    save_model(
        out,
        module.average.module,
        config.model,
        real.alphabet,
        others,
        real.canvas,
        threshold,
        info,
    )
    figures = {
        "seconds": round(seconds, 1),  # of this process: a resumed run has fewer steps in it
        "images_per_second": round(steps * config.batch_size / seconds),
        "threshold": threshold,
        "validation": chosen,
        "mix": table,
    }
    counts = real_counts(real)
    model = load_model(out)
    for name, store, rows in (
        ("val", real, real.rows("val")),
        *([("test", test, np.arange(len(test)))] if test else []),
    ):
        if len(rows):
            probabilities = model.probabilities(np.asarray(store.images[rows]))
            evaluation = evaluate(probabilities, store, rows, threshold, counts)
            evaluation.write(out / f"predictions_{name}.parquet")
            figures[name] = evaluation.figures
    write_text(out / "metrics.json", json.dumps(figures, ensure_ascii=False, indent=1))
    write_report(out / "report.html", out)
    return figures


def bending_of(config: ClassifierConfig) -> Bending:
    """The bending at the run's strength of augmentation."""
    strength, default = config.augment_strength, Bending()
    return Bending(default.elastic_px * strength, default.nodes, min(default.pen * strength, 1.0))


def _other_share(config: ClassifierConfig, pools: list[Pool], known: int) -> float | None:
    """The wanted share of "other", but no image of it more than 30 times a class's own share.

    With no synthetic others there are a few dozen real ones: 30 % of every batch would be these.
    """
    if config.other_share is None:
        return None
    others = sum(int((p.targets >= known).sum()) for p in pools)
    if others == 0:
        return None
    if others < 1000:
        return None  # like one class among the others
    return config.other_share


def _fit(
    module: ClassifierModule,
    data: MixData,
    out: Path,
    config: ClassifierConfig,
    stores: list[Store],
) -> int:
    """Trains to the end. Returns the steps done by this process."""
    last = out / "checkpoints" / "last.ckpt"
    resume = last if has_checkpoint(last) else None
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips are no result
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=config.precision,
        max_steps=config.steps,
        max_epochs=-1,
        plugins=[CheckedCheckpoints()],
        callbacks=[
            Cleaner(data, config, stores),
            Saver(last),
            Progress(config),
            Metrics(out / "metrics.jsonl"),
        ],
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=25,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if data.has_validation else 0,
        reload_dataloaders_every_n_epochs=0,
    )
    first = 0
    if resume:
        first = int(CheckedCheckpoints().load_checkpoint(resume)["global_step"])
        print(f"{out}: going on at step {first} of {config.steps}")
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    if trainer.global_step < config.steps:
        raise RuntimeError(f"{out}: stopped at step {trainer.global_step} of {config.steps}")
    return config.steps - first


def _threshold(
    module: ClassifierModule,
    stores: list[Store],
    val_rows: list[np.ndarray],
    targets: list[np.ndarray],
    known: int,
) -> tuple[float, dict[str, float]]:
    """Set on validation images: real known ones, and other characters held out from training.

    GAN images of the held-out others are used where there are some (they are nearer to real ones
    than font images), else font images. Every class counts the same.
    """
    network = module.average.module.eval()
    by_source = {s: i for i, s in enumerate(("real", "font", "gan"))}
    chosen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for store, rows, target in zip(stores, val_rows, targets, strict=True):
        if len(rows) == 0:
            continue
        source = np.array([by_source[s] for s in store.column("source")[rows]])
        chosen.append((np.asarray(store.images[rows]), target[rows], source))
    if not chosen:
        return 1.0, {}
    images, target, source = (np.concatenate(parts) for parts in zip(*chosen, strict=True))
    other = target >= known
    best_source = 2 if (other & (source == 2)).any() else 1
    use = (~other & (source == 0)) | (other & ((source == best_source) | (source == 0)))
    images, target = images[use], np.minimum(target[use], known)
    out = []
    from synth.canvas import to_float

    with torch.no_grad():
        for i in range(0, len(images), 256):
            x = torch.from_numpy(to_float(images[i : i + 256]))[:, None].to(module.device)
            logits = network(x.contiguous(memory_format=torch.channels_last)).float()
            out.append(torch.softmax(logits, 1).cpu().numpy())
    count = np.bincount(target, minlength=known + 1)
    return choose_threshold(np.concatenate(out), target, known, 1 / count[target])
