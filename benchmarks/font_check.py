"""What the checks of fonts find among common characters, and what the vote catches and costs.

    python benchmarks/font_check.py assets/fonts --chars both --swaps 200

A row a font: of the list's characters how many it does not map, maps to nothing, to its .notdef or
to another stand-in, how many the vote refuses, and how many are good. `--swaps N` exchanges N pairs
of glyphs in each font, one font after the other, and counts how many of the 2 N the vote refuses.
Fonts that map none of the list are left out. Takes a core some minutes, and 1 GB of memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser, Namespace
from tqdm import tqdm

from synth.alphabet import Alphabet
from synth.checks import FontCheck
from synth.command import parser, run
from synth.errors import InputError
from synth.fonts import Coverage, find_fonts, open_font
from synth.likeness import Atlas, build_atlas
from synth.variants import variant_pairs
from synth.vote import outvoted, shown_instead

OUTVOTED = "outvoted"
REASONS = ("unmapped", "blank", "too complex", ".notdef", "shared", OUTVOTED)


def options() -> ArgumentParser:
    p = parser(
        "What the checks of fonts find among common characters, and what the vote catches and "
        "costs.",
        "python benchmarks/font_check.py assets/fonts --chars both --swaps 200",
    )
    p.add_argument("folders", type=Path, nargs="+", help="folders with fonts")
    p.add_argument(
        "--chars",
        type=str,
        default="big5",
        help="big5: its 5,401 common characters; gb2312: its 3,755; both; or a file, one a line",
    )
    p.add_argument("--without", type=str, nargs="+", default=[], help="names of fonts to leave out")
    p.add_argument("--swaps", type=int, default=0, help="pairs of glyphs exchanged in each font")
    p.add_argument("--forms", type=str, default="為爲", help="which fonts draw one as the other")
    p.add_argument("--refused", type=Path | None, help="CSV: what is refused, and why")
    p.add_argument("--seed", type=int, default=1, help="of the choice of pairs")
    return p


@dataclass(frozen=True)
class Found:
    """Before and after the vote."""

    chars: frozenset[str]  # that are counted; the vote may see others beside them
    coverages: list[Coverage]
    atlas: Atlas
    voted: list[Coverage]

    def counts(self) -> list[Counter[str]]:
        """Of each font: characters by reason, and `good`."""
        return [
            Counter(
                OUTVOTED if shown_instead(why) else why
                for char, why in c.rejected.items()
                if char in self.chars
            )
            + Counter(good=len(c.usable & self.chars))
            for c in self.voted
        ]


def big5_level_1() -> list[str]:
    """Rows A440 to C67E of Big5: 5,401 characters."""
    lows = (*range(0x40, 0x7F), *range(0xA1, 0xFF))
    codes = [bytes([high, low]) for high in range(0xA4, 0xC7) for low in lows]
    return [code.decode("big5") for code in codes if code <= b"\xc6\x7e"]


def gb2312_level_1() -> list[str]:
    """Rows 16 to 55 of GB 2312: 3,755 characters."""
    codes = [bytes([high, low]) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF)]
    return [code.decode("gb2312") for code in codes if code <= b"\xd7\xf9"]


def characters(name: str) -> list[str]:
    """Of a list's name or a file."""
    if name in ("big5", "gb2312", "both"):
        return sorted(
            {
                *(big5_level_1() if name != "gb2312" else ()),
                *(gb2312_level_1() if name != "big5" else ()),
            }
        )
    return list(Alphabet.read(Path(name)).chars)


def check(
    folders: Sequence[Path],
    without: Sequence[str],
    chars: Sequence[str],  # to count
    more: Sequence[str] = (),  # for the vote to see, too
) -> Found:
    """Raises InputError where no font maps one of the characters."""
    files = [f for f in find_fonts(folders, own=False) if f.name not in without]
    codes = {ord(c) for c in chars if len(c) == 1}
    files = [f for f in files if not codes.isdisjoint(open_font(f).cmap)]
    if not files:
        raise InputError("no font in these folders maps a character of the list")
    seen = sorted({*chars, *more})
    coverages = [open_font(f).coverage(seen) for f in files]
    atlas = build_atlas(coverages, seen)
    voted = outvoted(coverages, atlas, forms=variant_pairs(seen))
    return Found(frozenset(chars), coverages, atlas, voted)


def caught(found: Found, pairs: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Of each font: glyphs exchanged, and how many of them the vote refuses; only glyphs are
    exchanged that are good."""
    features, result = found.atlas.features.copy(), []
    forms = variant_pairs(found.atlas.chars)
    for f, coverage in enumerate(tqdm(found.voted, unit="font", desc="swaps")):
        usable = coverage.usable & found.chars
        good = [i for i, c in enumerate(found.atlas.chars) if c in usable]
        picked = rng.permutation(np.array(good, int))[: 2 * pairs]
        one, two = picked[: len(picked) // 2], picked[len(picked) // 2 :][: len(picked) // 2]
        at = np.concatenate([one, two])
        features[f, at] = found.atlas.features[f, np.concatenate([two, one])]
        chars = [found.atlas.chars[i] for i in at.tolist()]
        changed = replace(found.atlas, features=features)
        voted = outvoted(found.coverages, changed, forms=forms)[f]
        result.append(
            (len(chars), sum(bool(shown_instead(voted.rejected.get(c, ""))) for c in chars))
        )
        features[f, at] = found.atlas.features[f, at]
    return result


def table(found: Found, swaps: Sequence[tuple[int, int]]) -> str:
    """Fonts by reasons, and all fonts together."""
    counts = found.counts()
    names = [c.font.name for c in found.voted]
    rows = [*zip(names, counts, strict=True), ("all fonts", sum(counts, Counter()))]
    width = max(map(len, (*names, "all fonts")))
    heads = [*REASONS, "good", *(["swapped", "caught"] if swaps else [])]
    lines = [f"{'font':{width}} {'pairs':>8}" + "".join(f"{h:>12}" for h in heads)]
    swapped = [*swaps, tuple(map(sum, zip(*swaps, strict=True)))] if swaps else [()] * len(rows)
    for (name, row), more in zip(rows, swapped, strict=True):
        values = [*(row[r] for r in (*REASONS, "good")), *more]
        lines.append(f"{name:{width}} {row.total():8}" + "".join(f"{v:12}" for v in values))
    return "\n".join(lines)


def summary(found: Found, swaps: Sequence[tuple[int, int]], forms: str) -> list[str]:
    """What is said of all fonts together."""
    total = sum(found.counts(), Counter())
    usable = total["good"] + total[OUTVOTED]
    lines = [
        f"{total.total()} pairs of {len(found.voted)} fonts x {len(found.chars)} characters: "
        f"{total['unmapped'] + total['blank']} unmapped or blank",
        f"the vote refuses {total[OUTVOTED]} of the {usable} that are left "
        f"({100 * total[OUTVOTED] / max(usable, 1):.2f} %)",
    ]
    if swaps:
        n, hit = (sum(column) for column in zip(*swaps, strict=True))
        lines.append(f"{hit} of {n} exchanged glyphs caught ({100 * hit / max(n, 1):.1f} %)")
    one, two = forms[0], forms[1]
    drawn = [c.font.name for c in found.voted if shown_instead(c.rejected.get(one, "")) == two]
    lines.append(f"{one} is drawn as {two} in: {', '.join(drawn) or 'none'}")
    return lines


def main(args: Namespace) -> None:
    if len(args.forms) != 2:
        raise InputError(f"--forms {args.forms}: two characters, one drawn as the other")
    if args.swaps < 0:
        raise InputError(f"--swaps {args.swaps}: a number of pairs from 0")
    found = check(args.folders, args.without, characters(args.chars), args.forms)
    swaps = caught(found, args.swaps, np.random.default_rng(args.seed)) if args.swaps else []
    print(table(found, swaps))
    print("\n".join(summary(found, swaps, args.forms)))
    if args.refused:
        listed = FontCheck(Alphabet.of(found.chars), found.voted, [], {})
        print(f"{args.refused}: {listed.write_refused(args.refused)} glyphs refused")


if __name__ == "__main__":
    raise SystemExit(run(options(), main))
