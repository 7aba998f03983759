"""Real and synthetic stores -> a trained classifier, its figures and a report.

The same command on an unfinished run goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/train_classifier.py --real runs/real --synth runs/font runs/gan/samples "
        "--out runs/classifier",
    )
    p.add_argument("--real", type=Path, required=True, help="real store")
    p.add_argument("--synth", type=Path, nargs="+", default=[], help="font and GAN stores")
    p.add_argument("--out", type=Path, required=True, help="run folder")
    p.add_argument("--test", type=Path | None, help="labelled store, measured once at the end")
    p.add_argument(
        "--allow-copies",
        action="store_true",
        help="measure on --test though nearly equal images are trained on",
    )
    p.add_argument(
        "--preset",
        type=str | None,
        help="large (GPU), small, lean or light (CPUs, by speed), demo; default: this machine's",
    )
    p.add_argument(
        "--model",
        type=str | None,
        help="compact, resnet18, resnet50, efficientnet-b0 .. b7, or any name of timm's (extra "
        "timm); default: the preset's",
    )
    p.add_argument(
        "--members",
        type=int | None,
        help="networks trained from different starts (with --pretrained from the same, on other "
        "batches), whose probabilities are averaged; on a CPU side by side, each with its part of "
        "the threads; default: the preset's",
    )
    p.add_argument(
        "--pretrained",
        type=str | None,
        help="weights to start from: library (those of the model's library, fetched), a "
        ".safetensors or torch file, or a finished run; default: none",
    )
    p.add_argument(
        "--replace",
        type=str,
        nargs="+",
        default=[],
        metavar="PATTERN=MODULE:CLASS",
        help="layers that a class of yours stands in for: it is called with the old layer; for "
        "instance body.*.gate=mine:Gate",
    )
    p.add_argument(
        "--freeze-steps",
        type=int | None,
        help="first steps that train the head alone, then all thaws (default 0)",
    )
    p.add_argument(
        "--steps",
        type=int | None,
        help="optimiser steps; default: the preset's, more for more than 100 characters",
    )
    p.add_argument("--batch-size", type=int | None, help="images a step; default: the preset's")
    p.add_argument(
        "--lr",
        type=float | None,
        help="peak learning rate; with muon that of all but hidden convolutions (default 0.003)",
    )
    p.add_argument(
        "--muon-lr",
        type=float | None,
        help="peak learning rate of the hidden convolutions, with --optimiser muon (default 0.02)",
    )
    p.add_argument(
        "--warmup-share",
        type=float | None,
        help="first part of the run in which the learning rate rises, 0..1 (default 0.15)",
    )
    p.add_argument(
        "--weight-decay",
        type=float | None,
        help="pull of every weight to 0, times the learning rate a step; biases and norms have "
        "none (default 0.05)",
    )
    p.add_argument(
        "--ema-decay",
        type=float | None,
        help="of the moving average of the weights, which is what is kept, for each step; 0 keeps "
        "the last weights as they are (default 0.998)",
    )
    p.add_argument(
        "--optimiser",
        type=str | None,
        help="muon (default; with --pretrained adamw), adamw or sgd",
    )
    p.add_argument(
        "--schedule",
        type=str | None,
        help="of the learning rate: one-cycle (default), cosine, step or plateau",
    )
    p.add_argument(
        "--lr-decay-by-depth",
        type=float | None,
        help="learning rate of a block as a share of the next one's, nearer to the head, "
        "0.001..1 (default 1)",
    )
    p.add_argument(
        "--clip-norm", type=float | None, help="of all gradients together; 0: off (default 5)"
    )
    p.add_argument(
        "--mixup", type=float | None, help="m of Beta(m, m) for blending two images (default 0)"
    )
    p.add_argument(
        "--cutmix", type=float | None, help="m of Beta(m, m) for pasting a box in (default 0)"
    )
    p.add_argument(
        "--logit-adjustment",
        type=float | None,
        help="strength; 1 trains for classes that are equally frequent (default 0)",
    )
    p.add_argument(
        "--one-vs-rest",
        type=float | None,
        help="weight of an auxiliary loss that asks of each known character whether it is this one "
        "or anything else, for networks whose last layer is linear; 0: off (default 0.5)",
    )
    p.add_argument(
        "--smoothing-real",
        type=float | None,
        help="label smoothing of real images: probability that is given to all classes alike, "
        "0..1; the more, the less a wrong label pulls (default 0.1)",
    )
    p.add_argument(
        "--smoothing-synthetic",
        type=float | None,
        help="the same of font and GAN images, whose labels are right (default 0.02)",
    )
    p.add_argument(
        "--cleaning",
        type=bool,
        default=True,
        help="leave out real images whose label the network comes to doubt (default true)",
    )
    p.add_argument(
        "--clean-at",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="parts of the run after which labels are doubted, 0..1; each time anew, so that an "
        "image may come back (default 0.35 0.6)",
    )
    p.add_argument(
        "--doubt-below",
        type=float | None,
        help="probability of its given label under which a real image is left out, 0..1: higher "
        "finds more wrong labels and loses more right ones (default 0.1)",
    )
    p.add_argument(
        "--synthetic-loss-weight",
        type=float | None,
        help="of a font or GAN image in the loss; a real one has 1 (default 1)",
    )
    p.add_argument(
        "--noise-loss",
        type=str | None,
        help="of real images, against wrong labels: none (default), gce, sce or elr",
    )
    p.add_argument(
        "--hard-weight",
        type=float | None,
        help="times that an image of middling difficulty is shown for an easy one (default 1)",
    )
    p.add_argument("--real-weight", type=float | None, help="in the mix, of a real image (9)")
    p.add_argument("--font-weight", type=float | None, help="in the mix, of a font image (1)")
    p.add_argument("--gan-weight", type=float | None, help="in the mix, of a GAN image (1)")
    p.add_argument(
        "--real-share",
        type=float | None,
        help="least that real images are of a class that has some, from 70 %% of the run on, 0..1 "
        "(0.5)",
    )
    p.add_argument(
        "--synthetic-start",
        type=float | None,
        help="font and GAN weights times this at first, linearly to times 1 at the end (3)",
    )
    p.add_argument(
        "--group-weights",
        type=dict[str, float] | None,
        help="how often a group's classes are shown, factors on --sampling: common, rare, few, "
        "none, other (which --other-share decides about where it is in force); for instance "
        "'{rare: 2}'",
    )
    p.add_argument(
        "--class-weights", type=dict[str, float] | None, help="the same of single classes"
    )
    p.add_argument(
        "--kind-weights",
        type=dict[str, float] | None,
        help="how often the images of a kind are shown inside 'other', factors: confusable, "
        "common, two, crossed ...; for instance '{scribble: 0.5}'",
    )
    p.add_argument(
        "--source-weights",
        type=dict[str, dict[str, float]] | None,
        help="factors on a source's weight in a group or class, 0 switches it off there; for "
        "instance '{common: {font: 0}}'",
    )
    p.add_argument(
        "--augmentation",
        type=dict[str, float] | None,
        help="ranges of the built-in augmentation, before --augment-strength; for instance "
        "'{perspective: 0.1, grid_probability: 0.2}'",
    )
    p.add_argument(
        "--augment-strength", type=float | None, help="of the augmentation, 0 to 2 (default 1)"
    )
    p.add_argument(
        "--augment",
        type=str | None,
        help="module:function, a numpy function of yours: [H, W] uint8 -> [H, W] uint8, ink high; "
        "for instance scripts.augment_example:distort. With the attribute takes_cupy it gets CuPy "
        "arrays on a GPU",
    )
    p.add_argument(
        "--sampling", type=str | None, help="of classes: balanced (default), sqrt or natural"
    )
    p.add_argument(
        "--other-share",
        type=float | None,
        help="of 'other' in a batch, 0..1, where there are a thousand such images or more; more "
        "finds more of what is not in the alphabet and costs known characters (default 0.35)",
    )
    p.add_argument(
        "--others",
        type=str | None,
        help="characters outside the alphabet that fonts or GAN draw: each (default) is a class of "
        "its own, which the answer folds into 'other'; one: they are one class",
    )
    p.add_argument(
        "--other-score",
        type=str | None,
        help="what is held against the threshold, of the others' probabilities against the known "
        "ones': norms (default, root sums of squares), logit (the largest), energy (sums), or "
        "softmax (1 - the most probable known one); kept in the model",
    )
    p.add_argument(
        "--threshold-by",
        type=str | None,
        help="all (default): one threshold; group: one for the common, the rare and the few "
        "characters each, by which of them an image looks most like, where validation has 20 known "
        "and 20 other images of such",
    )
    p.add_argument(
        "--known-lost",
        type=float | None,
        help="share of the known validation images read right that the threshold may call other, "
        "0..1; with less of it rare characters are called other less often, and others are taken "
        "for known ones more often (default: 0.05)",
    )
    p.add_argument(
        "--synthetic-cap",
        type=float | None,
        help="most that font and GAN may be of a class with real images, 0..1 (default: no cap)",
    )
    p.add_argument(
        "--real-only-share",
        type=float | None,
        help="last part of the run that shows known classes by real images only (default 0)",
    )
    p.add_argument(
        "--threads",
        type=int | None,
        help="of DALI (1 for networks trained beside the first; default 2, large: 8); an "
        "unfinished run may go on with another number",
    )
    p.add_argument(
        "--resident-gib",
        type=float | None,
        help="images up to this many GiB together are held in memory, in each process, more are "
        "read from the stores as they come (default 2); an unfinished run may go on with less",
    )
    p.add_argument(
        "--precision",
        type=str | None,
        help="Lightning's: 32-true, bf16-mixed or 16-mixed; default: the fastest here",
    )
    p.add_argument(
        "--corrections",
        type=Path | None,
        help="CSV of decided labels, columns sha256 and label, as the report writes it",
    )
    p.add_argument(
        "--monitor",
        type=str | None,
        help="keep the weights best at val_known, val_macro or val_other; default: the last, with "
        "--patience val_known",
    )
    p.add_argument(
        "--patience",
        type=int | None,
        help="validations without a better --monitor (val_known) that end the run; default: none",
    )
    p.add_argument(
        "--compile",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="torch.compile the network (default false)",
    )
    p.add_argument(
        "--profile",
        type=str | None,
        help="where the time goes, to OUT/profile*: simple, advanced or pytorch; default: off",
    )
    p.add_argument("--seed", type=int, default=1)
    return p


def _named(value: Any) -> Any:
    """A mapping's keys as text: in YAML the class 1 is a number."""
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value


def main(args: Namespace) -> None:
    from classifier.finished import is_finished
    from synth.near_copies import told_copies
    from synth.store import Store

    real = Store.open(args.real)
    synth = [Store.open(path) for path in args.synth]
    test = Store.open(args.test) if args.test else None
    # of a finished run it was looked for when it began; it is bound to its stores
    told = told_copies(real, test) if test and not is_finished(args.out) else ""
    if told and not args.allow_copies:
        raise InputError(f"{told}; --allow-copies measures there all the same")

    from dataclasses import replace

    from classifier.processes import Processes
    from classifier.train import preset, train

    name, config = preset(args.preset)
    config = config.for_classes(len(real.alphabet))
    names = (
        "model members steps batch_size lr muon_lr real_weight font_weight gan_weight "
        "augment_strength augment precision sampling synthetic_cap real_only_share "
        "synthetic_start real_share group_weights class_weights kind_weights source_weights "
        "augmentation pretrained freeze_steps optimiser schedule lr_decay_by_depth clip_norm mixup "
        "cutmix one_vs_rest logit_adjustment synthetic_loss_weight noise_loss hard_weight monitor "
        "patience compile threads resident_gib warmup_share weight_decay ema_decay smoothing_real "
        "smoothing_synthetic doubt_below other_share others other_score threshold_by "
        "known_lost"
    )
    changes = {n: getattr(args, n) for n in names.split()}
    config = config.changed({k: _named(v) for k, v in changes.items() if v is not None})
    config = replace(config, replace=tuple(args.replace))
    clean_at = config.clean_at if args.clean_at is None else tuple(args.clean_at)
    config = replace(config, clean_at=clean_at if args.cleaning else ())
    config = config.with_epochs()
    if Processes.here().first:  # what there is to say, the first one says
        if told:
            print(told)
        print(
            f"preset {name}: {config.model}{f' x {config.members}' if config.members > 1 else ''}, "
            f"{config.steps} steps of {config.batch_size}, {config.precision}"
        )
    figures = train(
        real,
        synth,
        args.out,
        config,
        args.seed,
        used(args),
        test,
        args.corrections,
        args.profile,
    )
    if held := figures.get("held_out_others"):
        found = "  ".join(f"{k} {v['called_other']:.3f}" for k, v in held.items())
        print(f"held-out others called other: {found}")
    for split in ("val", "test"):
        if split in figures:
            f = figures[split]
            groups = "  ".join(f"{g} {v:.3f}" for g, v in f["groups"].items())
            print(f"{split}: accuracy {f['accuracy']:.3f}  macro F1 {f['macro_f1']:.3f}  {groups}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
