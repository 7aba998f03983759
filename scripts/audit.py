"""What a trained model was made of: each store's images, where they come from, which licence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run
from synth.errors import InputError

if TYPE_CHECKING:
    from synth.store import Store

NAMED = 10  # images, in a message


def options() -> ArgumentParser:
    p = parser(
        (__doc__ or "")
        + " Follows generated images to the images that their generator learned from. Refuses a "
        "model whose stores are gone or hold other images than it was trained on, a font without a "
        "stated licence, generated images of which nothing says what their generator learned from, "
        "and a validation or test image that was trained on: exactly, or nearly but for images "
        "drawn with fonts.",
        "python scripts/audit.py --model runs/classifier --allow myfont",
    )
    p.add_argument("--model", type=Path, required=True, help="finished classifier run")
    p.add_argument(
        "--test", type=Path | None, help="store that must not have been trained on; default: none"
    )
    p.add_argument(
        "--allow",
        type=str,
        nargs="+",
        default=[],
        help="names of fonts of yours whose licence you know",
    )
    p.add_argument(
        "--redraw",
        type=int,
        default=0,
        metavar="N",
        help="font images of each store, drawn by lot, to draw again from their rows alone: each "
        "must come out byte for byte (default 0)",
    )
    p.add_argument(
        "--fonts", type=Path, nargs="+", default=[], help="folders with more fonts, for --redraw"
    )
    return p


def main(args: Namespace) -> None:
    import numpy as np

    from synth.lineage import began_with, trained_on
    from synth.provenance import behind_generated, learned_from, refuse_trained
    from synth.store import Store

    if args.redraw < 0:
        raise InputError(f"--redraw {args.redraw}: must be 0 or more")
    stores = trained_on(args.model)
    began, untold = began_with(args.model)
    unknown: set[str] = set()
    for store in stores:
        unknown |= tell(store, "")
    seen = {store.path.resolve() for store in stores}
    behind: list[Store] = []
    for store in began:
        if store.path.resolve() not in seen:
            unknown |= tell(store, ", of the run that the weights came from")
            seen.add(store.path.resolve())
            behind.append(store)
    for store in (*stores, *began):
        behind_generated(store)  # refuses images of which nothing says it
    for store in (*stores[1:], *began):  # the first one is the real one
        origin = learned_from(store)
        if origin is not None and origin.path.resolve() not in seen:
            origin.require_unchanged()
            unknown |= tell(origin, f", which {store.path} learned from")
            seen.add(origin.path.resolve())
            behind.append(origin)
    if unknown := unknown - set(args.allow):
        raise InputError(
            f"no licence is known of {', '.join(sorted(unknown))}; with --allow NAME you say that "
            "you know"
        )
    if args.redraw:
        for store in (*stores, *behind):
            draw_again(store, args.redraw, args.fonts)
    real, test = stores[0], Store.open(args.test) if args.test else None
    for trained in (*stores, *behind):
        refuse_trained(real, np.flatnonzero(real.column("split") != "train"), trained)
        if test is not None:
            refuse_trained(test, np.arange(len(test)), trained)
    if untold:
        print(f"nothing says what the weights in {untold} learned from; of all else:")
    print("no validation or test image was trained on")


def tell(store: Store, why: str) -> set[str]:
    """Prints where the images of a store come from. Returns fonts that state no licence."""
    from synth.provenance import NOT_STATED, origins

    print(f"{store.path}: {len(store)} images{why}")
    unknown = set()
    for origin in origins(store):
        print(f"  {origin.images:8} {origin.source:5} {origin.place}: {origin.licence}")
        if origin.source != "real" and origin.licence == NOT_STATED:
            unknown.add(origin.place)
    return unknown


def draw_again(store: Store, count: int, folders: list[Path]) -> None:
    """Raises InputError, naming them, where some of `count` font images come out otherwise."""
    import numpy as np

    from synth.fonts import find_fonts
    from synth.redraw import changed

    rows = np.flatnonzero(store.column("source") == "font")
    if not len(rows):
        return
    rows = np.sort(np.random.default_rng(1).permutation(rows)[:count])
    if len(bad := changed(store, rows, find_fonts(folders))):
        origins = store.column("origin")
        named = ", ".join(f"row {row} ({origins[row]})" for row in bad[:NAMED].tolist())
        raise InputError(
            f"{store.path}: {len(bad)} of {len(rows)} font images are drawn otherwise now: {named}"
            f"{', ...' if len(bad) > NAMED else ''}; an older version drew them, or their fonts "
            "were changed"
        )
    print(f"{store.path}: {len(rows)} font images drawn again, all as they are stored")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
