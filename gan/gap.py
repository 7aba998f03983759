"""The domain gap: how well a classifier tells synthetic images from real ones.

0.5 is chance: whoever trains on such images cannot know that they are synthetic. 1: always told.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import mannwhitneyu

from gan.pictures import Pictures
from gan.reader import Reader
from gan.recogniser import probabilities, train_recogniser

RIDGE = 1e-3  # on weights of standardised features
STEPS = 150  # of the small network


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """[n] and [m] scores -> the share of pairs in which the positive one is the higher, ties half:
    the statistic of Mann and Whitney."""
    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


def gap_in_features(
    real: tuple[Pictures, Pictures],  # to fit on, to measure on
    synthetic: tuple[Pictures, Pictures],
    reader: Reader,
) -> float:
    """AUROC of a logistic regression on the reader's features, on the second parts."""
    fit = [reader.features(p.images) for p in (real[0], synthetic[0])]
    score = logistic(np.concatenate(fit), np.repeat([0.0, 1.0], [len(f) for f in fit]))
    return auroc(*(score(reader.features(p.images)) for p in (synthetic[1], real[1])))


def logistic(features: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """[n, F] float and [n] 0 or 1 -> a function of [m, F] that returns [m] log odds."""
    mean, std = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy((features - mean) / std).double()
    y = torch.from_numpy(positive).double()
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        odds = x @ weights[:-1] + weights[-1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(odds, y)
        value = value + RIDGE * weights[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    w = weights.detach().numpy()
    return lambda f: (f - mean) / std @ w[:-1] + w[-1]


def gap_in_pixels(
    real: tuple[Pictures, Pictures],  # to train on, to measure on
    synthetic: tuple[Pictures, Pictures],
    seed: int,
    device: torch.device,
    precision: torch.dtype,
) -> float:
    """AUROC of a small network of its own, on the second parts."""
    images = [p.images for p in (real[0], synthetic[0])]
    trained = train_recogniser(
        real=np.zeros((0, *images[0].shape[1:]), np.uint8),
        real_class=np.zeros(0, np.int64),
        font=np.concatenate(images),
        font_class=np.repeat([0, 1], [len(i) for i in images]),
        classes=2,
        steps=STEPS,
        batch_size=128,
        seed=seed,
        device=device,
        precision=precision,
    )
    network = trained.network.to(device)

    def score(pictures: Pictures) -> np.ndarray:
        return probabilities(network, pictures.images, np.ones(len(pictures), np.int64), device)

    return auroc(score(synthetic[1]), score(real[1]))
