"""How well a model reads labelled images: by group, by class, and what is not in the alphabet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.rejection import answers, other_score
from classifier.shares import GROUP_NAMES
from synth.alphabet import OTHER
from synth.other import NON_CHARACTER_KINDS
from synth.quota import group_of
from synth.store import Store

GROUPS = GROUP_NAMES[:-1]  # of known characters


@dataclass(frozen=True)
class Evaluation:
    """Answers to the images of one split, and the figures."""

    row: np.ndarray  # [N] int64 rows of the store
    target: np.ndarray  # [N] int64 classes, the last one "other"
    answer: np.ndarray  # [N] int64
    score: np.ndarray  # [N] float other score
    confidence: np.ndarray  # [N] float, of the most probable known character
    second: np.ndarray  # [N] int64, the most probable known character but for the answer
    figures: dict[str, Any]  # see `figures_of`

    def write(self, path: Path) -> None:
        """A parquet table, one row an image: what a report draws its errors from."""
        integers = {n: pa.array(getattr(self, n), pa.int64()) for n in ("row", "target", "answer")}
        floats = {n: pa.array(getattr(self, n), pa.float32()) for n in ("score", "confidence")}
        second = {"second": pa.array(self.second, pa.int64())}
        part = path.with_name(f".{path.name}.partial")
        pq.write_table(pa.table(integers | floats | second), part)
        part.replace(path)


def evaluate(
    probabilities: np.ndarray,  # [N, C]
    store: Store,
    rows: np.ndarray,  # [N] int64, the images' rows
    threshold: float | np.ndarray,  # see `rejection.answers`
    real_images: Mapping[str, int],  # label -> real training images: the groups
    trained: Collection[str] = (),  # other characters that training is known to have shown
    score: str = "norms",  # see `rejection.other_score`
) -> Evaluation:
    known = len(store.alphabet)
    target = store.classes()[rows]
    answer = answers(probabilities, known, threshold, score)
    values = other_score(probabilities, known, score)
    confidence = probabilities[:, :known].max(1)
    # a one-character alphabet has no second: its only character stands there
    order = np.argsort(probabilities[:, :known], axis=1)
    second = np.where(answer == known, order[:, -1], order[:, -min(2, known)])
    figures = figures_of(target, answer, values, store.alphabet.classes, real_images)
    char, kind = (store.column(name)[rows].astype(str) for name in ("char", "kind"))
    figures["others"] = others_of(target == known, answer == known, char, kind, trained)
    figures["store"] = str(store.path)
    return Evaluation(rows, target, answer, values, confidence, second, figures)


def figures_of(
    target: np.ndarray,  # [N] int64
    answer: np.ndarray,  # [N] int64
    score: np.ndarray,  # [N] float
    classes: tuple[str, ...],  # the last one is "other"
    real_images: Mapping[str, int],
) -> dict[str, Any]:
    """Mean per-class accuracy by group, macro F1, AUROC of the other score, and a row a class."""
    known = len(classes) - 1
    rows: list[dict[str, Any]] = []
    for i, label in enumerate(classes):
        mine = target == i
        called = int((answer == i).sum())
        hit = int((answer[mine] == i).sum())
        there = int(mine.sum())
        if there == 0:
            continue
        rows.append(
            {
                "label": label,
                "group": "other" if i == known else group_of(real_images.get(label, 0)),
                "real": int(real_images.get(label, 0)),
                "images": there,
                "accuracy": hit / there,
                "precision": hit / called if called else None,
                "f1": 2 * hit / (called + there) if hit else 0.0,
            }
        )
    groups: dict[str, float] = {}
    for name in (*GROUPS, OTHER):
        values = [r["accuracy"] for r in rows if r["group"] == name]
        if values:
            groups[name] = float(np.mean(values))
    is_other = target == known
    group = np.array([*(group_of(real_images.get(c, 0)) for c in classes[:known]), OTHER])[target]
    return {
        "images": len(target),
        "accuracy": float((answer == target).mean()),
        "macro_f1": float(np.mean([r["f1"] for r in rows])),
        "groups": groups,
        "other_auroc": auroc(score, is_other),
        "false_other": float((answer[~is_other] == known).mean()) if (~is_other).any() else None,
        "false_other_by_group": _called(group, answer == known, GROUPS),
        "classes": rows,
    }


def others_of(
    is_other: np.ndarray,  # [N] bool: the images meant
    called: np.ndarray,  # [N] bool: answered "other"
    char: np.ndarray,  # [N] str: the character that each shows, "" where nobody knows
    kind: np.ndarray,  # [N] str
    trained: Collection[str],  # other characters that training is known to have shown
) -> dict[str, dict[str, float]]:
    """How many of the others are found: by name those like what training showed ("seen"), those of
    characters that it never did ("unseen") and of which nothing is known ("unknown"), and each kind
    of what is no character."""
    seen = np.isin(char, np.array(sorted(trained), str))
    name = np.where(seen, "seen", np.where(char == "", "unknown", "unseen"))
    name = np.where(np.isin(kind, NON_CHARACTER_KINDS), kind, name)
    name = np.where(is_other, name, "")
    return _called(name, called, ("seen", "unseen", "unknown", *NON_CHARACTER_KINDS))


def _called(
    name: np.ndarray, called: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Name -> its images and the share of them that is called other; only those that are there."""
    there = {n: name == n for n in names}
    return {
        n: {"images": int(mine.sum()), "called_other": float(called[mine].mean())}
        for n, mine in there.items()
        if mine.any()
    }


def auroc(score: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks, ties counted half (Hanley and McNeil 1982)."""
    from scipy.stats import rankdata

    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if n_pos == 0 or n_neg == 0:
        return None
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))
