"""Makes the simulated sample data: writers' fonts, bent, on paper, with wrong labels."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run


def options() -> ArgumentParser:
    p = parser(__doc__ or "", "python scripts/make_sample.py runs/sample --seed 1")
    p.add_argument("out", type=Path, metavar="OUT", help="folder to make; must not exist")
    p.add_argument("--seed", type=int, default=1, metavar="S", help="another seed, other images")
    return p


def main(args: Namespace) -> None:
    from synth.sample import KNOWN, write_sample

    rows = write_sample(args.out, args.seed)
    train = [r for r in rows if r.path.startswith("train/")]
    wrong = sum(r.given != r.label for r in train)
    print(
        f"{args.out}: simulated data, {len(train)} train images ({wrong} with a wrong label), "
        f"{len(rows) - len(train)} test images, {len(KNOWN)} characters and other"
    )


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
