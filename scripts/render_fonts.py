"""Fonts -> a store of handwritten-looking characters, for rare classes and for "other"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from synth.command import (
    add_apart_from,
    add_without,
    cores,
    leave_out_unread,
    parser,
    read_strength,
    run,
    say_unasked,
    used,
)
from synth.errors import InputError

if TYPE_CHECKING:
    from synth.alphabet import Alphabet
    from synth.checks import FontCheck
    from synth.reading import Verdict
    from synth.store import Store


def options() -> ArgumentParser:
    p = parser(
        __doc__ or "",
        "python scripts/render_fonts.py --real runs/real --out runs/font",
    )
    p.add_argument("--real", type=Path | None, help="real store: fills by quota, matches its pen")
    p.add_argument("--alphabet", type=Path | None, help="one character a line; without --real")
    p.add_argument("--out", type=Path | None, help="store to make")
    p.add_argument("--per-class", type=int | None, help="images of each class; default: by quota")
    p.add_argument(
        "--target",
        type=int | Literal["median"] | None,
        help="real + rendered a class; 'median': the median class; default: 2 x median, but at "
        "least 100, and 200 without real images",
    )
    p.add_argument(
        "--cap",
        type=float | None,
        help="largest share of rendered images in a class that has real ones, 0 to 1; "
        "default: no bound",
    )
    p.add_argument(
        "--other", type=int | None, help="images of 'other'; default: 1.2 x the known ones"
    )
    p.add_argument(
        "--quota",
        type=Path | None,
        help="CSV with the columns label and images, 'other' is a label too: in place of "
        "--per-class, --target, --cap and --other",
    )
    p.add_argument("--other-chars", type=int | None, help="how many different other characters")
    p.add_argument("--other-from", type=Path | None, help="file with other characters, one a line")
    p.add_argument("--fonts", type=Path, nargs="+", default=[], help="folders with more fonts")
    p.add_argument(
        "--strength", type=float, default=1.0, help="of the deformation; 0 draws plain glyphs"
    )
    add_without(p)
    p.add_argument(
        "--writers", type=int, default=500, help="hands that share the images; 1: all in one hand"
    )
    add_apart_from(p)
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
        "(contact_sheet.png, or --preview); not 0 where no font has a character",
    )
    p.add_argument(
        "--refused",
        type=Path | None,
        help="CSV: every glyph that is refused, and why: font, character, code, reason, drawn as",
    )
    return p


def main(args: Namespace) -> None:
    from synth.alphabet import Alphabet
    from synth.provenance import refuse_apart
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
    if args.refused is not None and args.refused.is_dir():
        raise InputError(f"{args.refused}: a folder; give --refused the name of a CSV file")
    real = Store.open(args.real) if args.real else None
    if args.apart_from:
        if real is None:
            raise InputError("--apart-from goes with --real")
        refuse_apart(real, args.apart_from)
    alphabet = real.alphabet if real else Alphabet.read(args.alphabet)
    verdict = None
    if args.without_unread:
        verdict = leave_out_unread(args)
        args.strength = read_strength(verdict, args.strength)
    if args.check:
        _check(args, alphabet, real, verdict)
        return

    from synth.sheets import write_preview
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
        cap=args.cap,
    )
    _say(args, studio.check, verdict)
    if args.preview:
        write_preview(studio, args.preview, real=real)
        print(f"preview: {args.preview}")
    if args.out is None:
        return
    print(studio.quota.table(), flush=True)
    store = studio.render_to(args.out, args.workers, used(args), args.cluster)
    print(f"{args.out}: {len(store)} images")


def _check(
    args: Namespace, alphabet: Alphabet, real: Store | None, verdict: Verdict | None
) -> None:
    """Raises InputError, when all is printed and drawn, where no font has a character."""
    from dataclasses import replace

    from synth.sheets import write_contact_sheet
    from synth.studio import check_all, quota_of

    quota = quota_of(alphabet, real, args.per_class, args.target, args.other, args.quota, args.cap)
    found = check_all(
        alphabet=alphabet,
        quota=quota,
        font_folders=args.fonts,
        other_chars=args.other_chars,
        other_from=args.other_from,
        seed=args.seed,
        without=args.without,
    )
    _say(args, found, verdict)
    if shown := [c for c in found.fonts if found.maps_any(c)]:
        page = args.preview or Path("contact_sheet.png")
        write_contact_sheet(replace(found, coverages=shown), page)
        print(f"contact sheet: {page}", flush=True)
    found.refuse_missing()


def _say(args: Namespace, found: FontCheck, verdict: Verdict | None) -> None:
    print("\n".join([found.table(every=args.check), *found.remarks()]), flush=True)
    say_unasked(args, verdict, [c.font.name for c in found.coverages])
    if args.refused:
        print(f"{args.refused}: {found.write_refused(args.refused)} glyphs refused", flush=True)


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
