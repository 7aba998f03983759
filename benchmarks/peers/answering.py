"""What somebody would write around the same weights: decode, normalise, eager torch."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from classifier.export import load_model
from synth.decode import decode


class Answering:
    def __init__(self, folder: Path) -> None:
        self.model = load_model(folder)

    def image(self, body: dict) -> np.ndarray:
        """The E.SUN 2021 call (POST /inference) -> [H, W] uint8."""
        return decode(base64.b64decode(body["image"]), self.model.card.canvas)

    def labels(self, images: np.ndarray) -> list[str]:
        """[n, H, W] uint8 -> n answers."""
        found = self.model.card.labels(self.model.probabilities(images))[0]
        return ["isnull" if label == "other" else label for label in found]
