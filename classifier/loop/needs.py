"""What each class lacks, and how many synthetic images it gets for that."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifier.loop.answers import ArmAnswers
from synth.alphabet import OTHER
from synth.files import write_text
from synth.quota import OTHER_PER_KNOWN, group_of, plan_quota

CONFUSED = 3  # classes named beside each
PRIOR_IMAGES = 4  # see `quota_of`
SAYS_LITTLE = 1  # images of a class read as another one, likewise
GAIN = 2.0
CAP = 2.0
SHOWN = 20


@dataclass(frozen=True)
class Need:
    """One class after training on real images alone."""

    label: str
    group: str  # by real training images
    real: int  # training images
    images: int  # of validation
    recall: float | None  # mean over the seeds; None without validation images
    confused: tuple[tuple[str, float], ...]  # wrong answer, its share; the most frequent first


def needs_of(answers: ArmAnswers, real: Mapping[str, int]) -> list[Need]:
    """A row a class, in the order of the classes. `real`: label -> real training images."""
    names = answers.alphabet.classes
    pairs = _pairs(answers)
    result = []
    for i, label in enumerate(names):
        asked = round(pairs[i].sum())
        wrong = pairs[i].copy()
        wrong[i] = 0
        most = [j for j in np.argsort(-wrong, kind="stable")[:CONFUSED] if wrong[j]]
        result.append(
            Need(
                label,
                OTHER if label == OTHER else group_of(real.get(label, 0)),
                real.get(label, 0),
                asked,
                float(pairs[i, i] / asked) if asked else None,
                tuple((names[j], float(wrong[j] / asked)) for j in most),
            )
        )
    return result


def quota_of(answers: ArmAnswers, needs: Sequence[Need], target: int | None) -> dict[str, int]:
    """Label -> synthetic images of each source, "other" included.

        quota = min(base (1 + GAIN (max(0, m - r) + c) / m), CAP target)

    base and target: of `synth.quota.plan_quota` (for "other" base is OTHER_PER_KNOWN for each one
    of a known class, and the cap CAP times as many as the known bases ask for);
    m: the median recall of the known classes that have validation images;
    r: the class's recall, drawn towards m as by PRIOR_IMAGES further images of that recall: one
    image read wrong says little. A class without validation images counts as the median;
    c: for what is confused with the class: the sum over all other known classes of the share of
    their images that is called this one, less SAYS_LITTLE and drawn towards none likewise. A class
    that is often confused so gets more for itself, by r, and for its partner, by c.
    """
    base = plan_quota(answers.alphabet, {n.label: n.real for n in needs}, None, target, None)
    assert base.target is not None  # without a number for every class there is one
    recalls = [n.recall for n in needs if n.recall is not None and n.label != OTHER]
    median = float(np.median(recalls)) if recalls else 0.0
    quota = {}
    taken = _taken(answers)
    for at, need in enumerate(needs):
        if need.label != OTHER:
            wanted = base.lacking[need.label] * _factor(need, median, taken[at])
            quota[need.label] = round(min(wanted, CAP * base.target))
    other = next(n for n in needs if n.label == OTHER)
    wanted = OTHER_PER_KNOWN * sum(quota.values()) * _factor(other, median)
    quota[OTHER] = round(min(wanted, CAP * base.other))
    return quota


def _factor(need: Need, median: float, taken: float = 0.0) -> float:
    if median == 0:
        return 1.0
    recall = median
    if need.recall is not None:
        known = need.images * need.recall + PRIOR_IMAGES * median
        recall = known / (need.images + PRIOR_IMAGES)
    return 1 + GAIN * (max(0.0, median - recall) + taken) / median


def _taken(answers: ArmAnswers) -> np.ndarray:
    """[K] for each known class the sum of `c` in `quota_of`."""
    pairs, known = _pairs(answers), len(answers.alphabet)
    images = pairs[:known].sum(1, keepdims=True)
    wrong = pairs[:known, :known] * (1 - np.eye(known))
    return (np.maximum(0.0, wrong - SAYS_LITTLE) / (images + PRIOR_IMAGES)).sum(0)


def _pairs(answers: ArmAnswers) -> np.ndarray:
    """[C, C] float64: images by class and answer, mean over the seeds."""
    classes = len(answers.alphabet.classes)
    numbers = answers.target[None] * classes + answers.answer
    counts = np.bincount(numbers.ravel(), minlength=classes**2).reshape(classes, classes)
    return counts / len(answers.answer)


def write_needs(path: Path, needs: Sequence[Need], quota: Mapping[str, int]) -> None:
    """CSV: a row a class."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["label", "group", "real", "val_images", "recall", "confused", "quota"])
    for need in needs:
        recall = "" if need.recall is None else f"{need.recall:.4f}"
        row = (need.label, need.group, need.real, need.images, recall, _confused(need))
        table.writerow([*row, quota[need.label]])
    write_text(path, file.getvalue())


def table_of(needs: Sequence[Need], quota: Mapping[str, int]) -> str:
    """The classes with the lowest recall, "other" always."""
    ranked = sorted((n for n in needs if n.recall is not None), key=lambda n: (n.recall, n.real))
    shown = ranked[:SHOWN]
    shown += [n for n in needs if n.label == OTHER and n not in shown]
    lines = [f"{'label':8} {'group':7} {'real':>6} {'val':>5} {'recall':>7} {'quota':>7}  confused"]
    for need in shown:
        recall = "" if need.recall is None else f"{need.recall:.3f}"
        # a CJK character is two columns wide
        lines.append(
            f"{need.label:{8 if need.label.isascii() else 7}} {need.group:7} {need.real:6} "
            f"{need.images:5} {recall:>7} {quota[need.label]:7}  {_confused(need)}"
        )
    unmeasured = sum(n.recall is None for n in needs)
    if len(ranked) > SHOWN:
        lines.append(f"... {len(ranked) - SHOWN} classes with a higher recall: see needs.csv")
    if unmeasured:
        lines.append(f"{unmeasured} classes have no validation image: nothing is known of them")
    return "\n".join(lines)


def _confused(need: Need) -> str:
    return " ".join(f"{label} {share:.2f}" for label, share in need.confused)
