"""What a model file says of itself: all that turns probabilities into answers. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from classifier.rejection import OTHER_SCORES, answers, other_score
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.errors import InputError

FORMAT = 1
MOST_MEMBERS = 16


@dataclass(frozen=True)
class Prediction:
    """The answer to one image."""

    label: str  # a character of the alphabet, or "other"
    confidence: float  # the probability of the label; for "other" the other score
    other: float  # the other score, 0 to 1: the higher, the more it looks like nothing known
    top: tuple[tuple[str, float], ...]  # the most probable known characters, the first one first


@dataclass(frozen=True)
class Card:
    """Stands in model.json and, the same text, in the metadata of an ONNX file."""

    name: str  # of the architecture
    alphabet: Alphabet
    others: tuple[str, ...]  # other characters that are classes of their own
    canvas: Canvas
    threshold: float  # of the other score
    info: dict[str, Any]  # where the model comes from: stores, settings, figures
    members: int = 1  # networks of that architecture whose probabilities are averaged

    @property
    def classes(self) -> int:
        """Outputs of the network: known characters, "other", other characters."""
        return len(self.alphabet) + 1 + len(self.others)

    @property
    def score(self) -> str:
        """Which other score the threshold is of, see `classifier.rejection`."""
        return str(self.info.get("config", {}).get("other_score", "norms"))

    @property
    def limits(self) -> float | np.ndarray:
        """The threshold, or [known] one for each known class where they are by group."""
        own = self.info.get("thresholds")
        if not own:
            return self.threshold
        return np.array([float(own.get(char, self.threshold)) for char in self.alphabet.chars])

    def to_json(self) -> str:
        written = {
            "format": FORMAT,
            "model": self.name,
            "members": self.members,
            "alphabet": list(self.alphabet.chars),
            "digest": self.alphabet.digest,
            "others": list(self.others),
            "canvas": asdict(self.canvas),
            "threshold": self.threshold,
            "info": self.info,
        }
        return json.dumps(written, ensure_ascii=False, indent=1)

    @classmethod
    def parse(cls, text: str, where: object) -> Card:
        """`where` stands in errors. Raises InputError for a damaged text or another format."""
        try:
            written = json.loads(text)
            if written["format"] != FORMAT:
                raise InputError(f"{where}: model format {written['format']}, this reads {FORMAT}")
            alphabet = Alphabet(tuple(written["alphabet"]))
            if alphabet.digest != written["digest"]:
                raise InputError(
                    f"{where}: its alphabet has digest {alphabet.digest}, but it says "
                    f"{written['digest']}"
                )
            members = int(written.get("members", 1))  # a file from before there were several
            if not 1 <= members <= MOST_MEMBERS:
                raise InputError(f"{where}: {members} networks, 1 to {MOST_MEMBERS} can be read")
            card = cls(
                written["model"],
                alphabet,
                tuple(written["others"]),
                Canvas(**written["canvas"]),
                float(written["threshold"]),
                written["info"],
                members,
            )
            if card.score not in OTHER_SCORES:
                raise InputError(f"{where}: other score {card.score!r}, which this does not know")
            _ = card.limits  # raises here, not at the first image
            return card
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            line = " ".join(str(error).split())[:200]
            raise InputError(f"{where}: damaged model ({line})") from None

    def labels(self, probabilities: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
        """[N, C] -> labels, their confidence [N], other score [N].

        The confidence of "other" is the other score itself.
        """
        known = len(self.alphabet)
        numbers = answers(probabilities, known, self.limits, self.score)
        score = other_score(probabilities, known, self.score)
        labels = [self.alphabet.classes[i] for i in numbers]
        best = probabilities[:, :known].max(1)
        return labels, np.where(numbers == known, score, best), score

    def predictions(self, probabilities: np.ndarray, top: int = 1) -> list[Prediction]:
        """[N, C] -> N answers, each with its `top` most probable known characters."""
        labels, confidence, score = self.labels(probabilities)
        of_known = probabilities[:, : len(self.alphabet)]
        order = np.argsort(-of_known, axis=1, kind="stable")[:, :top]
        chars = self.alphabet.chars
        return [
            Prediction(
                labels[i],
                float(confidence[i]),
                float(score[i]),
                tuple((chars[j], float(of_known[i, j])) for j in row),
            )
            for i, row in enumerate(order.tolist())
        ]
