"""How often a recogniser reads rendered samples right, font by font and strength by strength.

Give it a classifier trained on real images only. Fonts and strengths that it does not read are
named, and so is the line for render_fonts.py that leaves them out.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "", "python scripts/check_fonts.py --real runs/real --model runs/real_only"
    )
    p.add_argument("--real", type=Path, required=True, help="real store: its pen and alphabet")
    p.add_argument("--model", type=Path, required=True, help="classifier run on real images only")
    p.add_argument("--fonts", type=Path, nargs="+", default=[], help="folders with more fonts")
    p.add_argument(
        "--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5], help="of the bending"
    )
    p.add_argument("--per-font", type=int, default=100, help="images of a font at each strength")
    p.add_argument("--least", type=float, default=0.5, help="share that must be read right, 0..1")
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.store import Store

    if args.per_font < 1 or min(args.strengths) < 0 or not 0 <= args.least <= 1:
        raise InputError("--per-font from 1, --strengths from 0, --least from 0 to 1")
    real = Store.open(args.real)

    from classifier.export import fastest_device, load_model
    from synth.reading import reading_rates
    from synth.studio import Studio

    model = load_model(args.model, device=fastest_device())
    real.require(model.card.canvas, model.card.alphabet)
    studio = Studio.prepare(
        real.alphabet, real, args.fonts, per_class=1, other_images=0, seed=args.seed
    )
    chars = model.card.alphabet.chars

    def read(images):
        known = model.probabilities(images)[:, : len(chars)]
        return [chars[i] for i in known.argmax(1)]

    rates = reading_rates(studio, read, args.strengths, args.per_font)
    print(rates.table())
    fonts, strengths = rates.unread_fonts(args.least), rates.unread_strengths(args.least)
    bound = f"under {100 * args.least:g} % read right"
    print(f"fonts {bound}: {', '.join(fonts) or 'none'}")
    print(f"strengths {bound}: {', '.join(f'{s:g}' for s in strengths) or 'none'}")
    if fonts:
        print(f"leave them out: render_fonts.py --without {' '.join(fonts)}")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
