"""The whole chain on simulated sample data, with and without synthetic images, and a report.

Calls the project's own commands one after the other. A step whose output is complete is skipped, so
the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
from synth.errors import InputError

SCRIPTS = Path(__file__).resolve().parent
# What fits a quarter of an hour, with the installation, where the preset would be "light".
SHORT = {"recogniser_steps": 200, "steps": 400}
WITH, WITHOUT = "real + font + GAN", "real only"
NOTE = (
    "Simulated data, no real handwriting: the images called real here were drawn with fonts that "
    "were set aside as writers, bent and put on paper. What helps here need not help on real data."
)


@dataclass(frozen=True)
class Step:
    """One command of the chain."""

    title: str
    words: tuple[str | Path, ...]  # script and arguments
    done: Path  # stands only when the output is complete


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/demo.py --out runs/demo")
    p.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder of everything that is made"
    )
    p.add_argument("--seed", type=int, default=1, help="of the sample data and of every step")
    p.add_argument(
        "--gan-steps",
        type=int | None,
        help="optimiser steps of the GAN; default: the demo preset's",
    )
    p.add_argument(
        "--recogniser-steps",
        type=int | None,
        help="steps of the GAN's recogniser; default: the demo preset's, "
        f"{SHORT['recogniser_steps']} on a CPU with AVX2 alone",
    )
    p.add_argument(
        "--steps",
        type=int | None,
        help="steps of each classifier; default: the demo preset's, "
        f"{SHORT['steps']} on a CPU with AVX2 alone",
    )
    return p


def fitting(args: Namespace) -> Namespace:
    """The arguments with what this machine has time for where nothing was said."""
    from synth.learning import fitting_preset

    short = SHORT if fitting_preset() == "light" else {}
    return Namespace(**vars(args) | {k: v for k, v in short.items() if getattr(args, k) is None})


def chain(args: Namespace) -> list[Step]:
    """The steps in order, as a user would type them."""
    out, seed = args.out, ("--seed", str(args.seed))
    sample, real, test = out / "sample", out / "real", out / "test"
    font, gan = out / "font", out / "gan"
    gan_steps = () if args.gan_steps is None else ("--steps", str(args.gan_steps))
    if args.recogniser_steps is not None:
        gan_steps += ("--recogniser-steps", str(args.recogniser_steps))
    steps = () if args.steps is None else ("--steps", str(args.steps))
    letters = ("--alphabet", sample / "alphabet.txt")

    def train(name: str, *synth: str | Path) -> tuple[str | Path, ...]:
        line = ("train_classifier.py", "--real", real, *synth, "--test", test, "--out", out / name)
        return (*line, "--preset", "demo", *steps, *seed)

    return [
        Step(
            "simulated sample data",
            ("make_sample.py", sample, *seed),
            sample / "README.txt",
        ),
        Step(
            "import the training images",
            ("import_data.py", sample / "train", *letters, "--out", real),
            real / "store.json",
        ),
        Step(
            "import the test images",
            ("import_data.py", sample / "test", *letters, "--split", "test", "--out", test),
            test / "store.json",
        ),
        Step(
            "render fonts as handwriting",
            ("render_fonts.py", "--real", real, "--out", font, *seed),
            font / "store.json",
        ),
        Step(
            "train the GAN and generate",
            ("train_gan.py", "--real", real, "--out", gan, "--preset", "demo", *gan_steps, *seed),
            gan / "samples" / "store.json",
        ),
        Step(
            f"train a classifier on {WITHOUT}",
            train("real_only"),
            out / "real_only" / "report.html",  # what it writes last
        ),
        Step(
            f"train a classifier on {WITH}",
            train("classifier", "--synth", font, gan / "samples"),
            out / "classifier" / "report.html",
        ),
    ]


def follow(steps: list[Step], call: Callable[[list[str]], int]) -> None:
    """Calls what is not done yet and says how long it took. Raises InputError where one fails."""
    for number, step in enumerate(steps, 1):
        head = f"[{number}/{len(steps)}] {step.title}"
        if step.done.exists():
            print(f"{head}: there already", flush=True)
            continue
        print(head, flush=True)
        started = time.monotonic()
        words = [str(word) for word in step.words]
        code = call([sys.executable, str(SCRIPTS / words[0]), *words[1:]])
        if code or not step.done.exists():
            raise InputError(
                f"step {number} failed with exit code {code}: {' '.join(words)}; "
                "its message stands above, and the same command goes on from there"
            )
        print(f"{head}: {time.monotonic() - started:.0f} s", flush=True)


def table(out: Path) -> str:
    """The test figures of both runs, in percent."""
    a, b = (
        json.loads((out / name / "metrics.json").read_text(encoding="utf-8"))["test"]
        for name in ("real_only", "classifier")
    )
    rows = [(f"accuracy, {g}", a["groups"][g], b["groups"][g]) for g in b["groups"]]
    rows += [
        ("macro F1", a["macro_f1"], b["macro_f1"]),
        ("AUROC of the other score", a["other_auroc"], b["other_auroc"]),
        ("known called other", a["false_other"], b["false_other"]),
    ]
    lines = [f"{'simulated test images, %':26}{WITHOUT:>12}{WITH:>20}{'difference':>12}"]
    for name, x, y in rows:
        lines.append(f"{name:26}{100 * x:12.1f}{100 * y:20.1f}{100 * (y - x):+12.1f}")
    return "\n".join(lines)


def made_with(args: Namespace) -> dict[str, Any]:
    """All that decides what the chain makes, as plain JSON values: the options but --out, and what
    the demo presets hold, since another version's may hold other values."""
    from dataclasses import asdict

    from classifier.config import PRESETS as CLASSIFIER
    from gan.config import PRESETS as GAN

    settings = {k: v for k, v in used(args).items() if k != "out"}
    for name, presets in (("gan", GAN), ("classifier", CLASSIFIER)):
        settings |= {f"{name} preset, {k}": v for k, v in asdict(presets["demo"]).items()}
    return json.loads(json.dumps(settings))


def refuse_other(settings: Path, now: dict[str, Any]) -> None:
    """Raises InputError where the folder was made with other settings, or is not known with which:
    the table would compare runs of two kinds."""
    way_out = f"take another --out, or remove {settings.parent}"
    try:
        before = dict(json.loads(settings.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{settings}: damaged ({error}); {way_out}") from None
    other = [k for k in {**now, **before} if before.get(k, "") != now.get(k, "")]
    if other:
        told = [f"{k} {before.get(k, 'not told')}, now {now.get(k, 'gone')}" for k in other[:3]]
        more = " ..." if len(other) > len(told) else ""
        raise InputError(f"{settings.parent}: made with {'; '.join(told)}{more}; {way_out}")


def main(args: Namespace) -> None:
    from synth.files import write_text

    print("The demo of Inkfill, on simulated data: no real handwriting.", flush=True)
    args = fitting(args)
    args.out.mkdir(parents=True, exist_ok=True)
    settings, now = args.out / "demo.json", made_with(args)
    if settings.is_file():
        refuse_other(settings, now)
    write_text(settings, json.dumps(now))
    started = time.monotonic()
    follow(chain(args), lambda line: subprocess.run(line, check=False).returncode)

    from classifier.report import write_report

    report = args.out / "report.html"
    write_report(
        report,
        args.out / "classifier",
        {WITHOUT: args.out / "real_only"},
        title="Inkfill: the demo on simulated data",
        name=WITH,
        note=NOTE,
    )
    print(f"\n{table(args.out)}\n\n{time.monotonic() - started:.0f} s in all")
    print(f"report, of simulated data: {report.resolve()}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
