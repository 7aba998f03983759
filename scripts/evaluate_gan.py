"""How good a GAN's images are: read by a recogniser that the GAN does not know, near to the real
images, various, no copies of them, and of use to a classifier that sees nothing else.

Prints a table and writes metrics.json, report.html and contact_sheet.png.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/evaluate_gan.py --real runs/real --test runs/test --font runs/font "
        "--gan runs/gan/samples --out runs/gan_evaluation",
    )
    p.add_argument("--real", type=Path, required=True, help="real store that the GAN was made from")
    p.add_argument(
        "--test",
        type=Path | None,
        help="held-out real store with right labels; default: the validation split of --real, "
        "whose labels may be wrong",
    )
    p.add_argument("--font", type=Path, required=True, help="font store to compare with")
    p.add_argument(
        "--gan",
        type=Path,
        nargs="+",
        required=True,
        help="the run's samples; then, if wanted, more of it of any alphabet (--generate-only), "
        "for characters never seen",
    )
    p.add_argument(
        "--reader",
        type=Path,
        nargs="+",
        default=[],
        help="clean real stores of any alphabet: their training split teaches the reader, the "
        "other splits show how well it reads real characters that the GAN never saw; default: the "
        "training split of --real with its labels doubted, and half of --font, of which the other "
        "half is judged",
    )
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--reader-steps", type=int, default=1000, help="of the reader, 128 images each")
    p.add_argument(
        "--score-steps",
        type=int,
        default=1000,
        help="of each of the two classifiers (font only, GAN only) of the classification accuracy "
        "score; 0: none",
    )
    p.add_argument(
        "--inception",
        type=Path | None,
        help="file with Inception's weights: KID, precision and recall in its features too",
    )
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.store import Store, lock_output

    for name, value, least in (
        ("--reader-steps", args.reader_steps, 4),
        ("--score-steps", args.score_steps, 0),
        ("--seed", args.seed, 0),
    ):
        if value < least:
            raise InputError(f"{name} {value}: must be at least {least}")
    real, font = Store.open(args.real), Store.open(args.font)
    test = Store.open(args.test) if args.test else None
    gan, readers = ([Store.open(p) for p in paths] for paths in (args.gan, args.reader))

    from gan.evaluate import evaluate, train_independent_reader
    from gan.fidelity import require_inception
    from gan.page import write_page
    from gan.sets import prepare
    from gan.train import device, fast_precision
    from gan.verdict import table
    from synth.files import write_text
    from synth.runs import keep_settings

    if args.inception:
        require_inception(args.inception)
    sets = prepare(real, test, font, gan, readers, args.seed)
    stores = [real, font, *gan, *readers, *([test] if test else [])]
    # method 2: the default reader learns from one half of the font images, the other is judged;
    # 3: what is read of real and generated images is compared over the same characters
    start = {"stores": [store.content for store in stores], "method": 3}
    new = not args.out.exists()
    lock = lock_output(args.out)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        settings = {"arguments": used(args), "start": start}
        keep_settings(args.out, settings, ("arguments", "start"))
        metrics = args.out / "metrics.json"
        if metrics.is_file():  # written last
            print(f"{args.out}: measured already\n{table(json.loads(metrics.read_text('utf-8')))}")
            return
        where, precision = device(), fast_precision()
        reader = train_independent_reader(sets, args.reader_steps, args.seed, where, precision)
        train_on = _trainer(real, args) if args.score_steps else None
        figures = evaluate(sets, reader, train_on, args.inception, args.seed, where, precision)
        write_page(args.out, sets, figures)
        write_text(metrics, json.dumps(figures, ensure_ascii=False, indent=1))
        print(f"{table(figures)}\n{args.out / 'report.html'}")
    finally:
        if new and not any(args.out.iterdir()):
            args.out.rmdir()
        lock.release()


def _trainer(real, args: Namespace) -> Callable:
    """(store, name) -> a classifier trained on that store alone, as a function that reads."""

    def train_on(store, name: str) -> Callable:
        from dataclasses import replace

        from classifier.export import fastest_device, load_model
        from classifier.train import preset, train

        _, config = preset(None)
        steps = args.score_steps
        config = replace(
            config,
            members=1,
            steps=steps,
            steps_per_epoch=min(config.steps_per_epoch, steps),
            real_weight=0.0,
        )
        folder = args.out / f"trained_on_{name}"
        train(real, [store], folder, config, args.seed, {"trained_on": str(store.path)})
        return load_model(folder, device=fastest_device()).probabilities

    return train_on


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
