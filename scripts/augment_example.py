"""An augmentation of one's own: albumentations inside the DALI pipeline.

    python scripts/train_classifier.py ... --augment scripts.augment_example:distort

The function gets one image at a time, [H, W] uint8 with ink high on 0, and gives back the same.
"""

from __future__ import annotations

import os

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
    """Grid distortion, and now and then a few small holes."""
    return _TRANSFORM(image=image)["image"]
