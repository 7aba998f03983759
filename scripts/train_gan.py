"""Real images -> a GAN that writes any character in their handwriting, and a store of its images.

The same command on an unfinished run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from synth.command import (
    add_apart_from,
    add_without,
    leave_out_unread,
    parser,
    read_strength,
    run,
    say_unasked,
    used,
)
from synth.errors import InputError

if TYPE_CHECKING:
    from gan.run import GanRun
    from synth.store import Store


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/train_gan.py --real runs/real --out runs/gan")
    p.add_argument("--real", type=Path | None, help="real store; only its training split is read")
    p.add_argument(
        "--out", type=Path | None, help="run folder; with --generate-only the store to make"
    )
    p.add_argument(
        "--preset",
        type=str | None,
        help="large (GPU), small, lean or light (CPUs, by speed), demo; default: this machine's",
    )
    p.add_argument(
        "--generator", type=str, default="bend", help="bend: moves and inks the glyph; or paint"
    )
    p.add_argument(
        "--style", type=str, default="noise", help="noise; or image: also read off real images"
    )
    p.add_argument(
        "--condition",
        type=str,
        default="glyph",
        help="glyph; or class: its number only, for comparison; draws no other character",
    )
    p.add_argument("--steps", type=int | None, help="optimiser steps; default: the preset's")
    p.add_argument("--batch-size", type=int | None, help="images a step; default: the preset's")
    p.add_argument(
        "--recogniser-steps",
        type=int | None,
        help="of the recogniser; default: the preset's, more for more than 100 characters",
    )
    p.add_argument(
        "--devices",
        type=int | None,
        help="GPUs, or processes without GPU, that share each batch; default: 1, or torchrun's",
    )
    p.add_argument(
        "--compile",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="torch.compile the networks; skipped where there is no compiler",
    )
    p.add_argument(
        "--fonts",
        type=Path,
        nargs="+",
        default=[],
        help="folders with more fonts; with --generate-only default: those of the run",
    )
    add_without(
        p,
        "; with --generate-only besides those that the run was trained without",
        ", judged at strength 1; with --generate-only the fonts alone, the strength is the run's",
    )
    p.add_argument(
        "--per-class",
        type=int | None,
        help="generated images a class; default: by quota (50 with --generate-only)",
    )
    p.add_argument("--other", type=int | None, help="generated images of other characters")
    p.add_argument(
        "--generate-only",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="make more images from the finished run given with --run",
    )
    p.add_argument(
        "--keep-refused",
        action="store_true",
        help="generate OUT/unchecked, in which nothing that fails a check is left out: to see what "
        "the checks are worth",
    )
    p.add_argument("--run", type=Path | None, help="finished run, with --generate-only")
    p.add_argument(
        "--alphabet", type=Path | None, help="characters to generate, with --generate-only"
    )
    p.add_argument(
        "--other-from",
        type=Path | None,
        help="with --generate-only: file with other characters, one a line, in place of chosen "
        "ones; labelled other. --per-class images of each (50), or --other in all; without "
        "--alphabet and --per-class none of known characters",
    )
    p.add_argument(
        "--quota",
        type=Path | None,
        help="with --generate-only: CSV with the columns label and images, 'other' is a label too, "
        "in place of --per-class and --other",
    )
    add_apart_from(p)
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.provenance import refuse_apart
    from synth.store import Store, refuse_existing

    if args.out is None:
        raise InputError("give --out FOLDER")
    if args.generate_only:
        if args.run is None:
            raise InputError("--generate-only needs --run FOLDER, a finished GAN run")
        if args.real is not None:
            raise InputError("--generate-only reads no real images: leave --real out")
        _refuse(args, WITH_REAL, "goes with --real, not with --generate-only")
        refuse_existing(args.out)
        _generate_more(args)
        return
    _refuse(args, WITH_GENERATE_ONLY, "goes with --generate-only")
    if args.real is None:
        raise InputError("give --real STORE (make it with import_data.py)")
    real = Store.open(args.real)
    _refuse_nothing(real, args.per_class, args.other)
    refuse_apart(real, args.apart_from)

    from dataclasses import replace

    from gan.generate import generate
    from gan.processes import join
    from gan.train import STRENGTH, device, preset, train
    from synth.studio import Studio

    join(args.devices)
    verdict = None
    strength = STRENGTH
    if args.without_unread:
        verdict = leave_out_unread(args)
        strength = read_strength(verdict, STRENGTH)
    name, config = preset(args.preset)
    config = config.for_classes(len(real.alphabet))
    changes = {n: getattr(args, n) for n in ("generator", "style", "condition")}
    changes |= {n: getattr(args, n) for n in ("steps", "batch_size", "recogniser_steps")}
    config = replace(config, **{k: v for k, v in changes.items() if v is not None})
    if config.condition == "class" and args.per_class == 0:
        raise InputError("--per-class 0: with --condition class there is nothing else to generate")
    print(
        f"preset {name} on {device()}: {config.steps} steps of {config.batch_size}, "
        f"{config.precision}",
        flush=True,
    )
    gan, studio = train(
        real,
        args.out,
        config,
        args.fonts,
        args.seed,
        used(args),
        args.devices or 1,
        args.compile,
        args.without,
        strength,
    )
    say_unasked(args, verdict, [c.font.name for c in studio.coverages])
    samples = args.out / ("unchecked" if args.keep_refused else "samples")
    if (samples / "store.json").exists():
        _refuse_another_request(Store.open(samples), used(args))
        print(f"{samples}: generated already")
        return
    if args.per_class is not None or args.other is not None:
        studio = Studio.prepare(
            real.alphabet,
            real,
            args.fonts,
            args.per_class,
            other_images=args.other,
            whole_others=args.other is not None,
            seed=args.seed,
            style=studio.style,
            without=args.without,
        )
    plan = gan.within_reach(studio.plan)
    if len(plan) < len(studio.plan):
        reached = {plan.chars[c] for c in plan.char}
        lost = [c for c in real.alphabet.chars if c not in reached]
        print(
            "--condition class: generates no other characters"
            + (f", and none without a trusted real image: {''.join(lost)[:60]}" if lost else "")
        )
    store = generate(gan, studio, samples, args.seed, used(args), real, args.keep_refused)
    print(f"{samples}: {len(store)} images")


PER_CLASS = 50  # images, with --generate-only
WITH_REAL = ("preset", "generator", "style", "condition", "steps", "batch_size", "recogniser_steps")
WITH_REAL += ("devices", "compile", "apart_from", "keep_refused")
WITH_GENERATE_ONLY = ("quota", "other_from", "alphabet", "run")
# what decides the generated images of a run
REQUEST = ("fonts", "without", "per_class", "other", "seed")


def _refuse(args: Namespace, names: Sequence[str], why: str) -> None:
    """Raises InputError for an option that would be ignored."""
    unset = options().get_defaults()
    for name in names:
        if getattr(args, name) != unset[name]:
            raise InputError(f"--{name.replace('_', '-')} {why}")


def _refuse_nothing(real: Store, per_class: int | None, other: int | None) -> None:
    """Raises InputError, before any training, for numbers of images that make no sense or are 0."""
    from synth.studio import quota_of

    quota = quota_of(real.alphabet, real, per_class, other_images=other)
    if not quota.other and not any(quota.lacking.values()):
        raise InputError("--per-class and --other: no image is asked for")


def _refuse_another_request(store: Store, wanted: dict[str, Any]) -> None:
    """Raises InputError where the images that are there were generated to another request."""
    # "without": a store of an earlier version does not say, it left no font out
    made = {"without": []} | store.info["made"]
    changed = [f"{n}: {made.get(n)} -> {wanted[n]}" for n in REQUEST if made.get(n) != wanted[n]]
    if changed:
        raise InputError(
            f"{store.path}: was generated with other settings ({', '.join(changed)}); remove it, "
            "or make more from the finished run with --generate-only"
        )


def _generate_more(args: Namespace) -> None:
    from gan.generate import generate
    from gan.run import GanRun
    from gan.train import STRENGTH
    from synth.alphabet import Alphabet
    from synth.studio import Studio

    gan = GanRun.open(args.run)
    args.fonts = args.fonts or _fonts_of(gan)
    args.without = _without_of(gan, args)
    verdict = leave_out_unread(args) if args.without_unread else None
    if verdict:
        verdict.strength(STRENGTH)  # refuses fonts that were judged at another one
    alphabet = Alphabet.read(args.alphabet) if args.alphabet else gan.alphabet
    gan.refuse_unknown(alphabet.chars)
    per_class, other = args.per_class, args.other
    if args.quota is None:
        if args.other_from is not None:
            listed = set(Alphabet.read(args.other_from).chars) - set(alphabet.chars)
            if not listed:
                raise InputError(f"{args.other_from}: every character in it is in the alphabet")
            if other is None:
                other = (per_class or PER_CLASS) * len(listed)
            if per_class is None and args.alphabet is None:
                per_class = 0
        per_class, other = PER_CLASS if per_class is None else per_class, other or 0
    studio = Studio.prepare(
        alphabet,
        None,
        args.fonts,
        per_class,
        other_images=other,
        whole_others=True,
        other_from=args.other_from,
        seed=args.seed,
        canvas=gan.canvas,
        style=gan.style,
        without=args.without,
        quota_file=args.quota,
    )
    say_unasked(args, verdict, [c.font.name for c in studio.coverages])
    if args.seed == gan.seed and set(studio.plan.chars) & set(gan.alphabet.chars):
        print(f"--seed {args.seed} is the run's own: its samples may be drawn again", flush=True)
    gan.refuse_unknown(list(studio.others))
    store = generate(gan, studio, args.out, args.seed, used(args))
    print(f"{args.out}: {len(store)} images")


def _fonts_of(gan: GanRun) -> list[Path]:
    """The folders of fonts that the run was trained with. Raises InputError where one is gone."""
    for folder in gan.font_folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no such folder of fonts; {gan.path} was trained with it, give --fonts"
            )
    return list(gan.font_folders)


def _without_of(gan: GanRun, args: Namespace) -> list[str]:
    """Names of fonts to leave out: those asked for, and of those that the run was trained without
    the ones that are there, which with other folders some may not be."""
    from synth.fonts import find_fonts

    if not gan.without:
        return list(args.without)
    there = {f.name for f in find_fonts(args.fonts)} - set(args.without)
    return [*args.without, *(name for name in gan.without if name in there)]


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
