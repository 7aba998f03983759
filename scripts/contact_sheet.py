"""A picture of stores side by side: a label a row, a store a block of columns."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run


def options() -> ArgumentParser:
    p = parser(
        (__doc__ or "") + " Pictures show what no figure does: look at what you train with.",
        "python scripts/contact_sheet.py runs/real runs/font runs/gan/samples --out sheet.png",
    )
    p.add_argument("stores", metavar="STORE", type=Path, nargs="+", help="stores, left to right")
    p.add_argument("--out", type=Path, required=True, help="PNG to write")
    p.add_argument(
        "--chars",
        type=str,
        default="",
        help="labels to show, without spaces; default: some of the first store's alphabet",
    )
    p.add_argument("--rows", type=int, default=12, help="labels, where --chars names none")
    p.add_argument("--columns", type=int, default=8, help="images of each store")
    p.add_argument("--split", type=str, default="train", help="train, val or test")
    return p


def main(args: Namespace) -> None:
    from synth.errors import InputError
    from synth.sheets import write_side_by_side
    from synth.store import Store

    if min(args.rows, args.columns) < 1:
        raise InputError("--rows and --columns must be at least 1")
    stores = [Store.open(path) for path in args.stores]
    write_side_by_side(stores, args.out, args.chars, args.rows, args.columns, args.split)
    print(args.out)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
