"""What the runs of an arm answered to the same validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from classifier.finished import Answers, Finished
from synth.alphabet import Alphabet
from synth.errors import InputError


@dataclass(frozen=True)
class ArmAnswers:
    """S runs (a training seed each), N images; the last class is "other"."""

    alphabet: Alphabet
    row: np.ndarray  # [N] int64 rows of the real store
    target: np.ndarray  # [N] int64
    answer: np.ndarray  # [S, N] int64, each run's at its own threshold for "other"
    # [S, N] int64, the same, but the most probable known class where an image of a known class is
    # called other: runs whose thresholds lie elsewhere can be compared by it
    best: np.ndarray

    @classmethod
    def read(cls, runs: Sequence[Path]) -> ArmAnswers:
        """Raises InputError for runs without validation images, or with others than the first."""
        alphabet: Alphabet | None = None
        found: list[Answers] = []
        for path in runs:
            run = Finished.open(path, path.name)
            answers = run.answers("val")
            if answers is None:
                raise InputError(
                    f"{path}: no answers to validation images (predictions_val.parquet)"
                )
            alphabet = alphabet or run.alphabet
            first = found[0] if found else answers
            if run.alphabet != alphabet or not (
                np.array_equal(first.row, answers.row)
                and np.array_equal(first.target, answers.target)
            ):
                raise InputError(f"{path}: was measured on other images than {runs[0]}")
            found.append(answers)
        if alphabet is None:
            raise InputError("no run to read answers from")
        known, target = len(alphabet), found[0].target
        answer = np.stack([answers.answer for answers in found])
        second = np.stack([answers.second for answers in found])
        best = np.where((answer == known) & (target < known), second, answer)
        return cls(alphabet, found[0].row, target, answer, best)

    @property
    def right(self) -> np.ndarray:
        """[S, N] bool: the best known class is, or "other" where that is right."""
        return self.best == self.target

    def without(self, images: np.ndarray) -> ArmAnswers:
        """All but the images of a mask, [N] bool."""
        left = ~images
        row, target = self.row[left], self.target[left]
        answer, best = self.answer[:, left], self.best[:, left]
        return replace(self, row=row, target=target, answer=answer, best=best)


def doubted(arms: Sequence[ArmAnswers]) -> np.ndarray:
    """[N] bool: the images of known classes whose given label each arm doubts: most of its runs
    answer something else.

    Validation labels are wrong as often as others, and under a class of few images more of the
    images of other classes may be filed than of its own. Where the label is wrong the true answer
    counts as an error and a false alarm, and a source that teaches the character seems to hurt it.
    To ask for more images in such a group would need its share of wrong labels, which no one knows.
    What is left out here goes by one rule for all arms, and an image that any of them reads as it
    is labelled stays: no arm is favoured, a right label that all but a few runs miss is lost.

    "Other" stays whole: to take others for known characters is the error that is measured there,
    and no sign of a wrong label.
    """
    denied = [arm.right.mean(0) < 0.5 for arm in arms]
    return np.logical_and.reduce(denied) & (arms[0].target < len(arms[0].alphabet))
