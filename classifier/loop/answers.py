"""What the runs of an arm answered to the same validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    answer: np.ndarray  # [S, N] int64

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
        answer = np.stack([answers.answer for answers in found])
        return cls(alphabet, found[0].row, found[0].target, answer)

    @property
    def right(self) -> np.ndarray:
        """[S, N] bool."""
        return self.answer == self.target
