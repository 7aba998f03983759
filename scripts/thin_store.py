"""A synthetic store -> one with fewer of its images, to see how many are needed."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/thin_store.py --store runs/font --real runs/real --ratio 0.5 "
        "--out runs/half",
    )
    p.add_argument("--store", type=Path, required=True, help="font or GAN store")
    p.add_argument("--out", type=Path, required=True, help="store to make; must not exist")
    p.add_argument("--real", type=Path | None, help="real store, for --ratio")
    p.add_argument(
        "--ratio",
        type=float | None,
        help="synthetic images of known characters for each real training image; an even share of "
        "every character stays (null: all)",
    )
    p.add_argument("--no-other", action="store_true", help="leave the images of other out")
    return p


def main(args: Namespace) -> None:
    from synth.store import Store
    from synth.thin import ratio_of, thin_store

    if (args.ratio is None) != (args.real is None):
        raise InputError("--ratio goes with --real STORE, the images that are counted")
    known = None if args.ratio is None else ratio_of(Store.open(args.real), args.ratio)
    store = Store.open(args.store)
    if known is not None and known > (there := sum(c != "other" for c in store.column("label"))):
        raise InputError(f"{args.store}: {there} images of known characters, wanted {known}")
    done = thin_store(store, args.out, used(args), known, not args.no_other)
    print(f"{args.out}: {len(done)} of {len(store)} images")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
