"""Which source helped which class, hurt it, or made no difference."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifier.loop.answers import ArmAnswers, doubted
from classifier.loop.paired import change_of
from classifier.loop.plan import BOTH, FONT, GAN, REAL
from synth.alphabet import OTHER
from synth.errors import InputError
from synth.files import write_text
from synth.quota import group_of

FORMAT = 1
# Fewest images of the class for a verdict, and fewest whose answer changed for helped or hurt. Five
# that all change the same way are no evidence at 95 %: the sign test gives 2 / 2 ** 5 = 0.06, with
# six 0.03. The bootstrap does not know that: it never sees an image that is not there.
FEWEST = 6
HELPED, HURT, NOTHING = "helped", "hurt", "made no difference"
# source -> pairs of arms that differ in it alone: with it, without it
PAIRS = {FONT: ((FONT, REAL), (BOTH, GAN)), GAN: ((GAN, REAL), (BOTH, FONT))}
KNOWN = "known"  # all characters of the alphabet, beside their groups
ABOUT_OTHER = (
    "the verdict of other is about others like those of validation, whose characters training may "
    "show too, not about characters that it never shows: it switches no source off"
)


@dataclass(frozen=True)
class Verdict:
    """One source and one class, or one group of classes."""

    label: str  # a class, or a group's name
    group: str  # of the class; "" for a group
    source: str
    verdict: str  # HELPED, HURT or NOTHING
    gain: float  # right answers less false alarms, for each image of the class, mean over seeds
    low: float  # 95 % interval of it
    high: float
    images: int  # of validation, without the doubted ones
    changed: int  # of which the answer changed, those of other classes included
    enough: bool  # the verdict is by its own images: see `enough`
    real: int  # training images
    right: float  # the part of `gain` that is right answers
    by_group: bool = False  # the verdict is its group's: its own images are too few for any
    doubted: int = 0  # images of validation left out: see `answers.doubted`


def judge(low: float, high: float, images: int, changed: int) -> str:
    """Helped or hurt only where the interval leaves 0 out and the images are enough."""
    if min(images, changed) < FEWEST or low <= 0 <= high:
        return NOTHING
    return HELPED if low > 0 else HURT


def enough(low: float, high: float, images: int, changed: int) -> bool:
    """Whether `judge` can tell: an interval that holds 0 says that no difference was made, however
    few answers changed; one that leaves it out says nothing where few did."""
    return images >= FEWEST and (changed >= FEWEST or low <= 0 <= high)


def verdicts_of(
    arms: Mapping[str, ArmAnswers],  # REAL, FONT and maybe GAN and BOTH; run s of each: seed s
    real: Mapping[str, int],  # label -> real training images
    seed: int = 1,  # of the bootstrap
) -> list[Verdict]:
    """A row for each group and each class that has validation images, and each source. A class with
    too few of them for any verdict, or with none, has its group's, where that has enough.

    A right answer of a class counts 1, an image of another class that is called it counts -1: so
    a source that finds a character by seeing it everywhere, in "other" above all, does not help
    it. Images of known classes count by their best known class: each run has a threshold for
    "other" of its own, and loses some of them to it by design, a run without others none. Of two
    comparisons of a source (with and without the other source) the mean counts. Images whose label
    every arm doubts count for nothing.
    """
    first = arms[REAL]
    for name, arm in arms.items():
        same = arm.alphabet == first.alphabet and np.array_equal(arm.row, first.row)
        if not same or arm.answer.shape != first.answer.shape:
            raise InputError(f"arm {name} was measured on other images, or with other seeds")
    doubt = doubted(list(arms.values()))
    denied = first.target[doubt]
    arms = {name: arm.without(doubt) for name, arm in arms.items()}
    first = arms[REAL]
    names = first.alphabet.classes
    there = {
        source: [(arms[a], arms[b]) for a, b in pairs if a in arms and b in arms]
        for source, pairs in PAIRS.items()
    }
    right = {
        s: _mean([_change(a.right, b.right) for a, b in pairs])
        for s, pairs in there.items()
        if pairs
    }
    result = []
    for at, (label, group, members) in enumerate(_subjects(names, real)):
        mine = members[first.target]
        count = sum(real.get(n, 0) for n, m in zip(names, members, strict=True) if m)
        left_out = int(members[denied].sum())
        if not mine.any():
            nothing = (NOTHING, 0.0, 0.0, 0.0, 0, 0, False, count, 0.0)
            result += [Verdict(label, group, s, *nothing, doubted=left_out) for s in right]
            continue
        for number, source in enumerate(right):
            pairs = there[source]
            called = _mean(
                [_change(members[_to(a, label)], members[_to(b, label)]) for a, b in pairs]
            )
            rng = np.random.default_rng((seed, at, number))
            found = change_of(right[source][:, mine], called[:, ~mine], rng)
            result.append(
                Verdict(
                    label,
                    group,
                    source,
                    judge(found.low, found.high, found.images, found.changed),
                    found.mean,
                    found.low,
                    found.high,
                    found.images,
                    found.changed,
                    enough(found.low, found.high, found.images, found.changed),
                    count,
                    float(right[source][:, mine].mean()),
                    doubted=left_out,
                )
            )
    return _with_groups(result)


def _to(arm: ArmAnswers, label: str) -> np.ndarray:
    """[S, N]: what counts as false alarms of a class or group is taken from. For "other" these are
    the known images that are lost to it."""
    return arm.answer if label == OTHER else arm.best


def _with_groups(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The same; classes with too few images of their own have their group's verdict. Those with
    none at all, and no such group, are left out."""
    of_group = {(v.label, v.source): v for v in verdicts if not v.group and v.enough}
    result = []
    for v in verdicts:
        group = of_group.get((v.group, v.source)) if v.images < FEWEST else None
        if group is not None:
            v = replace(v, verdict=group.verdict, by_group=True)
        if v.images or v.doubted or v.by_group:
            result.append(v)
    return result


def _change(with_it: np.ndarray, without: np.ndarray) -> np.ndarray:
    return with_it.astype(np.int8) - without.astype(np.int8)


def _mean(changes: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(changes, axis=0)


def _subjects(names: Sequence[str], real: Mapping[str, int]) -> list[tuple[str, str, np.ndarray]]:
    """(label, group, [C] bool members): the groups of known classes, then the classes."""
    groups = np.array([OTHER if n == OTHER else group_of(real.get(n, 0)) for n in names])
    found = [(KNOWN, "", groups != OTHER)]
    found += [(g, "", groups == g) for g in ("common", "rare", "few", "none") if g in groups]
    one = np.eye(len(names), dtype=bool)
    return found + [(n, str(groups[i]), one[i]) for i, n in enumerate(names)]


def switched_off(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """Class -> source -> 0 for the sources that hurt it, as --source-weights takes them.

    Where the verdict is the group's, not where the class's own images, too few for a verdict of
    their own, gained. A class that has no real image keeps its sources where all of them hurt: it
    has no others. "Other" keeps all: what synthetic others are for, characters that training never
    shows, is not among the images that it is judged by.
    """
    off: dict[str, dict[str, float]] = {}
    classes = [v for v in verdicts if v.group]
    sources = {v.source for v in classes}
    for v in classes:
        if v.label != OTHER and v.verdict == HURT and not (v.by_group and v.gain > 0):
            off.setdefault(v.label, {})[v.source] = 0.0
    real = {v.label: v.real for v in classes}
    return {label: of for label, of in off.items() if real[label] or set(of) != sources}


def off_by_group(
    verdicts: Sequence[Verdict], off: Mapping[str, Mapping[str, float]]
) -> dict[str, list[str]]:
    """Each class of `switched_off` -> those of its sources that are off by its group's verdict."""
    lent = {(v.label, v.source) for v in verdicts if v.by_group}
    return {label: [s for s in sorted(of) if (label, s) in lent] for label, of in off.items()}


def tally(verdicts: Sequence[Verdict], source: str) -> dict[str, Any]:
    """How many classes a source helped, hurt or left as they were by their own images, how many
    have too few, and what the groups of these say."""
    mine = [v for v in verdicts if v.source == source and v.group]
    own = [v for v in mine if v.enough]
    words = (HELPED, HURT, NOTHING)
    helped, hurt, nothing = (sum(v.verdict == word for v in own) for word in words)
    by_group = {w: sum(v.by_group and v.verdict == w for v in mine) for w in words}
    few = len(mine) - len(own)
    return {"helped": helped, "hurt": hurt, "nothing": nothing, "few": few, "group": by_group}


def write_verdicts(
    out: Path,  # folder of verdict.json and verdict.csv
    verdicts: Sequence[Verdict],
    digest: str,  # of the alphabet
    seeds: int,
) -> None:
    kept = {
        "format": FORMAT,
        "alphabet": digest,
        "seeds": seeds,
        "fewest": FEWEST,
        "verdicts": [asdict(v) for v in verdicts],
        "switched_off": switched_off(verdicts),
    }
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow([field.name for field in fields(Verdict)])
    for v in verdicts:
        row = asdict(v) | {n: f"{getattr(v, n):.5f}" for n in ("gain", "low", "high", "right")}
        table.writerow(row.values())
    write_text(out / "verdict.csv", file.getvalue())
    write_text(out / "verdict.json", json.dumps(kept, ensure_ascii=False, indent=1))


def table_of(verdicts: Sequence[Verdict]) -> str:
    """How many classes a source helped and hurt, and the groups, in points."""
    heads = f"{'source':6} {HELPED:>7} {HURT:>5} {NOTHING:>19}"
    lines = [f"{heads} {'too few to tell':>16} (by their group)"]
    for source in dict.fromkeys(v.source for v in verdicts):
        n = tally(verdicts, source)
        told = ", ".join(f"{n['group'][w]} {w}" for w in (HELPED, HURT, NOTHING) if n["group"][w])
        own = f"{n['helped']:7} {n['hurt']:5} {n['nothing']:19} {n['few']:16}"
        lines.append(f"{source:6} {own} ({told or '-'})")
    lines.append(f"{'':6} {'':8} {'gain':>6}  {'95 % interval':>15} {'images':>7}")
    for v in verdicts:
        if not v.group or v.label == OTHER:
            span = f"{100 * v.low:+.1f} to {100 * v.high:+.1f}"
            lines.append(
                f"{v.source:6} {v.label:8} {100 * v.gain:+6.1f}  {span:>15} {v.images:7}  "
                f"{v.verdict}"
            )
    if any(v.label == OTHER for v in verdicts):
        lines.append(ABOUT_OTHER)
    if denied := doubted_images(verdicts):
        lines.append(f"{denied} validation images are left out: every arm doubts their label")
    return "\n".join(lines)


def doubted_images(verdicts: Sequence[Verdict]) -> int:
    """Of all classes together."""
    return max((v.doubted for v in verdicts if v.label == KNOWN), default=0)
