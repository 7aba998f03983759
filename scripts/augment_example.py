"""Augmentations of one's own: albumentations inside the DALI pipeline, and one that runs on a GPU.

    python scripts/train_classifier.py ... --augment scripts.augment_example:distort
    python scripts/train_classifier.py ... --augment scripts.augment_example:fade

The function gets one image at a time, [H, W] uint8 with ink high on 0, and gives back the same.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news otherwise

import albumentations

_TRANSFORM = albumentations.Compose(
    [
        albumentations.GridDistortion(num_steps=4, distort_limit=0.2, p=0.5),
        albumentations.CoarseDropout(num_holes_range=(1, 3), hole_height_range=(4, 8), p=0.2),
    ]
)


def distort(image: np.ndarray) -> np.ndarray:
    """Grid distortion, and now and then a few small holes. Draws random numbers of its own, so a
    run with it is not the same twice."""
    return _TRANSFORM(image=image)["image"]


def fade(image: Any) -> Any:
    """Half-dark ink fades, how much the image itself decides. Written for numpy and CuPy arrays."""
    power = 1 + int(image.sum()) % 6 / 10
    return (255 * (image / 255) ** power).astype("uint8")


# where the batches are made on a GPU and CuPy is installed, its images are CuPy arrays there;
# without this line the batches of a run with it would be made on the CPU
fade.takes_cupy = True  # type: ignore[attr-defined]
