"""Real training images whose label is probably wrong -> a page to decide on them, and a list.

A network for each fold, trained on the others, reads the images it has not seen. The page's button
saves corrections.csv, which train_classifier.py --corrections takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/review_labels.py --real runs/real --synth runs/font --out runs/review",
    )
    p.add_argument("--real", type=Path, required=True, help="real store")
    p.add_argument("--synth", type=Path, nargs="+", default=[], help="font and GAN stores")
    p.add_argument("--out", type=Path, required=True, help="folder to make: page and list")
    p.add_argument("--folds", type=int, default=3, help="networks to train (default 3)")
    p.add_argument(
        "--preset",
        type=str | None,
        help="large (GPU), small, lean or light (CPUs, by speed), demo; default: this machine's",
    )
    p.add_argument(
        "--steps", type=int | None, help="of each network; default: as train_classifier.py"
    )
    p.add_argument(
        "--noise-loss", type=str, default="none", help="as train_classifier.py's (default none)"
    )
    p.add_argument(
        "--truth",
        type=Path | None,
        help="CSV with path and label (the true one): prints precision and recall of the list",
    )
    p.add_argument(
        "--write-corrections",
        type=str,
        nargs=2,
        metavar=("HOW", "FILE"),
        help="the whole list, which no person looked at, as train_classifier.py --corrections "
        "takes it, to measure what the list is worth. HOW: remove (all are left out) or likely "
        "(all get their likely labels). With the command of a finished review it trains nothing",
    )
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.store import Store, lock_output

    real = Store.open(args.real)
    synth = [Store.open(path) for path in args.synth]

    import json
    import shutil
    from dataclasses import asdict, replace

    from classifier.report import write_review
    from classifier.review import measure, out_of_fold, require, review, true_classes, undecided
    from classifier.suspects import NAME, Suspects
    from classifier.train import preset
    from synth.errors import InputError
    from synth.files import write_text
    from synth.runs import keep_settings
    from synth.store import refuse_existing

    _, config = preset(args.preset)
    config = replace(config.for_classes(len(real.alphabet)), noise_loss=args.noise_loss)
    if args.steps is not None:
        config = replace(config, steps=args.steps)
    config = config.with_epochs()
    require(real, synth, config, args.seed, args.folds)
    true = true_classes(args.truth, real) if args.truth else None  # now: what it is for takes hours
    how, file = args.write_corrections or ("", "")
    if how not in ("", "remove", "likely"):
        raise InputError(f"--write-corrections {how!r}: there are remove, likely")
    if how:
        refuse_existing(Path(file))
    finished = (args.out / "review.json").is_file()
    if finished and args.truth:
        raise InputError(
            f"{args.out}: a finished review: --truth is measured while it is made; take another "
            "--out"
        )
    if finished and not how:
        raise InputError(f"{args.out}: a finished review is there already; take another --out")
    new = not args.out.exists()
    lock = lock_output(args.out)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        start = {"folds": args.folds, "seed": args.seed, "stores": [real.content]}
        start["stores"] += [store.content for store in synth]
        settings = {"arguments": used(args), "classifier": asdict(config), "start": start}
        keep_settings(args.out, settings, ("classifier", "start"))
        if finished:
            if (found := Suspects.read(args.out)) is None:
                raise InputError(
                    f"{args.out}: a finished review whose list ({NAME}) is gone; take another --out"
                )
            _write(Path(file), undecided(found, real, how), how)
            return
        opinions = out_of_fold(real, synth, args.out, config, args.seed, args.folds)
        suspects = review(opinions)
        suspects.write(args.out)
        pages = write_review(args.out / "review.html", suspects, real)
        told: dict[str, Any] = {"images": len(opinions.rows), "suspected": len(suspects.row)}
        print(f"{told['suspected']} of {told['images']} labels suspected: {pages[0]}")
        if true is not None:
            told["truth"] = measure(suspects, opinions, real, true)
            for group, f in told["truth"].items():
                print(
                    f"{group:<7} {f['images']:>6} images {f['wrong']:>5} wrong "
                    f"{f['suspected']:>5} suspected  precision {f['precision']:.3f}  "
                    f"recall {f['recall']:.3f}  likely label right {f['likely_right']:.3f}"
                )
        write_text(args.out / "review.json", json.dumps(told, indent=1))
        if how:  # last: the same command, or one of a finished review, writes it where this ended
            _write(Path(file), undecided(suspects, real, how), how)
        for number in range(args.folds):
            shutil.rmtree(args.out / f"fold-{number}", ignore_errors=True)
    finally:
        if new and args.out.exists() and not any(args.out.iterdir()):
            args.out.rmdir()
        lock.release()


def _write(path: Path, text: str, how: str) -> None:
    from synth.files import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    what = "left out" if how == "remove" else "given their likely labels"
    print(f"{path}: all suspects {what}; no person looked at them")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
