"""A classifier run: stores -> mix -> training -> threshold -> model, figures."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

from classifier.config import PRESETS, ClassifierConfig
from classifier.data import MixData
from classifier.evaluate import evaluate
from classifier.export import load_model, save_model
from classifier.finished import versions
from classifier.lit import CheckedCheckpoints, ClassifierModule, Cleaner
from classifier.progress import Metrics, Progress, Saver
from classifier.rejection import choose_threshold
from classifier.report import write_report
from classifier.setup import Setup, prepare, threshold_images
from synth.canvas import to_float
from synth.errors import InputError
from synth.files import has_checkpoint, write_text
from synth.quota import real_counts
from synth.runs import keep_settings, plain
from synth.store import Store, lock_output


def preset(name: str | None) -> tuple[str, ClassifierConfig]:
    """The named preset, or the one for this machine, in its fastest precision."""
    chosen = name or ("large" if torch.cuda.is_available() else "small")
    if chosen not in PRESETS:
        raise InputError(f"--preset {chosen!r}: there are {', '.join(PRESETS)}")
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
    returns what is there. Raises InputError, with nothing written, for inputs that cannot be used,
    and for a run that was started with other settings or data.
    """
    setup = prepare(real, synth, config, seed, test)
    start = {
        "seed": seed,
        "alphabet": real.alphabet.digest,
        "stores": [store.content for store in setup.stores],
        "test": test.content if test else None,
    }
    settings = plain({"arguments": arguments, "classifier": asdict(config), "start": start})
    new = not out.exists()
    lock = lock_output(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        keep_settings(out, settings, ("classifier", "start"))
        if (out / "metrics.json").is_file():  # written last
            print(f"{out}: this run is finished")
            if not (out / "report.html").is_file():
                write_report(out / "report.html", out)
            return json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        return _train(setup, out, config, seed, settings, test)
    finally:
        if new and not any(out.iterdir()):
            out.rmdir()
        lock.release()


def _train(
    setup: Setup,
    out: Path,
    config: ClassifierConfig,
    seed: int,
    settings: dict[str, Any],
    test: Store | None,
) -> dict[str, Any]:
    real, mix, known = setup.stores[0], setup.mix, setup.known
    table = mix.table(config.steps_per_epoch)
    print(table, flush=True)
    write_text(out / "mix.txt", table + "\n")
    data = MixData(
        setup.stores,
        mix,
        setup.augment,
        seed=seed,
        steps_per_epoch=config.steps_per_epoch,
        val_stores=setup.stores if sum(map(len, setup.val_rows)) else (),
        val_rows=setup.val_rows,
        val_targets=setup.targets,
        threads=config.threads,
        user_function=setup.user_function,
    )
    module = ClassifierModule(config, mix.classes, known, setup.bending, seed)
    started = time.monotonic()
    steps = _fit(module, data, out, config, setup.stores)
    seconds = time.monotonic() - started

    threshold, chosen = _threshold(module, setup)
    info = {
        "arguments": settings["arguments"],
        "config": settings["classifier"],
        "seed": seed,
        "sources": [{"store": str(s.path), "made": s.info["made"]} for s in setup.stores],
        "threshold_on_validation": chosen,
        "versions": versions(),
    }
    save_model(
        out,
        module.average.module,
        config.model,
        real.alphabet,
        setup.others,
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
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    if trainer.global_step < config.steps:
        raise RuntimeError(f"{out}: stopped at step {trainer.global_step} of {config.steps}")
    return config.steps - first


def _threshold(module: ClassifierModule, setup: Setup) -> tuple[float, dict[str, float]]:
    """Set on `threshold_images`. Every class counts the same."""
    images, target = threshold_images(setup)
    out = []
    with torch.no_grad():
        for i in range(0, len(images), 256):
            x = torch.from_numpy(to_float(images[i : i + 256]))[:, None].to(module.device)
            logits = module.average.module(x.contiguous(memory_format=torch.channels_last))
            out.append(torch.softmax(logits.float(), 1).cpu().numpy())
    threshold, rates = 1.0, {}
    if len(images):
        count = np.bincount(target, minlength=setup.known + 1)
        threshold, rates = choose_threshold(
            np.concatenate(out), target, setup.known, 1 / count[target]
        )
    if not rates:
        print("threshold: validation has no known or no other image: nothing will be called other")
    return threshold, rates
