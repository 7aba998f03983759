"""Which font draws which character: all checks of the fonts, and what they refused and why."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from synth import other
from synth.alphabet import Alphabet
from synth.errors import InputError
from synth.files import write_text
from synth.fonts import (
    Coverage,
    FontFile,
    characters_of,
    check_fonts,
    missing_from,
    no_font_has,
    open_font,
)
from synth.likeness import build_atlas, look_alikes
from synth.variants import variant_pairs
from synth.vote import VOTERS, outvoted, shown_instead

LOOK_ALIKES = 24  # of each known character, however rare
NAMED = 60  # characters, in a remark
IN_FONTS = 2  # an other character must be in two fonts, or look like one of the alphabet
ANOTHER, PUT_BACK = "another character", "another character, but put back"
COLUMNS = ["font", "character", "code", "reason", "drawn as"]  # of the list of what was refused


@dataclass(frozen=True)
class FontCheck:
    """What was found; `coverages` speak of the alphabet and of all characters it was seen among."""

    alphabet: Alphabet
    coverages: list[Coverage]  # of the fonts to draw with
    unused: list[Coverage]  # of those with nothing to draw: the alphabet and the user's list alone
    others: dict[str, str]  # other character -> kind; each is in some font
    listed: tuple[str, ...] = ()  # the user's list of others, as far as it is not in the alphabet
    missing: tuple[str, ...] = ()  # of the alphabet and the list: in no font
    dropped: tuple[str, ...] = ()  # of the list: every font that has it draws another character
    folded: tuple[str, ...] = ()  # of the list: in the alphabet, or a form of one that is
    # font -> character of the alphabet -> what the vote said. It took the last font of it
    put_back: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def fonts(self) -> list[Coverage]:
        """All of them, by name."""
        return sorted([*self.coverages, *self.unused], key=lambda c: c.font.name)

    def table(self, every: bool = False) -> str:
        """A font a row: how many of the alphabet's characters it has, how many it lacks and why,
        which adds up, and what was refused of other characters.

        every: also fonts that map none of them.
        """
        shown = [c for c in self.fonts if every or self.maps_any(c)]
        known = {*self.alphabet.chars}
        width = max([len("font"), *(len(c.font.name) for c in shown)])
        lines = [f"{'font':{width}} {'has':>6} {'lacks':>6}  why"]
        for coverage in shown:
            own: Counter[str] = Counter()
            rest: Counter[str] = Counter()
            for char, why in self._refused(coverage):
                (own if char in known else rest)[_kind(why)] += 1
            has = sum(c in coverage.usable for c in known)
            words = _counts(own)
            if rest:
                words += ("; " if words else "") + f"of other characters {_counts(rest)}"
            lines.append(f"{coverage.font.name:{width}} {has:6} {own.total():6}  {words}".rstrip())
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """A line each: characters in no font, glyphs that were put back, others that are lost."""
        lines = []
        if self.missing:
            total = len(self.alphabet) + len(self.listed)
            lines.append(f"no font has {len(self.missing)} of {total}: {' '.join(self.missing)}")
        if few := self._unjudged():
            shown = " ".join(few[:NAMED]) + (" ..." if len(few) > NAMED else "")
            lines.append(
                f"{len(few)} characters are in {VOTERS} fonts or fewer; their glyphs were not held "
                f"against one another: {shown}"
            )
        if self.put_back:
            named = [
                f"{char} in {font} ({why})"
                for font, glyphs in self.put_back.items()
                for char, why in glyphs.items()
            ]
            lines.append(f"put back, since the vote leaves no font: {', '.join(named)}")
        if self.dropped:
            lines.append(
                f"left out of the listed others, no font is left: {' '.join(self.dropped)}"
            )
        if self.folded:
            lines.append(
                "left out of the listed others, in the alphabet or a form of one in it: "
                + " ".join(self.folded)
            )
        return lines

    def _unjudged(self) -> list[str]:
        """Characters of the alphabet that too few fonts have for a vote."""
        have: Counter[str] = Counter()
        for coverage in self.coverages:
            have.update(coverage.usable)
            have.update(c for c, why in coverage.rejected.items() if shown_instead(why))
        return [c for c in self.alphabet.chars if 0 < have[c] <= VOTERS]

    def refused(self) -> list[tuple[str, ...]]:
        """Rows of COLUMNS. A character that a font does not map is named where it is of the
        alphabet or the user's list."""
        rows: list[tuple[str, ...]] = []
        for coverage in self.fonts:
            name = coverage.font.name
            back = self.put_back.get(name, {})
            named = [(c, _kind(why), why) for c, why in self._refused(coverage)]
            named += [(c, PUT_BACK, why) for c, why in back.items()]
            for char, kind, why in sorted(named):
                code = " ".join(f"U+{ord(c):04X}" for c in char)
                rows.append((name, char, code, kind, shown_instead(why)))
        return rows

    def write_refused(self, path: Path) -> int:
        """`refused` as a CSV file; how many rows."""
        file = io.StringIO()
        rows = self.refused()
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, file.getvalue())
        return len(rows)

    def refuse_missing(self) -> None:
        """Raises InputError naming the characters that no font has, and where there was a list of
        others and nothing is left of it."""
        if self.missing:
            raise no_font_has(self.missing, len(self.alphabet) + len(self.listed))
        if (self.folded or self.listed) and not self.others:
            raise InputError(
                f"nothing is left of the listed others: {len(self.folded)} are in the alphabet, or "
                f"a form of one in it, and {len(self.dropped)} are drawn right by no font"
            )

    def maps_any(self, coverage: Coverage) -> bool:
        """Whether a font maps any of the characters that it was asked for, usable or not."""
        return bool(coverage.usable) or set(coverage.rejected.values()) != {"unmapped"}

    def _refused(self, coverage: Coverage) -> list[tuple[str, str]]:
        asked = {*self.alphabet.chars, *self.listed}
        return [(c, w) for c, w in coverage.rejected.items() if w != "unmapped" or c in asked]


def check(
    alphabet: Alphabet,
    files: Sequence[FontFile],
    listed: Sequence[str] | None,  # a user's list of other characters; None: choose
    n_others: int,  # how many to choose
    max_candidates: int,  # others looked at for likeness: those that most fonts have
    seed: int,
    strict: bool = True,
) -> FontCheck:
    """Coverage, likeness, choice of the others, vote.

    strict: raises InputError naming the characters of the alphabet and the list that no font has.
    """
    chosen, asked = listed is None, listed or ()
    listed = tuple(other.outside(alphabet, asked))
    folded = tuple(c for c in asked if c not in listed)
    wanted = [*alphabet.chars, *listed]
    codes = {ord(c) for c in wanted if len(c) == 1}
    some = [f for f in files if not codes.isdisjoint(open_font(f).cmap)]
    known = check_fonts(some, wanted, strict)
    missing = missing_from(known, wanted)
    # a font with none of these would only draw other scripts, at a price
    unused = [c for c in known if not c.usable]
    unmapped = dict.fromkeys(wanted, "unmapped")
    unused += [Coverage(f, frozenset(), dict(unmapped)) for f in files if f not in some]
    known = [c for c in known if c.usable]
    found = FontCheck(alphabet, [], unused, {}, listed, tuple(missing), folded=folded)
    if not known:
        if strict:
            found.refuse_missing()
        return found
    files = [c.font for c in known]
    # for the vote too: only among many characters is it seen that a glyph is another one
    mapped = characters_of(files)
    pool = other.candidates(sorted(mapped))
    near = near_of(known, alphabet, pool, LOOK_ALIKES)
    # one that a single font has, too, if it looks like one of the alphabet: 峂 beside 峻
    pool = [c for c in pool if mapped[c] >= min(IN_FONTS, len(files))]
    pool = [*sorted(pool, key=lambda c: -mapped[c])[:max_candidates], *near]
    chars = sorted({*wanted, *pool} - {*missing})
    coverages = [open_font(f).coverage([*chars, *missing]) for f in files]
    atlas = build_atlas(coverages, chars)
    others = dict.fromkeys((c for c in listed if c not in missing), "listed")
    if n_others and chosen:
        others = other.choose(atlas, alphabet, n_others, seed)
    coverages = outvoted(coverages, atlas, [*alphabet.chars, *others], variant_pairs(chars))
    coverages, back = put_back(coverages, missing_from(coverages, alphabet.chars))
    lost = {*missing_from(coverages, wanted)}
    dropped = tuple(c for c in listed if c in lost and c not in missing)
    gone = {*missing_from(coverages, list(others))}
    found = replace(
        found,
        coverages=coverages,
        others={c: kind for c, kind in others.items() if c not in gone},
        missing=tuple(c for c in wanted if c in lost and c not in dropped),
        dropped=dropped,
        put_back=back,
    )
    if strict:
        found.refuse_missing()
    return found


def near_of(
    known: Sequence[Coverage], alphabet: Alphabet, pool: Sequence[str], count: int
) -> set[str]:
    """The `count` most like each of the alphabet, as the fullest font draws them that has it."""
    near: set[str] = set()
    left = {*alphabet.chars}
    for coverage in sorted(known, key=lambda c: -len(open_font(c.font).cmap)):
        if own := sorted(left & coverage.usable):
            whole = open_font(coverage.font).coverage([*pool, *alphabet.chars])
            near |= look_alikes(whole, own, count)
            left -= whole.usable
    return near


def put_back(
    coverages: Sequence[Coverage], lost: Sequence[str]
) -> tuple[list[Coverage], dict[str, dict[str, str]]]:
    """The vote may not empty a class: of `lost` characters the glyphs that it took come back, but
    none that is blank, the font's .notdef or a stand-in.

    -> coverages, font -> character -> what the vote said.
    """
    result, said = [], {}
    for coverage in coverages:
        back = {c: why for c in lost if shown_instead(why := coverage.rejected.get(c, ""))}
        if back:
            said[coverage.font.name] = back
        result.append(
            replace(
                coverage,
                usable=coverage.usable | back.keys(),
                rejected={c: w for c, w in coverage.rejected.items() if c not in back},
            )
        )
    return result, said


def _kind(why: str) -> str:
    return ANOTHER if shown_instead(why) else why


def _counts(reasons: Counter[str]) -> str:
    return ", ".join(f"{n} {why}" for why, n in reasons.most_common())
