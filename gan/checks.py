"""What a generated image must pass before it may train anything.

1. Skeleton: its strokes lie where those of its glyph lie, as far as a hand may move them.
2. Reading: the run's recogniser gives its character a quarter of the probability, or its features
   are nearest to those of rendered glyphs of its character. The second way is for characters that
   the recogniser hardly knows (over a thousand other characters, shown some thirty times each) or
   has never been shown: what it answers about them says little, what it sees says enough. A font
   that draws another character fails here, since the glyphs compared with come from several fonts.
3. Copy: it is no training image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from gan.glyphs import written_glyphs
from gan.memorised import COPY_BELOW, Neighbours
from gan.networks import Recogniser
from gan.skeleton import fitted_hausdorff_px, hausdorff_px, skeletons
from synth.alphabet import Alphabet
from synth.canvas import to_float
from synth.checks import check
from synth.fonts import Coverage, FontFile
from synth.likeness import unit
from synth.plan import Plan, make_plan
from synth.quota import Quota

REASONS = ("skeleton", "reading", "copy")  # in the order they are asked in

# Share of the canvas, 5.5 px of 64: the field moves strokes by up to 5 px, turning and fitting into
# the box add to it. On 700 images of a finished run 99 % lie within it, while 96 % of those that
# lost a connected part, four in five that lost a patch of 20 px, and 99 % of other characters' do
# not.
SKELETON_SHARE = 5.5 / 64
# A band, not only the most certain, so that hard but right images stay.
KEEP_FROM = 0.25
# How much nearer another character's glyphs may be, as a share of the median distance (1 - cosine)
# between a character and the one that looks most like it. On 1,500 images of other characters from
# a finished run 91 % pass (40 % by KEEP_FROM alone), and 7 % would if they were taken for the one
# of 1,620 characters that looks most like their own; of 700 of known characters 94 % (79 %), 6 %.
NEAR_SHARE = 0.15
GLYPHS = 4  # rendered for each character, each from another font if there are so many


@dataclass(frozen=True, eq=False)
class Checks:
    """Prepared once for a plan's characters."""

    recogniser: Recogniser
    number: (
        np.ndarray
    )  # [C] int64: class of the recogniser for each of the plan's characters, or -1
    # [M, F] float32, length 1: mean features of the rendered glyphs of each of the plan's
    # characters, then of those that only the recogniser knows
    typical: np.ndarray
    near: float  # how much nearer another character's glyphs may be, in cosine
    chars: np.ndarray  # [C] str
    real: Neighbours | None  # None: copies are not looked for
    device: torch.device
    precision: torch.dtype

    @classmethod
    def prepare(
        cls,
        recogniser: Recogniser,
        known: tuple[str, ...],  # what the recogniser's classes are
        plan: Plan,  # with places for each of its characters, also those that are not generated
        fonts: Sequence[FontFile],  # for glyphs of what the recogniser knows and the plan lacks
        real: Neighbours | None,
        device: torch.device,
        precision: torch.dtype,
    ) -> Checks:
        """An image is held against all characters that the recogniser knows, so that its check does
        not hang on what else is asked for."""
        recogniser = recogniser.to(device).to(memory_format=torch.channels_last)
        number = {c: i for i, c in enumerate(known)}
        # other draws than those that are generated from
        drawn = _references(replace(plan, seed=plan.seed + 97))
        typical = _typical(recogniser, drawn, device, precision)
        if more := _plan_of(sorted(number.keys() - set(plan.chars)), drawn, fonts):
            typical = np.concatenate([typical, _typical(recogniser, more, device, precision)])
        likeness = typical @ typical.T
        np.fill_diagonal(likeness, -1)
        return cls(
            recogniser,
            np.array([number.get(c, -1) for c in plan.chars], np.int64),
            typical,
            NEAR_SHARE * float(np.median(1 - likeness.max(1))),
            np.array(plan.chars),
            real,
            device,
            precision,
        )

    def ask(
        self,
        images: np.ndarray,  # [n, H, W] uint8, placed in the canvas's box
        glyphs: np.ndarray,  # [n, H, W] uint8, what each was made from
        char: np.ndarray,  # [n] numbers of the plan's characters
    ) -> tuple[np.ndarray, np.ndarray]:
        """-> [n] int: index into REASONS of the first check that an image fails, -1 for none; and
        [n] float32: the recogniser's probability of its character, NaN where it has no such class.
        """
        features = features_of(self.recogniser, images, self.device, self.precision)
        score = self._probabilities(features, self.number[char])
        read = (np.nan_to_num(score) >= KEEP_FROM) | (self.margins(features, char) >= -self.near)
        drawn, wanted = skeletons(images), skeletons(glyphs)
        astray = np.maximum(*hausdorff_px(drawn, wanted)) > SKELETON_SHARE * images.shape[1]
        far = np.flatnonzero(astray)  # a hand that leans, perhaps
        away = np.maximum(*fitted_hausdorff_px(drawn[far], wanted[far]))
        astray[far] = away > SKELETON_SHARE * images.shape[1]
        failed = [astray, ~read, np.zeros(len(images), bool)]
        if self.real is not None:
            failed[2] = self.real.distances(images, self.chars[char]) < COPY_BELOW
        table = np.stack(failed, 1)
        return np.where(table.any(1), table.argmax(1), -1), score

    def margins(self, features: np.ndarray, char: np.ndarray) -> np.ndarray:
        """[n, F], [n] -> [n]: the cosine to its own character's glyphs less the highest to those of
        another one. Infinite where there is no other one."""
        likeness = unit(features) @ self.typical.T
        rows = np.arange(len(char))
        own = likeness[rows, char].copy()
        likeness[rows, char] = -np.inf
        return own - likeness.max(1)

    @torch.no_grad()
    def _probabilities(self, features: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        logits = self.recogniser.head(torch.from_numpy(features).to(self.device))
        p = torch.softmax(logits, 1).cpu().numpy()
        there = p[np.arange(len(p)), np.maximum(wanted, 0)]
        return np.where(wanted >= 0, there, np.nan).astype(np.float32)


def _references(plan: Plan) -> Plan:
    """GLYPHS places of each of its characters, dealt out among the fonts that have it, however few
    images of it are asked for: one glyph alone may be of the very font that draws it wrongly."""
    usable = plan.usable if plan.usable is not None else np.ones((len(plan.fonts), 1), bool)
    shows = np.broadcast_to(usable, (len(plan.fonts), len(plan.chars)))
    chars = np.array(plan.chars, object)
    coverages = [
        Coverage(font, frozenset(chars[can]), {})
        for font, can in zip(plan.fonts, shows, strict=True)
    ]
    alphabet = Alphabet(tuple(sorted(plan.chars)))  # as they are: fonts name them
    return _dealt(alphabet, plan.chars, coverages, plan)


def _plan_of(chars: Sequence[str], like: Plan, fonts: Sequence[FontFile]) -> Plan | None:
    """GLYPHS places of each of the characters that the fonts have, drawn as another plan's are;
    None: there is no such character."""
    if not chars:
        return None
    alphabet = Alphabet.of(chars)
    coverages = check(alphabet, fonts, None, 0, 0, like.seed, strict=False).coverages
    have = frozenset().union(*(c.usable for c in coverages))
    # in normal form a character may be one of the plan's
    more = [c for c in alphabet.chars if c in have and c not in like.chars]
    return _dealt(alphabet, more, coverages, like) if more else None


def _dealt(
    alphabet: Alphabet, chars: Sequence[str], coverages: Sequence[Coverage], like: Plan
) -> Plan:
    """GLYPHS places of each of `chars`, drawn as another plan's are."""
    quota = Quota(0, dict.fromkeys(chars, GLYPHS), 0, {})
    return make_plan(alphabet, coverages, {}, quota, like.style, like.canvas, like.seed)


def _typical(
    recogniser: Recogniser,
    plan: Plan,  # of whole characters
    device: torch.device,
    precision: torch.dtype,
) -> np.ndarray:
    """[C, F] float32 of length 1: the mean features of each of the plan's characters."""
    glyphs = written_glyphs(plan, np.arange(len(plan)))
    features = unit(features_of(recogniser, glyphs, device, precision))
    total = np.zeros((len(plan.chars), features.shape[1]), np.float32)
    np.add.at(total, plan.char, features)
    return unit(total)


@torch.no_grad()
def features_of(
    recogniser: Recogniser,
    images: np.ndarray,
    device: torch.device,
    precision: torch.dtype = torch.float32,  # of the autocast
) -> np.ndarray:
    """[n, H, W] uint8 -> [n, F] float32. The network must be in evaluation mode."""
    out = []
    for i in range(0, len(images), 256):
        x = torch.from_numpy(to_float(images[i : i + 256]))[:, None].to(device)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            out.append(recogniser.features(x.contiguous(memory_format=torch.channels_last)))
    found = torch.cat(out) if out else torch.zeros(0, recogniser.head.in_features)
    return found.float().cpu().numpy()
