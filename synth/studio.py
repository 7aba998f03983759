"""What a render needs, put together once: checked fonts, the others, the quota, the style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.checks import FontCheck, check
from synth.cluster import render_on
from synth.command import progress
from synth.errors import InputError
from synth.fit import fit_style
from synth.fonts import Coverage, FontFile, find_fonts
from synth.near_copies import refuse_copies
from synth.other import NON_CHARACTER_SHARE
from synth.plan import WRITERS, Plan, make_plan
from synth.provenance import licences_of
from synth.quota import Quota, Target, plan_quota, read_quota, real_counts
from synth.render import render
from synth.store import Store, StoreWriter
from synth.style import Style
from synth.vote import shown_instead

MAX_OTHER_CHARS = 3000
MAX_CANDIDATES = 10_000  # looked at for likeness: those that most fonts have


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
    check: FontCheck  # what the fonts have and were refused
    learned: dict[str, str] = field(default_factory=dict)  # `real`, for notes: where, its content

    @classmethod
    def prepare(
        cls,
        alphabet: Alphabet,
        real: Store | None,  # its counts make the quota, its strokes the pen
        font_folders: Sequence[Path] = (),
        per_class: int | None = None,
        target: Target = None,
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
        quota_file: Path | None = None,  # in place of per_class, target, other_images and cap
        cap: float | None = None,  # largest synthetic share of a class that has real images
        whole_others: bool = False,  # non-characters come on top of the images of "other"
    ) -> Studio:
        """Raises InputError naming the alphabet's characters that no font has, or the training
        images of `real` that are copies of images to be measured on."""
        if not 0 <= strength < float("inf"):
            raise InputError(f"--strength {strength}: a factor from 0")
        if writers < 1:
            raise InputError(f"--writers {writers}: a number of hands from 1")
        if real and style is None:  # of a style that is there no image is read for
            refuse_copies(real)
        canvas = real.canvas if real else canvas or Canvas()
        quota = quota_of(alphabet, real, per_class, target, other_images, quota_file, cap)
        if whole_others:
            quota = replace(quota, other=round(quota.other / (1 - NON_CHARACTER_SHARE)))
        checked = check_all(
            alphabet, quota, font_folders, other_chars, other_from, seed, without, strict=True
        )
        coverages, others = checked.coverages, checked.others
        if style is None:
            # fitted at full strength: a fit would take back what was scaled before
            style = Style().on(canvas)
            if real:
                style = fit_style(style, real, coverages, seed, checked=True)
            style = style.weakened(strength)
        plan = make_plan(alphabet, coverages, others, quota, style, canvas, seed, writers)
        learned = {"real": str(real.path), "trained_on": real.content} if real else {}
        return cls(alphabet, canvas, coverages, others, quota, style, plan, seed, checked, learned)

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
            "licences": licences_of(c.font for c in self.coverages),
            "style": asdict(self.style),
            "quota": self.quota.notes(),
            "others": self.others,
            "refused": {
                c.font.name: {k: v for k, v in c.rejected.items() if shown_instead(v)}
                for c in self.coverages
            },
            "put_back": self.check.put_back,
            "dropped": list(self.check.dropped),
            **self.learned,
        }
        chunks = render_on(cluster, self.plan) if cluster else render(self.plan, workers)
        with (
            StoreWriter(out, self.canvas, self.alphabet, made, notes) as writer,
            progress(len(self.plan), "image", "render") as bar,
        ):
            for images, samples in chunks:
                writer.append(images, samples)
                bar.update(len(samples))
        return Store.open(out)


def quota_of(
    alphabet: Alphabet,
    real: Store | None,
    per_class: int | None = None,
    target: Target = None,
    other_images: int | None = None,
    quota_file: Path | None = None,
    cap: float | None = None,
) -> Quota:
    """As `Studio.prepare` says. Raises InputError for numbers that make no sense together."""
    counts = real_counts(real) if real else None
    if quota_file is None:
        return plan_quota(alphabet, counts, per_class, target, other_images, cap)
    if all(value is None for value in (per_class, target, other_images, cap)):
        return read_quota(quota_file, alphabet, counts)
    raise InputError("--quota FILE says it all: leave --per-class, --target, --other, --cap out")


def check_all(
    alphabet: Alphabet,
    quota: Quota,
    font_folders: Sequence[Path] = (),
    other_chars: int | None = None,
    other_from: Path | None = None,
    seed: int = 1,
    without: Sequence[str] = (),
    strict: bool = False,
) -> FontCheck:
    """What the fonts have, for `Studio.prepare` or to be looked at alone.

    strict: raises InputError naming the characters that no font has.
    """
    if other_chars is not None and other_chars < 0:
        raise InputError(f"--other-chars {other_chars}: a number of characters from 0")
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: a number from 0 to 2 ** 63 - 1")
    if other_from and not quota.other:
        raise InputError(f"--other-from {other_from}: no image of other is asked for (--other)")
    if other_from and other_chars is not None:
        raise InputError("--other-from FILE says which others: leave --other-chars out")
    listed = Alphabet.read(other_from).chars if other_from else None
    files = fonts_left(find_fonts(font_folders), without)
    if not quota.other:
        other_chars = 0
    elif other_chars is None:
        other_chars = int(np.clip(quota.other // 4, 100, MAX_OTHER_CHARS))
    return check(alphabet, files, listed, other_chars or 0, MAX_CANDIDATES, seed, strict)


def fonts_left(files: list[FontFile], names: Sequence[str]) -> list[FontFile]:
    """All but those named. Raises InputError where no font has a name, or none is left."""
    if unknown := sorted(set(names) - {f.name for f in files}):
        raise InputError(f"--without {' '.join(unknown)}: no font of that name")
    left = [f for f in files if f.name not in names]
    if not left:
        raise InputError("--without: no font is left")
    return left
