"""A recogniser that the GAN has nothing to do with: it reads what the GAN made.

The same kind of network as the GAN's own one, but other weights from another seed and, where there
are clean images, other data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gan.checks import features_of
from gan.networks import Recogniser
from gan.pictures import Pictures
from gan.recogniser import train_recogniser
from synth.errors import InputError


@dataclass(frozen=True, eq=False)
class Reader:
    network: Recogniser  # in evaluation mode
    chars: tuple[str, ...]  # what its classes are
    device: torch.device

    def answers(self, images: np.ndarray) -> np.ndarray:
        """[n, H, W] uint8 -> [n] str."""
        features = torch.from_numpy(self.features(images)).to(self.device)
        with torch.no_grad():
            best = self.network.head(features).argmax(1).cpu().numpy()
        return np.array(self.chars)[best]

    def features(self, images: np.ndarray) -> np.ndarray:
        """[n, H, W] uint8 -> [n, F] float32."""
        return features_of(self.network, images, self.device)

    def accuracy(self, pictures: Pictures) -> dict[str, float]:
        """Character -> share read right, for the characters that the reader knows."""
        known = pictures.only(set(self.chars))
        right = self.answers(known.images) == known.char
        return {c: float(right[known.char == c].mean()) for c in np.unique(known.char).tolist()}


def train_reader(
    clean: Pictures,  # labels that are right
    doubted: Pictures | None,  # real images some labels of which are wrong
    steps: int,
    seed: int,
    device: torch.device,
    precision: torch.dtype,
) -> Reader:
    """Raises InputError where there are no two characters to tell apart."""
    parts = [clean] if doubted is None else [clean, doubted]
    chars: Sequence[str] = sorted({c for p in parts for c in p.char.tolist()})
    if len(chars) < 2 or len(clean) == 0:
        raise InputError(f"a reader needs images of two characters at least, not {len(chars)}")
    number = {c: i for i, c in enumerate(chars)}
    size = clean.images.shape[1]
    none = Pictures(np.zeros((0, size, size), np.uint8), np.zeros(0, str))
    real = doubted or none
    trained = train_recogniser(
        real=real.images,
        real_class=np.array([number[c] for c in real.char.tolist()], np.int64),
        font=clean.images,
        font_class=np.array([number[c] for c in clean.char.tolist()], np.int64),
        classes=len(chars),
        steps=steps,
        batch_size=128,
        seed=seed,
        device=device,
        precision=precision,
    )
    return Reader(trained.network.to(device), tuple(chars), device)
