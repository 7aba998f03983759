"""What a trained model was made of: each store's images, where they come from, which licence."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        (__doc__ or "")
        + " Refuses a model whose stores are gone or changed, a font without a stated licence, "
        "and a validation or test image that was, exactly or nearly, trained on.",
        "python scripts/audit.py --model runs/classifier --allow mydata",
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
    return p


def main(args: Namespace) -> None:
    from synth.provenance import NOT_STATED, origins, refuse_trained
    from synth.store import Store

    card = args.model / "model.json"
    if not card.is_file():
        raise InputError(f"{args.model}: no finished run (no model.json in it)")
    try:
        sources = json.loads(card.read_text(encoding="utf-8"))["info"]["sources"]
        paths = [Path(source["store"]) for source in sources]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{card}: does not say which stores it was trained on") from None
    stores = [Store.open(path) for path in paths]
    unknown: list[str] = []
    for store, source in zip(stores, sources, strict=True):
        if store.info["made"] != source["made"]:
            raise InputError(f"{store.path}: made again since the training: it is another store")
        print(f"{store.path}: {len(store)} images")
        for origin in origins(store):
            print(f"  {origin.images:8} {origin.source:5} {origin.place}: {origin.licence}")
            if origin.source != "real" and origin.licence == NOT_STATED:
                unknown.append(origin.place)
    unknown = sorted(set(unknown) - set(args.allow))
    if unknown:
        raise InputError(
            f"no licence is known of {', '.join(unknown)}; with --allow NAME you say that you know"
        )
    for trained in stores:  # the first one is the real one
        refuse_trained(stores[0], stores[0].rows("val"), trained)
    if args.test:
        import numpy as np

        test = Store.open(args.test)
        for trained in stores:
            refuse_trained(test, np.arange(len(test)), trained)
    print("no validation or test image was trained on")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
