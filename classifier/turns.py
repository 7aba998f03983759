"""Which image of a (class, source) stands at each of its places: they take turns. numpy only.

The images of a (class, source) lie along a line, each as long as its weight; the places go along
it, and when they have been through, the line is laid anew in another order. A turn has as many
places as images. So where all weigh the same, and as long as they do, no two of them differ by more
than one in how often they were shown, at the end of every block and however the run is cut into
blocks. Inside a block they come in any order.
"""

from __future__ import annotations

import numpy as np

from synth.chance import bits, uniform

_ORDER, _OFFSET = 101, 102  # streams of chance
_MARGIN = 1e-6  # of a place from the ends of its stretch: far above what sums are rounded by


def take_turns(
    cell: np.ndarray,  # [n] int64, (class, source) of each image
    weight: np.ndarray,  # [n] float64, 0: never shown
    cells: np.ndarray,  # [c] int64, those that have places, each with an image of a weight
    places: np.ndarray,  # [c] int64, how many each has, at least 1
    before: np.ndarray,  # [c] int64, how many each had before
    seed: int,
) -> np.ndarray:
    """[sum of places] int64: the image at each place, cell after cell."""
    seed %= 2**63
    usable = np.flatnonzero(weight > 0)
    usable = usable[np.argsort(cell[usable], kind="stable")]
    images = np.bincount(cell[usable], minlength=cells.max() + 1)
    starts, mass = np.cumsum(images) - images, np.bincount(cell, weight)
    size = images[cells]
    # every turn that is begun or gone on with here: its cell, its number, its images
    first = before // size
    turns = (before + places - 1) // size - first + 1
    of_turn, number = _counted(turns)
    number += first[of_turn]
    turn, k = _counted(size[of_turn])
    image = usable[starts[cells[of_turn]][turn] + k]
    key = bits(seed, _ORDER, number[turn] * len(cell) + image, 1)[:, 0]
    # by turn, then by key: as one number, which is six times as fast as sorting by two
    high = np.uint64(max(int(turns.sum()).bit_length(), 1))
    image = image[np.argsort((turn.astype(np.uint64) << (np.uint64(64) - high)) | (key >> high))]
    edges = np.cumsum(weight[image] * (size / mass[cells])[of_turn[turn]])
    # every place: its turn, and how far along that
    of_place, k = _counted(places)
    k += before[of_place]
    turn = (np.cumsum(turns) - turns - first)[of_place] + k // size[of_place]
    offset = uniform(seed, _OFFSET, number * len(mass) + cells[of_turn], 1)[:, 0]
    ends = np.cumsum(size[of_turn])
    at = (ends - size[of_turn])[turn] + k % size[of_place]
    at = at + np.clip(offset, _MARGIN, 1 - _MARGIN)[turn]
    return image[np.minimum(np.searchsorted(edges, at, side="right"), len(image) - 1)]


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n] -> [sum], [sum] int64: for (2, 3) 0 0 1 1 1 and 0 1 0 1 2."""
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
