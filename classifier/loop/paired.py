"""What a source changed in the answers to the same images: a mean with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
REPLICATES = 4000
BLOCK = 4_000_000  # numbers drawn at once: 32 MB


@dataclass(frozen=True)
class Change:
    """Right answers gained, less false alarms, for each image of the class."""

    mean: float
    low: float  # 95 % interval
    high: float
    images: int  # of the class
    changed: int  # images, those of other classes included, of which the answer changed for it


def change_of(
    own: np.ndarray,  # [S, N] right answers gained, of each seed and image of the class, -1..1
    alarms: np.ndarray,  # [S, M] false alarms gained, of the images of other classes, -1..1
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Change:
    """(sum of `own` - sum of `alarms`) / N, mean over the seeds; N is 1 at least.

    The interval is a percentile bootstrap over images and seeds. Images are drawn with their mean
    over the seeds, those of the class apart from the others; of N images N - 1, without which the
    variance comes out too small by (N - 1) / N (Rao and Wu 1988, "Resampling inference with
    complex survey data"). Seeds are too few to be drawn: what they add is a normal effect of
    unknown variance, so Student's t with S - 1 degrees. Its variance is what the sums of the seeds
    differ by beyond their images' own chance, which the images bring already (two-way analysis of
    variance; to draw both freely would count it three times: Owen 2007, "The pigeonhole
    bootstrap"). One seed tells nothing about seeds: then it is the chance of the images alone.
    """
    seeds, images = own.shape
    sums = own.sum(1) - alarms.sum(1)
    total = np.zeros(replicates)
    for part in (own.mean(0), -alarms.mean(0)):
        total += _drawn_sums(rng, part, replicates)
    if seeds > 1:
        of_seeds = max(0.0, sums.var(ddof=1) - _chance_of(own) - _chance_of(alarms))
        total += np.sqrt(of_seeds / seeds) * rng.standard_t(seeds - 1, replicates)
    low, high = np.quantile(total / images, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    changed = sum(int(np.count_nonzero(part.sum(0))) for part in (own, alarms))
    return Change(float(sums.mean() / images), float(low), float(high), images, changed)


def _drawn_sums(rng: np.random.Generator, values: np.ndarray, replicates: int) -> np.ndarray:
    """[replicates] float64: n times the mean of n - 1 draws of the n `values`."""
    n = len(values)
    touched = values[values != 0]  # the rest is one thing: it adds nothing, however often drawn
    if n == 1 or not len(touched):
        return np.full(replicates, values.sum())
    chances = [1 / n] * len(touched) + ([1 - len(touched) / n] if len(touched) < n else [])
    block = max(1, BLOCK // len(touched))
    parts = [
        rng.multinomial(n - 1, chances, min(block, replicates - start))[:, : len(touched)] @ touched
        for start in range(0, replicates, block)
    ]
    return np.concatenate(parts) * (n / (n - 1))


def _chance_of(part: np.ndarray) -> float:
    """[S, N] -> variance of a seed's sum if seed and image only met by chance: the residual of
    both means."""
    seeds, images = part.shape
    if images < 2:
        return 0.0
    rest = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
    return images * float((rest**2).sum()) / ((seeds - 1) * (images - 1))
