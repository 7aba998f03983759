"""Real images (and a finished GAN) -> what each class lacks, images for that, a verdict on every
source for every class, and a classifier that gets from each source only what does not hurt.

It (1) trains on real images alone, with several seeds; (2) writes what each class lacks by its
validation images, and the images that it gets for that, to needs.csv and quota.csv; (3) renders
and generates them; (4) trains with the font images, the GAN images, and both, with the same seeds;
(5) writes to verdict.csv and verdict.json whether a source helped a class, hurt it, or made no
difference, with an interval (a class with too few validation images has the verdict of its group);
(6) trains OUT/final with all but the sources of the classes that they hurt, by the class's own
verdict or by its group's where its own few images do not say otherwise ("other" keeps all: its
validation images do not show the characters that training never sees): its report.html shows the
verdicts, and which of these are a group's.

The same command goes on where it stopped. The choices are made by the validation images of the
real store: measure what comes out on others (--test).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from synth.command import add_without, parser, run, used
from synth.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from classifier.loop.plan import Loop
    from classifier.study.plan import Job
    from synth.store import Store

SCRIPTS = Path(__file__).resolve().parent
# options that loops of an earlier version did not have
_NEW: dict[str, list[str]] = {"without": []}


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/close_loop.py --real runs/real --gan runs/gan --out runs/loop",
    )
    p.add_argument("--real", type=Path, required=True, help="real store with validation images")
    p.add_argument(
        "--gan", type=Path | None, help="finished GAN run of these characters; default: fonts only"
    )
    p.add_argument("--out", type=Path, required=True, help="folder of everything that is made")
    p.add_argument("--test", type=Path | None, help="labelled store, measured by the final run")
    p.add_argument(
        "--allow-copies",
        action="store_true",
        help="measure on --test though nearly equal images are trained on",
    )
    p.add_argument(
        "--seeds",
        type=int,
        default=3,
        help="training seeds of each arm; with 1 an interval "
        "does not hold the chance of the training",
    )
    p.add_argument(
        "--target",
        type=int | None,
        help="real + rendered images a class before its recall counts; default: 2 x median",
    )
    p.add_argument("--fonts", type=Path, nargs="+", default=[], help="folders with more fonts")
    add_without(p)
    p.add_argument("--steps", type=int | None, help="of each classifier; default: the preset's")
    p.add_argument(
        "--preset",
        type=str | None,
        help="of the classifiers: large, small, lean, light or demo; default: this machine's",
    )
    p.add_argument(
        "--classifier",
        type=str,
        default="",
        help="more options of train_classifier.py for every run, in one line, for instance "
        "'--batch-size 64 --logit-adjustment 0.5'",
    )
    p.add_argument("--workers", type=int, default=1, help="commands at once; they share the cores")
    return p


def main(args: Namespace) -> None:
    from synth.fonts import find_fonts
    from synth.reading import Verdict
    from synth.store import Store, lock_output
    from synth.studio import fonts_left

    real = Store.open(args.real)
    if not len(real.rows("val")):
        raise InputError(
            f"{args.real}: no validation images, by which the loop decides; import some "
            "(import_data.py --val-share)"
        )
    if args.gan is not None and not (args.gan / "generator.json").is_file():
        raise InputError(f"{args.gan}: no finished GAN run (no generator.json in it)")
    if args.target is not None and args.target < 1:
        raise InputError(f"--target {args.target}: a number of images from 1")
    # the commands that draw would say so after the first trainings
    fonts_left(find_fonts(args.fonts), args.without)
    if args.without_unread:
        Verdict.read(args.without_unread)

    from classifier.finished import is_finished
    from classifier.loop.plan import Loop, split_options
    from synth.near_copies import told_copies
    from synth.provenance import refuse_generator
    from synth.runs import keep_settings

    loop = Loop(
        args.real,
        args.out,
        args.gan,
        args.seeds,
        split_options(args.classifier, args.steps, args.preset),
        tuple(args.fonts),
        args.test,
        args.allow_copies,
        tuple(args.without),
        args.without_unread,
    )
    # now: the runs that refuse them too come after hours; where the last is finished it is done
    if not is_finished(loop.final_run):
        test = Store.open(args.test) if args.test is not None else None
        if args.gan is not None:
            refuse_generator(args.gan, real, test)
        if test is not None and (told := told_copies(real, test)):
            if not args.allow_copies:
                raise InputError(f"{told}; --allow-copies measures there all the same")
            print(told)
    free = ("out", "workers", "test", "allow_copies")
    settings = {n: v for n, v in used(args).items() if n not in free}
    lock = lock_output(args.out)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        keep_settings(args.out, {"loop": settings | {"content": real.content}}, ("loop",), _NEW)
        _close(loop, real, args.target, args.workers)
    finally:
        lock.release()


def _close(loop: Loop, real: Store, target: int | None, workers: int) -> None:
    from classifier.loop import needs, verdict
    from classifier.loop.answers import ArmAnswers
    from classifier.loop.plan import REAL
    from synth.files import write_text
    from synth.quota import real_counts

    counts = real_counts(real)
    print("1. real images alone", flush=True)
    _run(loop.real_jobs(), loop, workers)

    print("2. what each class lacks", flush=True)
    answers = ArmAnswers.read(loop.runs(REAL))
    lacks = needs.needs_of(answers, counts)
    quota = needs.quota_of(answers, lacks, target)
    needs.write_needs(loop.out / "needs.csv", lacks, quota)
    loop.keep_quota(quota)
    write_text(loop.alphabet, "\n".join(real.alphabet.chars) + "\n")
    print(needs.table_of(lacks, quota), flush=True)

    print("3. and 4. images for that, and every arm", flush=True)
    _run(loop.jobs(), loop, workers)

    print("5. verdict", flush=True)
    arms = {arm: ArmAnswers.read(loop.runs(arm)) for arm in loop.arms}
    found = verdict.verdicts_of(arms, counts)
    verdict.write_verdicts(loop.out, found, real.alphabet.digest, loop.seeds)
    print(verdict.table_of(found), flush=True)
    off = verdict.switched_off(found)
    by_group = sum(map(bool, verdict.off_by_group(found, off).values()))
    told = f" ({by_group} of them by their group's verdict)" if by_group else ""
    print(f"switched off for {len(off)} classes{told}: {' '.join(off)[:60]}", flush=True)

    print("6. the final run", flush=True)
    _run([*loop.jobs(), loop.final(off)], loop, workers)
    print(loop.final_run / "report.html")


def _run(jobs: Sequence[Job], loop: Loop, workers: int) -> None:
    from classifier.study.runner import Runner

    runner = Runner(jobs, loop.out, [sys.executable], SCRIPTS, workers)
    if failed := runner.run().failed:
        raise InputError(f"{failed[0]} failed; see {runner.logs / failed[0]}.log")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
