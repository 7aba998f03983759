"""What a render needs, put together once: checked fonts, the others, the quota, the style."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from synth import other
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError
from synth.files import write_whole
from synth.fonts import Coverage, characters_of, check_fonts, find_fonts, open_font
from synth.handwriting import Style
from synth.likeness import build_atlas, outvoted
from synth.quota import Quota, plan_quota, real_counts
from synth.render import Plan, fit_style, make_plan, render, render_places
from synth.store import Store, StoreWriter

MAX_OTHER_CHARS = 2000
MAX_CANDIDATES = 10_000  # looked at for likeness: those that most fonts have
IN_FONTS = (
    2  # an other character must be in two fonts at least: one font's oddities are no character
)


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
        other_chars: int | None = None,  # None: a sixth of the images, from 100 to 2,000
        other_from: Path | None = None,  # a user's own list in place of the chosen ones
        strength: float = 1.0,  # of the deformation
        seed: int = 1,
        canvas: Canvas | None = None,
        style: Style
        | None = None,  # a style that was fitted before; None: from `real` or the preset
    ) -> Studio:
        """Raises InputError naming the alphabet's characters that no font has."""
        if strength < 0:
            raise InputError(f"--strength {strength}: a factor from 0")
        if other_chars is not None and other_chars < 0:
            raise InputError(f"--other-chars {other_chars}: a number of characters from 0")
        if not 0 <= seed < 2**63:
            raise InputError(f"--seed {seed}: a number from 0 to 2 ** 63 - 1")
        canvas = real.canvas if real else canvas or Canvas()
        files = find_fonts(font_folders)
        counts = real_counts(real) if real else None
        quota = plan_quota(alphabet, counts, per_class, target, other_images)
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
            other_chars = int(np.clip(quota.other // 6, 100, MAX_OTHER_CHARS))
        # for the vote too: only among many characters is it seen that a glyph is another one
        found = characters_of(files)
        pool = [c for c in other.candidates(sorted(found)) if found[c] >= min(IN_FONTS, len(files))]
        pool = sorted(pool, key=lambda c: -found[c])[:MAX_CANDIDATES]
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
        fitted = style is not None
        style = style or Style().scaled(strength)
        if real and not fitted:
            style = fit_style(style, real, coverages, seed)
        plan = make_plan(alphabet, coverages, others, quota, style, canvas, seed)
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

    def render_to(self, out: Path, workers: int, made: dict[str, Any]) -> Store:
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
        with (
            StoreWriter(out, self.canvas, self.alphabet, made, notes) as writer,
            tqdm(total=len(self.plan), unit="image", desc="render") as bar,
        ):
            for images, samples in render(self.plan, workers):
                writer.append(images, samples)
                bar.update(len(samples))
        return Store.open(out)

    def preview(self, path: Path, columns: int = 18) -> None:
        """A PNG: the alphabet's characters, a font a row; then a row of each kind of other."""
        chars = list(self.alphabet.chars)
        picked = [
            chars[i] for i in np.linspace(0, len(chars) - 1, min(columns, len(chars))).astype(int)
        ]
        plan, rows = self.plan, []
        known = plan.kind == "character"
        number = {c: i for i, c in enumerate(plan.chars)}
        for f, font in enumerate(plan.fonts):
            of_font = known & (plan.font == f)
            places = [np.flatnonzero(of_font & (plan.char == number.get(c, -1))) for c in picked]
            rows.append((font.name, [int(p[0]) if len(p) else -1 for p in places]))
        for kind in (*other.CHARACTER_KINDS, *other.NON_CHARACTER_KINDS):
            places = np.flatnonzero(plan.kind == kind)
            if len(places):
                steps = np.linspace(0, len(places) - 1, min(columns, len(places))).astype(int)
                rows.append((kind, places[steps].tolist()))
        size = self.canvas.size_px
        pictures = []
        for title, places in rows:
            row = np.zeros((columns, size, size), np.uint8)
            there = [i for i, place in enumerate(places) if place >= 0]
            if there:
                row[there] = render_places(plan, np.array([places[i] for i in there]))[0]
            pictures.append((title, np.concatenate(row, 1)))
        page = io.BytesIO()
        sheet(pictures).save(page, "PNG")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.getvalue())


def _merge(voted: Coverage, before: Coverage, lost: Sequence[str]) -> Coverage:
    back = before.usable & frozenset(lost)
    return Coverage(
        voted.font, voted.usable | back, {k: v for k, v in voted.rejected.items() if k not in back}
    )


def sheet(rows: Sequence[tuple[str, np.ndarray]], label_px: int = 150) -> Image.Image:
    """Titled rows of [H, W] uint8 pictures (ink high) -> one dark-on-white image."""
    height = sum(r.shape[0] + 2 for _, r in rows)
    width = label_px + max(r.shape[1] for _, r in rows)
    out = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(out)
    y = 0
    for title, row in rows:
        pen.text((4, y + row.shape[0] // 2 - 6), title[:24], fill=0)
        out.paste(Image.fromarray(255 - row), (label_px, y))
        y += row.shape[0] + 2
    return out
