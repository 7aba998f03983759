"""Build assets/fonts: fetch freely licensed fonts, cut them down to common characters, record them.

Every font is drawn anew, glyph by glyph, into a small TrueType font (`rebuild`) instead of being
cut by the subsetter: one path then serves plain fonts, collections, PostScript outlines and fonts
that come in a hundred slices, and drops hinting, layout tables and unused names by construction.
What a font only pretends to have (a blank, its .notdef, one picture for many characters) is left
out, so the cmap of the result can be believed. The same packages give the same bytes.

The files are WOFF 1: the FreeType inside freetype-py has no Brotli and cannot open WOFF 2.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from font_subsets.characters import big5, gb2312, scripts_of
from font_subsets.folder import NAMES, exchange, finish_exchange, refuse_strange
from font_subsets.packages import fetch, licence_text, package_folder, package_version
from font_subsets.rows import HEADER, FontRow, read_rows
from font_subsets.sources import SOURCES, Source, check_manifest
from font_subsets.subset import MODIFIED, open_fonts, original_name, rebuild

OUT = Path(__file__).resolve().parent.parent / "assets" / "fonts"
LIMIT_BYTES = 40_000_000


def build(source: Source, packages: Path, out: Path) -> tuple[FontRow, str]:
    """Build one font into out; its row for fonts.toml and one line on what was left out."""
    root = packages / package_folder(source.package)
    if not root.is_dir():
        raise SystemExit(f"{source.package}: no folder {root}; unpack the package there")
    version = package_version(source.package, root)
    notes = [] if version == source.version else [f"package {version}, not {source.version}"]
    fonts = open_fonts(source, root)
    origin = f"{source.package} {version}"
    notice = (
        f"Modified on {MODIFIED:%Y-%m-%d} by scripts/build_fonts.py of Inkfill from a font of "
        f"{origin}: reduced to common characters; hinting, layout and vertical tables removed; "
        "coordinates rounded; written as WOFF" + ("; renamed" if source.reserved else "") + "."
    )
    path = out / f"{source.stem}.woff"
    cmap, left_out = rebuild(source, fonts, notice, path)
    notes += [f"{count} {reason}" for reason, count in left_out.items()]
    licence = out / f"{source.stem}.LICENSE.txt"
    families = {original_name(font, 1) for font in fonts}
    original = original_name(fonts[0], 1)
    assert original is not None, f"{source.stem}: the original has no name"
    if len(families) > 1:
        original += f" and {len(families) - 1} others"
    head = f"{path.name} is a modified version of the font {original}.\n{notice}\n"
    text = f"{head}The licence of the original, which also governs the modified font, follows.\n\n"
    body = licence_text(source.package, root)
    licence.write_text(f"{text}{'-' * 80}\n\n{body}\n", encoding="utf-8")
    row = FontRow(
        file=path.name,
        licence_file=licence.name,
        family=source.family or original,
        original_family=original,
        source=origin,
        version=(original_name(fonts[0], 5) or "").removeprefix("Version "),
        licence=source.licence,
        reserved=bool(source.reserved),
        renamed=source.reserved,
        style=source.style,
        writer=source.writer,
        scripts=scripts_of(cmap),
        characters=len(cmap),
        big5_level1=len(big5(1) & set(cmap)),
        gb2312_level1=len(gb2312(1) & set(cmap)),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    return row, ", ".join(notes)


def build_all(sources: tuple[Source, ...], packages: Path, out: Path) -> Iterator[str]:
    """Build into a folder beside out and exchange them when all is whole; a line a font."""
    part = out.with_name(out.name + ".part")
    finish_exchange(out)
    refuse_strange(out)
    refuse_strange(part, NAMES)  # an unfinished build has no fonts.toml
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    stems = {source.stem for source in sources}
    old = read_rows(out) if (out / "fonts.toml").exists() else []
    known = {source.stem for source in SOURCES}
    rows = {}
    for row in old:  # fonts not asked for now stay as they are
        stem = Path(row.file).stem
        if stem in known - stems:
            rows[stem] = row
            shutil.copy2(out / row.file, part)
            shutil.copy2(out / row.licence_file, part)
    for source in sources:
        rows[source.stem], note = build(source, packages, part)
        row = rows[source.stem]
        size_kb = (part / row.file).stat().st_size / 1000
        yield f"{row.file:28} {row.characters:6} characters {size_kb:6.0f} kB  {note}"
    ordered = [rows[source.stem] for source in SOURCES if source.stem in rows]
    text = "\n".join([HEADER, *(row.to_toml() for row in ordered)])
    (part / "fonts.toml").write_text(text, encoding="utf-8")
    total_bytes = sum(path.stat().st_size for path in part.iterdir())
    if total_bytes >= LIMIT_BYTES:
        raise SystemExit(f"{part} is {total_bytes:,} bytes, more than {LIMIT_BYTES:,}; kept there")
    refuse_strange(out)  # again: the build took long
    exchange(out)
    yield f"{len(ordered)} fonts, {total_bytes / 1e6:.1f} MB -> {out}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Fetch freely licensed fonts, cut them down to common characters, and write "
        "them with their licences and fonts.toml.",
        epilog="About 20 seconds a Chinese font on one core; 1 GB for the packages.",
    )
    parser.add_argument(
        "work",
        type=Path,
        nargs="?",
        help="folder for the packages, fetched with `apt-get download` and `npm pack` where they "
        "are not there yet",
    )
    parser.add_argument(
        "--from",
        dest="packages",
        type=Path,
        metavar="DIR",
        help="fetch nothing: DIR holds the packages unpacked, as a work folder does "
        "(fontsource-iansui/package.json, fonts-klee/DEBIAN/control, ...)",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="default: assets/fonts")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="STEM",
        help="build these only and leave the other fonts of --out as they are",
    )
    args = parser.parse_args()
    if (args.work is None) == (args.packages is None):
        parser.error("give a work folder or --from DIR, one of them")
    unknown = set(args.only or ()) - {source.stem for source in SOURCES}
    if unknown:
        parser.error(f"--only: not in SOURCES: {', '.join(sorted(unknown))}")
    check_manifest(SOURCES)
    sources = tuple(s for s in SOURCES if not args.only or s.stem in args.only)
    out = args.out.resolve()
    refuse_strange(out)  # before the packages are fetched

    from tqdm import tqdm

    # Some of the fonts carry dates before 1970; they are replaced anyway.
    logging.getLogger("fontTools.ttLib.tables._h_e_a_d").setLevel(logging.ERROR)

    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
        for source in tqdm(sources, desc="fetch", unit="package"):
            fetch(source, args.work)
    bar = tqdm(total=len(sources), desc="build", unit="font")
    for line in build_all(sources, args.packages or args.work, out):
        tqdm.write(line, file=sys.stdout)
        bar.update(bar.n < len(sources))
    bar.close()


if __name__ == "__main__":
    main()
