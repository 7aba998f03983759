"""How often a recogniser reads rendered samples right, font by font and strength by strength.

Give it a classifier trained on real images only. Fonts and strengths that it does not read are
named; render_fonts.py and train_gan.py --without-unread FILE leave them out.
"""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import parser, run, used
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
    p.add_argument(
        "--strength", type=float, default=1.0, help="that will be rendered: fonts are judged at it"
    )
    p.add_argument(
        "--out",
        type=Path | None,
        help="JSON for --without-unread of render_fonts.py and train_gan.py: what is read",
    )
    p.add_argument("--per-font", type=int, default=100, help="images of a font at each strength")
    p.add_argument("--least", type=float, default=0.5, help="share that must be read right, 0..1")
    p.add_argument("--seed", type=int, default=1)
    return p


def main(args: Namespace) -> None:
    from synth.store import Store, refuse_existing

    strengths = sorted({*args.strengths, args.strength})
    if args.per_font < 1 or not 0 <= args.least <= 1:
        raise InputError("--per-font from 1, --least from 0 to 1")
    if not all(0 <= s < float("inf") for s in strengths):
        raise InputError("--strengths and --strength: factors from 0")
    if args.out is not None:
        refuse_existing(args.out)
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

    rates = reading_rates(studio, read, strengths, args.per_font)
    print(rates.table())
    fonts = rates.unread_fonts(args.least, args.strength)
    unread = rates.unread_strengths(args.least, args.strength)
    bound = f"under {100 * args.least:g} % read right"
    print(f"fonts {bound} at {args.strength:g}: {', '.join(fonts) or 'none'}")
    print(f"strengths {bound}: {', '.join(f'{s:g}' for s in unread) or 'none'}")
    if fonts:
        print(f"leave them out: train_gan.py and render_fonts.py --without {' '.join(fonts)}")
    if args.out is not None:
        rates.write(args.out, args.least, args.strength, used(args))
        print(f"{args.out}: for render_fonts.py and train_gan.py --without-unread")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
