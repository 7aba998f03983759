"""Fonts -> a store of handwritten-looking characters, for rare classes and for "other"."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from synth.command import cores, parser, run, used
from synth.errors import InputError


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/render_fonts.py --real runs/real --out runs/font",
    )
    p.add_argument("--real", type=Path | None, help="real store: fills by quota, matches its pen")
    p.add_argument("--alphabet", type=Path | None, help="one character a line; without --real")
    p.add_argument("--out", type=Path | None, help="store to make")
    p.add_argument("--per-class", type=int | None, help="images of each class; default: by quota")
    p.add_argument("--target", type=int | None, help="real + rendered a class; default: 2 x median")
    p.add_argument(
        "--other", type=int | None, help="images of 'other'; default: 1.2 x the known ones"
    )
    p.add_argument(
        "--quota",
        type=Path | None,
        help="CSV with the columns label and images, 'other' is a label too: in place of "
        "--per-class, --target and --other",
    )
    p.add_argument("--other-chars", type=int | None, help="how many different other characters")
    p.add_argument("--other-from", type=Path | None, help="file with other characters, one a line")
    p.add_argument("--fonts", type=Path, nargs="+", default=[], help="folders with more fonts")
    p.add_argument(
        "--strength", type=float, default=1.0, help="of the deformation; 0 draws plain glyphs"
    )
    p.add_argument("--without", type=str, nargs="+", default=[], help="names of fonts to leave out")
    p.add_argument(
        "--writers", type=int, default=500, help="hands that share the images; 1: all in one hand"
    )
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--workers", type=int, default=cores(), help="processes; the result is the same")
    p.add_argument(
        "--cluster", type=str | None, help="Dask scheduler, tcp://host:8786, in place of --workers"
    )
    p.add_argument(
        "--preview",
        type=Path | None,
        help="PNG: fonts x characters, writers, kinds of other; with --check the contact sheet",
    )
    p.add_argument(
        "--check",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="only say what each font has and lacks, and why, and draw a contact sheet of it "
        "(contact_sheet.png, or --preview)",
    )
    return p


def main(args: Namespace) -> None:
    from synth.alphabet import Alphabet
    from synth.store import Store, refuse_existing

    if (args.real is None) == (args.alphabet is None):
        raise InputError("give --real STORE or --alphabet FILE, one of them")
    if args.out is None and args.preview is None and not args.check:
        raise InputError("give --out STORE (or --preview PNG, or --check)")
    if args.check and args.out is not None:
        raise InputError("--check renders no store: leave --out out")
    if args.out is not None:
        refuse_existing(args.out)
    if args.preview is not None and args.preview.is_dir():
        raise InputError(f"{args.preview}: a folder; give --preview the name of a PNG file")
    real = Store.open(args.real) if args.real else None
    alphabet = real.alphabet if real else Alphabet.read(args.alphabet)

    from synth.sheets import write_contact_sheet, write_preview
    from synth.studio import Studio

    studio = Studio.prepare(
        alphabet=alphabet,
        real=real,
        font_folders=args.fonts,
        per_class=args.per_class,
        target=args.target,
        other_images=args.other,
        other_chars=args.other_chars,
        other_from=args.other_from,
        strength=args.strength,
        seed=args.seed,
        writers=args.writers,
        without=args.without,
        quota_file=args.quota,
    )
    print(studio.font_table(), flush=True)
    if args.check:
        page = args.preview or Path("contact_sheet.png")
        write_contact_sheet(studio, page)
        print(f"contact sheet: {page}")
    elif args.preview:
        write_preview(studio, args.preview)
        print(f"preview: {args.preview}")
    if args.out is None:
        return
    print(studio.quota.table(), flush=True)
    store = studio.render_to(args.out, args.workers, used(args), args.cluster)
    print(f"{args.out}: {len(store)} images")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
