"""What a render needs, put together once: checked fonts, the others, the quota, the style."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from synth import other
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.cluster import render_on
from synth.errors import InputError
from synth.fit import fit_style
from synth.fonts import Coverage, FontFile, characters_of, check_fonts, find_fonts, open_font
from synth.likeness import build_atlas, look_alikes
from synth.near_copies import refuse_copies
from synth.quota import Quota, plan_quota, read_quota, real_counts
from synth.render import WRITERS, Plan, make_plan, render
from synth.store import Store, StoreWriter
from synth.style import Style
from synth.vote import outvoted

MAX_OTHER_CHARS = 3000
MAX_CANDIDATES = 10_000  # looked at for likeness: those that most fonts have
LOOK_ALIKES = 24  # of each known character, however rare
IN_FONTS = 2  # an other character must be in two fonts, or look like one of the alphabet


@dataclass(frozen=True)
class Studio:
    """Everything decided; `plan` says what stands at each place."""

    alphabet: Alphabet
    canvas: Canvas
    coverages: list[Coverage]
    others: dict[str, str]  # other character -> kind
    quota: Quota
    style: Style
    plan: Plan
    seed: int

    @classmethod
    def prepare(
        cls,
        alphabet: Alphabet,
        real: Store | None,  # its counts make the quota, its strokes the pen
        font_folders: Sequence[Path] = (),
        per_class: int | None = None,
        target: int | None = None,
        other_images: int | None = None,
        other_chars: int | None = None,  # None: a quarter of the images, from 100 to 3,000
        other_from: Path | None = None,  # a user's own list in place of the chosen ones
        strength: float = 1.0,  # of the deformation
        seed: int = 1,
        canvas: Canvas | None = None,
        style: Style
        | None = None,  # a style that was fitted before; None: from `real` or the preset
        writers: int = WRITERS,  # hands that share the images
        without: Sequence[str] = (),  # names of fonts to leave out
        quota_file: Path | None = None,  # in place of per_class, target and other_images
    ) -> Studio:
        """Raises InputError naming the alphabet's characters that no font has, or the training
        images of `real` that are copies of images to be measured on."""
        if strength < 0:
            raise InputError(f"--strength {strength}: a factor from 0")
        if other_chars is not None and other_chars < 0:
            raise InputError(f"--other-chars {other_chars}: a number of characters from 0")
        if not 0 <= seed < 2**63:
            raise InputError(f"--seed {seed}: a number from 0 to 2 ** 63 - 1")
        if writers < 1:
            raise InputError(f"--writers {writers}: a number of hands from 1")
        if real and style is None:  # of a style that is there no image is read for
            refuse_copies(real)
        canvas = real.canvas if real else canvas or Canvas()
        files = _without(find_fonts(font_folders), without)
        counts = real_counts(real) if real else None
        if quota_file is None:
            quota = plan_quota(alphabet, counts, per_class, target, other_images)
        elif per_class is None and target is None and other_images is None:
            quota = read_quota(quota_file, alphabet, counts)
        else:
            raise InputError("--quota FILE says it all: leave --per-class, --target, --other out")
        others: dict[str, str] = {}
        if quota.other and other_from:
            listed = Alphabet.read(other_from).chars
            others = {c: "listed" for c in listed if c not in alphabet}
        wanted = {*alphabet.chars, *others}
        codes = {ord(c) for c in wanted if len(c) == 1}
        some = [f for f in files if not codes.isdisjoint(open_font(f).cmap)] or files
        known = check_fonts(some, [*alphabet.chars, *others])
        # a font with none of these would only draw other scripts, at a price
        known = [c for c in known if not c.usable.isdisjoint(wanted)]
        files = [c.font for c in known]
        if other_chars is None:
            other_chars = int(np.clip(quota.other // 4, 100, MAX_OTHER_CHARS))
        # for the vote too: only among many characters is it seen that a glyph is another one
        found = characters_of(files)
        pool = other.candidates(sorted(found))
        # one that a single font has, too, if it looks like one of the alphabet: 峂 beside 峻
        fullest = max(files, key=lambda f: len(open_font(f).cmap))
        near = look_alikes(open_font(fullest).coverage(pool), alphabet.chars, LOOK_ALIKES)
        pool = [c for c in pool if found[c] >= min(IN_FONTS, len(files))]
        pool = {*sorted(pool, key=lambda c: -found[c])[:MAX_CANDIDATES], *near}
        chars = sorted({*alphabet.chars, *others, *pool})
        coverages = [open_font(f).coverage(chars) for f in files]
        atlas = build_atlas(coverages, chars)
        if quota.other and not other_from:
            others = other.choose(atlas, alphabet, other_chars, seed)
        coverages = outvoted(coverages, atlas, [*alphabet.chars, *others])
        have = frozenset().union(*(c.usable for c in coverages))
        lost = [c for c in alphabet.chars if c not in have]
        if lost:  # the vote took the last font: it may not empty a class
            coverages = [_merge(a, b, lost) for a, b in zip(coverages, known, strict=True)]
        if style is None:
            # fitted at full strength: a fit would take back what was scaled before
            style = fit_style(Style(), real, coverages, seed) if real else Style()
            style = style.weakened(strength)
        plan = make_plan(alphabet, coverages, others, quota, style, canvas, seed, writers)
        return cls(alphabet, canvas, coverages, others, quota, style, plan, seed)

    def font_table(self) -> str:
        """Font, how many of the alphabet's characters it has, and what was refused why."""
        width = max(len(c.font.name) for c in self.coverages)
        lines = [f"{'font':{width}} {'has':>6} {'lacks':>6}  refused"]
        for coverage in self.coverages:
            has = sum(c in coverage.usable for c in self.alphabet.chars)
            reasons = Counter(
                "another character" if why.startswith("drawn") else why
                for why in coverage.rejected.values()
                if why != "unmapped"
            )
            refused = ", ".join(f"{n} {why}" for why, n in reasons.most_common())
            lines.append(
                f"{coverage.font.name:{width}} {has:6} {len(self.alphabet) - has:6}  {refused}"
            )
        return "\n".join(lines)

    def render_to(
        self,
        out: Path,
        workers: int,
        made: dict[str, Any],
        cluster: str | None = None,  # a Dask scheduler's address; None: this machine
    ) -> Store:
        """The plan's pictures as a store, with a progress bar."""
        notes = {
            "fonts": [c.font.name for c in self.coverages],
            "style": asdict(self.style),
            "quota": {"target": self.quota.target, "other": self.quota.other},
            "others": self.others,
            "refused": {
                c.font.name: {k: v for k, v in c.rejected.items() if v.startswith("drawn")}
                for c in self.coverages
            },
        }
        chunks = render_on(cluster, self.plan) if cluster else render(self.plan, workers)
        with (
            StoreWriter(out, self.canvas, self.alphabet, made, notes) as writer,
            tqdm(total=len(self.plan), unit="image", desc="render") as bar,
        ):
            for images, samples in chunks:
                writer.append(images, samples)
                bar.update(len(samples))
        return Store.open(out)


def _without(files: list[FontFile], names: Sequence[str]) -> list[FontFile]:
    """Raises InputError for a name that no font has, and where no font is left."""
    if unknown := sorted(set(names) - {f.name for f in files}):
        raise InputError(f"--without {' '.join(unknown)}: no font of that name")
    left = [f for f in files if f.name not in names]
    if not left:
        raise InputError("--without: no font is left")
    return left


def _merge(voted: Coverage, before: Coverage, lost: Sequence[str]) -> Coverage:
    back = before.usable & frozenset(lost)
    return Coverage(
        voted.font, voted.usable | back, {k: v for k, v in voted.rejected.items() if k not in back}
    )
