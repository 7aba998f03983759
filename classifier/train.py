"""A classifier run: stores -> mix -> training -> threshold -> model, figures."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifier.card import Card
from classifier.config import PRESETS, ClassifierConfig, Precision
from classifier.corrections import Corrections
from classifier.evaluate import evaluate, others_of
from classifier.export import Model, fastest_device, load_model, save_model
from classifier.finished import is_finished, read_json, versions
from classifier.fit import PROFILERS, fit
from classifier.held_out import others_in_training, threshold_images
from classifier.members import Members
from classifier.mixing import Mix
from classifier.processes import Processes
from classifier.rejection import answers, choose_by_group, choose_threshold, rates_at
from classifier.report import write_report
from classifier.setup import Setup, prepare
from classifier.suspects import left_out
from synth.errors import InputError
from synth.files import write_text
from synth.learning import fitting_preset, gains_by_bfloat16
from synth.lineage import refuse_weights
from synth.near_copies import refuse_copies
from synth.provenance import refuse_leaks
from synth.quota import group_of, real_counts
from synth.runs import keep_settings, plain
from synth.store import Store, lock_output

_FREE = ("threads", "resident_gib")  # the result is the same: an unfinished run may change them


def preset(name: str | None) -> tuple[str, ClassifierConfig]:
    """The named preset, or the one for this machine, in its fastest precision."""
    chosen = name or fitting_preset()
    if chosen not in PRESETS:
        raise InputError(f"--preset {chosen!r}: there are {', '.join(PRESETS)}")
    return chosen, replace(PRESETS[chosen], precision=fastest_precision())


def fastest_precision() -> Precision:
    """bfloat16 where this machine gains by it; float16, whose gradients are scaled, on a GPU
    that does not."""
    if gains_by_bfloat16():
        return "bf16-mixed"
    return "16-mixed" if torch.cuda.is_available() else "32-true"


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
    returns what is there, at once: what was looked for when it began is not looked for again.
    Raises InputError, with nothing written, for inputs that cannot be used (training images that
    are copies of those to be measured on among them), and for a run that was started with other
    settings or data.
    """
    if profile is not None and profile not in PROFILERS:
        raise InputError(f"--profile {profile!r}: there are {', '.join(PROFILERS)}")
    processes = Processes.here()
    if is_finished(out):
        setup = None
        decided = Corrections.read(corrections, real) if corrections else Corrections.none()
    else:
        if config.batch_size % processes.world:
            raise InputError(
                f"--batch-size {config.batch_size}: cannot be shared equally by {processes.world} "
                f"processes; take a multiple of {processes.world}"
            )
        refuse_copies(real)
        refuse_leaks(real, synth, test)
        if config.pretrained and (untold := refuse_weights(config.pretrained, real, test)):
            print(f"note: {untold}")
        setup = prepare(real, synth, config, seed, test, corrections)
        decided = setup.corrections
    start = {
        "seed": seed,
        "alphabet": real.alphabet.digest,
        "stores": [store.content for store in (real, *synth)],
        "test": test.content if test else None,
        "corrections": decided.digest or None,
    }
    settings = plain({"arguments": arguments, "classifier": asdict(config), "start": start})
    settings["machine"] = {name: settings["classifier"].pop(name) for name in _FREE}
    if not processes.first:
        if setup is not None:
            fit(setup, out, config, seed, processes, profile)
            _members(setup, out, config, seed, corrections).train_missing()
        return {}
    new = not out.exists()
    lock = lock_output(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        # a finished run of an earlier version knows fewer settings
        known = asdict(ClassifierConfig()) if is_finished(out) else None
        keep_settings(out, settings, ("classifier", "start"), known)
        if setup is None or is_finished(out):
            figures = read_json(out / "metrics.json")
            print(f"{out}: this run is finished")
            if not (out / "report.html").is_file():
                write_report(out / "report.html", out)
            return figures
        if not new:  # by their tables they are as they were; by their pixels too?
            for store in (*setup.stores, *([test] if test else [])):
                store.require_unchanged()
        return _train(setup, out, config, seed, arguments, test, corrections, processes, profile)
    finally:
        if new and not any(out.iterdir()):
            out.rmdir()
        lock.release()


def _train(
    setup: Setup,
    out: Path,
    config: ClassifierConfig,
    seed: int,
    arguments: dict[str, Any],
    test: Store | None,
    corrections: Path | None,
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
    members = _members(setup, out, config, seed, corrections)
    with members.beside():
        fitted = fit(setup, out, config, seed, processes, profile)
        of_one = time.monotonic() - started
    members.train_missing()
    seconds = time.monotonic() - started
    if fitted.stopped:
        print(f"{out}: no better for {config.patience} validations, stopped at {fitted.steps}")

    network = members.joined(fitted.module.average.module)
    network = network.to(fastest_device())  # Lightning left it on the CPU
    card = Card(config.model, real.alphabet, setup.others, real.canvas, 1.0, {})
    set_to = _threshold(Model(network, card), setup, config)
    threshold, chosen = set_to.threshold, set_to.rates
    info = {
        "arguments": plain(arguments),
        "config": plain(asdict(config)),
        "seed": seed,
        "sources": [{"store": str(s.path), "made": s.info["made"]} for s in setup.stores],
        "threshold_on_validation": chosen,
        "thresholds": set_to.by_class(real) or None,
        "versions": versions(),
        "corrections": setup.corrections.told() if setup.corrections.digest else None,
        "pretrained": fitted.module.started_from or None,
        "processes": processes.world,
        "nodes": processes.nodes,
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
    spent = {"training": round(seconds, 1)}  # seconds of each part
    figures: dict[str, Any] = {
        "seconds": round(seconds, 1),  # of this process, which began at `since_step`
        "since_step": fitted.first,  # not 0: the run was resumed there
        # of the first network, whatever trains beside it
        "images_per_second": round((fitted.steps - fitted.first) * config.batch_size / of_one),
        "steps": fitted.steps,
        "best": fitted.best,
        "spent": spent,
        "threshold": threshold,
        "threshold_doubt": set_to.doubt or None,
        "thresholds": set_to.by_group or None,
        "validation": chosen,
        "held_out_others": set_to.others or None,
        "mix": table,
        # with the images that were left out when it ended; None: none were
        "mix_at_end": _mix_at_end(mix, fitted.weights, table, config.steps_per_epoch),
    }
    counts, trained = real_counts(real), others_in_training(setup)
    model = load_model(out, own_code=True, device=fastest_device())  # it ran a moment ago
    part = time.monotonic()
    left_out(model, setup, fitted.weights).write(out)
    spent["suspected labels"] = round(time.monotonic() - part, 1)
    for name, store, rows in (
        ("val", real, real.rows("val")),
        *([("test", test, np.arange(len(test)))] if test else []),
    ):
        if len(rows):
            part = time.monotonic()
            probabilities = model.probabilities(store.take(rows))
            evaluation = evaluate(
                probabilities, store, rows, model.card.limits, counts, trained, model.card.score
            )
            evaluation.write(out / f"predictions_{name}.parquet")
            figures[name] = evaluation.figures
            spent[f"{name} images"] = round(time.monotonic() - part, 1)
    write_text(out / "metrics.json", json.dumps(figures, ensure_ascii=False, indent=1))
    write_report(out / "report.html", out)
    return figures


def _mix_at_end(
    mix: Mix, weights: tuple[np.ndarray, ...] | None, start: str, steps_per_epoch: int
) -> str | None:
    """The table of the mix with the last sample weights; None where it is that of the start."""
    if weights is None:
        return None
    table = mix.with_weights(weights).table(steps_per_epoch)
    return table if table != start else None


def _members(
    setup: Setup, out: Path, config: ClassifierConfig, seed: int, corrections: Path | None
) -> Members:
    real, *synth = (store.path for store in setup.stores)
    contents = tuple(store.content for store in setup.stores)
    decided = setup.corrections.digest
    return Members(real, tuple(synth), out, config, seed, corrections, contents, decided)


@dataclass(frozen=True)
class _SetTo:
    """The threshold of a run."""

    threshold: float
    rates: dict[str, float]  # at what is in force, on the images that it was set on
    doubt: str  # why it may be too high
    by_group: dict[str, float]  # group of known classes -> its own; none where one is for all
    others: dict[str, dict[str, float]]  # of `others_of`: those that it was set on

    def by_class(self, real: Store) -> dict[str, float]:
        """Character -> its own."""
        if not self.by_group:
            return {}
        counts = real_counts(real)
        return {c: self.by_group[group_of(counts[c])] for c in real.alphabet.chars}


def _threshold(model: Model, setup: Setup, config: ClassifierConfig) -> _SetTo:
    """Set on `threshold_images`."""
    held, real, score = threshold_images(setup), setup.stores[0], config.other_score
    threshold = 1.0
    rates: dict[str, float] = {}
    by_group: dict[str, float] = {}
    others: dict[str, dict[str, float]] = {}
    if len(held.images):
        p = model.probabilities(held.images)
        lost = config.known_lost
        threshold, rates = choose_threshold(p, held.targets, setup.known, lost, score)
        limits = np.full(setup.known, threshold)
        if config.threshold_by == "group":
            counts = real_counts(real)
            group = np.array([group_of(counts[c]) for c in real.alphabet.chars])
            by_group = choose_by_group(p, held.targets, group, threshold, lost, score)
            limits = np.array([by_group[g] for g in group])
            # what these find and lose, not what the one for all would; where that one is none, a
            # group may have its own
            if rates or (limits < 1).any():
                rates = rates_at(p, held.targets, setup.known, limits, score)
        called = answers(p, setup.known, limits, score) == setup.known
        is_other = held.targets == setup.known
        trained = others_in_training(setup)
        others = others_of(is_other, called, held.chars, held.kinds, trained)
    if held.doubt:
        print(f"threshold: {held.doubt}")
    if not rates:
        print(
            "threshold: validation has no other image, no known one that is read right, or no "
            "threshold that these would pass: nothing will be called other"
        )
    return _SetTo(threshold, rates, held.doubt, by_group, others)
