"""Real and synthetic stores -> a trained classifier, its figures and a report.

The same command on an unfinished run goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used


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
        "--preset", type=str | None, help="small (CPU), large (GPU), demo; default: this machine's"
    )
    p.add_argument(
        "--model", type=str | None, help="compact, resnet18, resnet50, efficientnet-b0 .. b7"
    )
    p.add_argument("--steps", type=int | None, help="optimiser steps; default: the preset's")
    p.add_argument("--batch-size", type=int | None, help="images a step; default: the preset's")
    p.add_argument("--lr", type=float | None, help="peak learning rate; default: the preset's")
    p.add_argument("--real-weight", type=float | None, help="in the mix, of a real image (3)")
    p.add_argument("--font-weight", type=float | None, help="in the mix, of a font image (1)")
    p.add_argument("--gan-weight", type=float | None, help="in the mix, of a GAN image (1)")
    p.add_argument(
        "--augment-strength", type=float | None, help="of the augmentation, 0 to 2 (default 1)"
    )
    p.add_argument(
        "--augment",
        type=str | None,
        help="module:function, a numpy function of yours: [H, W] uint8 -> [H, W] uint8, ink high; "
        "for instance scripts.augment_example:distort",
    )
    p.add_argument(
        "--sampling", type=str | None, help="of classes: balanced (default), sqrt or natural"
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
        "--precision",
        type=str | None,
        help="Lightning's: 32-true, bf16-mixed ...; default: the fastest here",
    )
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.store import Store

    real = Store.open(args.real)
    synth = [Store.open(path) for path in args.synth]
    test = Store.open(args.test) if args.test else None

    from dataclasses import replace

    from classifier.train import preset, train

    name, config = preset(args.preset)
    names = (
        "model steps batch_size lr real_weight font_weight gan_weight "
        "augment_strength augment precision sampling synthetic_cap real_only_share"
    )
    changes = {n: getattr(args, n) for n in names.split()}
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})
    config = replace(config, steps_per_epoch=min(config.steps_per_epoch, config.steps))
    print(
        f"preset {name}: {config.model}, {config.steps} steps of {config.batch_size}, "
        f"{config.precision}"
    )
    figures = train(real, synth, args.out, config, args.seed, used(args), test)
    for split in ("val", "test"):
        if split in figures:
            f = figures[split]
            groups = "  ".join(f"{g} {v:.3f}" for g, v in f["groups"].items())
            print(f"{split}: accuracy {f['accuracy']:.3f}  macro F1 {f['macro_f1']:.3f}  {groups}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
