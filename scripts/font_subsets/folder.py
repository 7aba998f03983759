"""The folder of a build: exchanged whole, and never deleted with what no build made."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from font_subsets.rows import read_rows
from font_subsets.sources import SOURCES

# what the folder of a build may hold but fonts.toml
NAMES = tuple(f"{s.stem}.{end}" for s in SOURCES for end in ("woff", "LICENSE.txt"))


def refuse_strange(folder: Path, more: Iterable[str] = ()) -> None:
    """Raises SystemExit where a folder that will be deleted holds anything but fonts.toml, the
    files that it lists, and `more`."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no folder; remove it or give another --out")
    ours = {"fonts.toml", *more}
    try:
        rows = read_rows(folder) if (folder / "fonts.toml").exists() else []
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise SystemExit(
            f"{folder}/fonts.toml: not written by this program ({error}); give another --out"
        ) from None
    ours |= {name for row in rows for name in (row.file, row.licence_file)}
    strange = sorted(p.name for p in folder.iterdir() if p.name not in ours or not p.is_file())
    if strange:
        raise SystemExit(
            f"{folder}: holds {', '.join(strange[:5])}{', ...' if len(strange) > 5 else ''}, which "
            "its fonts.toml does not list and this would delete; move that elsewhere "
            "(render_fonts.py --fonts takes a folder of yours) or give another --out"
        )


def exchange(out: Path) -> None:
    """Puts the whole set beside `out` in its place. Killed at any point, a whole set is there, and
    `finish_exchange` finds it."""
    part, old = (out.with_name(out.name + end) for end in (".part", ".old"))
    if out.exists():
        out.rename(old)
    part.rename(out)
    if old.exists():
        shutil.rmtree(old)


def finish_exchange(out: Path) -> None:
    """What a killed `exchange` left undone. Raises SystemExit where the folder that it puts aside
    holds what no build made."""
    part, old = (out.with_name(out.name + end) for end in (".part", ".old"))
    if not old.exists():
        return
    refuse_strange(old, NAMES)  # half deleted it has no fonts.toml
    if not out.exists():  # the new set goes in only when it is whole
        (part if (part / "fonts.toml").exists() else old).rename(out)
    shutil.rmtree(old, ignore_errors=True)
