"""A classifier run: stores -> mix -> training -> threshold -> model, figures."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.profilers import (
    AdvancedProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)
from pytorch_lightning.strategies import DDPStrategy

from classifier.best import Best
from classifier.card import Card
from classifier.cleaning import Cleaner
from classifier.config import PRESETS, ClassifierConfig
from classifier.data import MixData
from classifier.evaluate import evaluate
from classifier.export import Model, fastest_device, load_model, save_model
from classifier.finished import versions
from classifier.gradients import GradientCheck
from classifier.hardness import Hardness
from classifier.lit import CheckedCheckpoints, ClassifierModule
from classifier.pipeline import Device
from classifier.processes import Processes
from classifier.progress import Metrics, Progress, Saver
from classifier.rejection import choose_threshold
from classifier.report import write_report
from classifier.setup import Setup, prepare, steady_images, threshold_images
from classifier.suspects import left_out
from synth.errors import InputError
from synth.files import has_checkpoint, write_text
from synth.quota import real_counts
from synth.runs import keep_settings, plain
from synth.store import Store, lock_output

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


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
    corrections: Path | None = None,  # CSV of decided labels, see classifier.corrections
    profile: str | None = None,  # of PROFILERS; written to `out`/profile
) -> dict[str, Any]:
    """Returns the figures, which also stand in `out`/metrics.json. Of several processes, those but
    the first return none.

    The same call on an unfinished run goes on from its last checkpoint; on a finished one it
    returns what is there. Raises InputError, with nothing written, for inputs that cannot be used,
    and for a run that was started with other settings or data.
    """
    if profile is not None and profile not in PROFILERS:
        raise InputError(f"--profile {profile!r}: there are {', '.join(PROFILERS)}")
    processes = Processes.here()
    setup = prepare(real, synth, config, seed, test, corrections)
    start = {
        "seed": seed,
        "alphabet": real.alphabet.digest,
        "stores": [store.content for store in setup.stores],
        "test": test.content if test else None,
        "corrections": setup.corrections.digest or None,
    }
    settings = plain({"arguments": arguments, "classifier": asdict(config), "start": start})
    if not processes.first:
        if not (out / "metrics.json").is_file():
            fit(setup, out, config, seed, processes, profile)
        return {}
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
        return _train(setup, out, config, seed, settings, test, processes, profile)
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
    processes: Processes,
    profile: str | None,
) -> dict[str, Any]:
    real, mix = setup.stores[0], setup.mix
    table = mix.table(config.steps_per_epoch)
    print(table, flush=True)
    if setup.corrections.digest:
        print(f"corrections: {setup.corrections.told()}")
    write_text(out / "mix.txt", table + "\n")
    started = time.monotonic()
    fitted = fit(setup, out, config, seed, processes, profile)
    module, seconds = fitted.module, time.monotonic() - started
    if fitted.stopped:
        print(f"{out}: no better for {config.patience} validations, stopped at {fitted.steps}")

    network = module.average.module.to(fastest_device())  # Lightning left it on the CPU
    card = Card(config.model, real.alphabet, setup.others, real.canvas, 1.0, {})
    threshold, chosen = _threshold(Model(network, card), setup)
    info = {
        "arguments": settings["arguments"],
        "config": settings["classifier"],
        "seed": seed,
        "sources": [{"store": str(s.path), "made": s.info["made"]} for s in setup.stores],
        "threshold_on_validation": chosen,
        "versions": versions(),
        "corrections": setup.corrections.told() if setup.corrections.digest else None,
        "pretrained": module.started_from or None,
        "processes": processes.world,
    }
    save_model(
        out,
        network,
        config.model,
        real.alphabet,
        setup.others,
        real.canvas,
        threshold,
        info,
    )
    figures = {
        "seconds": round(seconds, 1),  # of this process: a resumed run has fewer steps in it
        "images_per_second": round((fitted.steps - fitted.first) * config.batch_size / seconds),
        "steps": fitted.steps,
        "best": fitted.best,
        "spent": {"training": round(seconds, 1)},  # seconds of each part
        "threshold": threshold,
        "validation": chosen,
        "mix": table,
    }
    counts = real_counts(real)
    model = load_model(out, own_code=True, device=fastest_device())  # it ran a moment ago
    part = time.monotonic()
    left_out(model, setup, fitted.weights).write(out)
    figures["spent"]["suspected labels"] = round(time.monotonic() - part, 1)
    for name, store, rows in (
        ("val", real, real.rows("val")),
        *([("test", test, np.arange(len(test)))] if test else []),
    ):
        if len(rows):
            part = time.monotonic()
            probabilities = model.probabilities(np.asarray(store.images[rows]))
            evaluation = evaluate(probabilities, store, rows, threshold, counts)
            evaluation.write(out / f"predictions_{name}.parquet")
            figures[name] = evaluation.figures
            figures["spent"][f"{name} images"] = round(time.monotonic() - part, 1)
    write_text(out / "metrics.json", json.dumps(figures, ensure_ascii=False, indent=1))
    write_report(out / "report.html", out)
    return figures


@dataclass(frozen=True)
class Fitted:
    """A network at the end of its training, its moving average ready to be measured."""

    module: ClassifierModule
    first: int  # step at which this process began
    steps: int  # at its end
    stopped: bool  # before its time, since it got no better
    best: dict[str, Any] | None  # monitored figure, its value and step
    weights: tuple[np.ndarray, ...] | None  # of the samples, at the end


def fit(
    setup: Setup,
    out: Path,  # the run's folder
    config: ClassifierConfig,
    seed: int,
    processes: Processes | None = None,  # None: this one alone
    profile: str | None = None,
) -> Fitted:
    """Trains to the end, from the last checkpoint where there is one."""
    processes = processes or Processes()
    data = MixData(
        setup.stores,
        setup.mix,
        setup.augment,
        seed=seed,
        steps_per_epoch=config.steps_per_epoch,
        val_stores=setup.stores if sum(map(len, setup.val_rows)) else (),
        val_rows=setup.val_rows,
        val_targets=setup.targets,
        threads=config.threads,
        user_function=setup.user_function,
        device=_batches_device(setup),
        ease=config.ease,
    )
    module = ClassifierModule(
        config,
        setup.mix.classes,
        setup.known,
        setup.bending,
        seed,
        setup.mix.prior(),
        len(setup.stores[0]),
        steady_images(setup, seed),
    )
    if module.started_from and processes.first:
        print(f"pretrained: {module.started_from}")
    last = out / "checkpoints" / "last.ckpt"
    resume = last if has_checkpoint(last) else None
    best = None
    if config.monitor or config.patience:
        monitor = config.monitor or "val_known"
        best = Best(out / "checkpoints" / "best.pt", monitor, config.patience)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips are no result
    trainer = pl.Trainer(
        accelerator="auto",
        devices=processes.of_a_node,
        num_nodes=processes.nodes,
        strategy=_strategy(config, processes),
        precision=config.precision,
        max_steps=config.steps,
        max_epochs=-1,
        plugins=[CheckedCheckpoints()],
        callbacks=[
            Cleaner(data, config, setup.corrections.trusted),
            *([Hardness(data, config.hard_weight)] if config.hard_weight > 1 else []),
            *([best] if best else []),
            GradientCheck(),
            Saver(last),
            Progress(config),
            Metrics(out / "metrics.jsonl"),
        ],
        logger=TensorBoardLogger(out, name="", version="tensorboard"),
        profiler=PROFILERS[profile](out, "profile") if profile else None,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=25,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=0,
        use_distributed_sampler=False,  # each process takes its own part of a batch
    )
    first = 0
    if resume:
        first = int(CheckedCheckpoints().load_checkpoint(resume)["global_step"])
        if processes.first:
            print(f"{out}: going on at step {first} of {config.steps}")
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    steps = trainer.global_step
    stopped = best is not None and steps < config.steps and best.enough
    if steps < config.steps and not stopped:
        raise RuntimeError(f"{out}: stopped at step {steps} of {config.steps}")
    if best is not None:
        best.restore(module)
    module.average.eval()  # a run resumed at its last step came to no hook that says so
    kept = {"figure": best.monitor, "value": best.value, "step": best.step} if best else None
    return Fitted(module, first, steps, stopped, kept, data.mix.weights)


def _strategy(config: ClassifierConfig, processes: Processes) -> str | DDPStrategy:
    if processes.world == 1:
        return "auto"
    # a frozen block has no gradient to wait for
    return DDPStrategy(find_unused_parameters=config.freeze_steps > 0)


def _batches_device(setup: Setup) -> Device:
    """A user's own function is numpy's, and DALI gives such a one images on a CPU only."""
    return "gpu" if torch.cuda.is_available() and setup.user_function is None else "cpu"


def _threshold(model: Model, setup: Setup) -> tuple[float, dict[str, float]]:
    """Set on `threshold_images`."""
    images, target = threshold_images(setup)
    threshold, rates = 1.0, {}
    if len(images):
        threshold, rates = choose_threshold(model.probabilities(images), target, setup.known)
    if not rates:
        print(
            "threshold: validation has no other image, or no known one that is read right: "
            "nothing will be called other"
        )
    return threshold, rates
