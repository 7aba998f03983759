"""Batches for the GAN: a real image, a glyph to bend, a reference glyph in another font, all of one
character; and, where styles are read off images, a real image of any character.

A batch is a pure function of (seed, step), so a resumed run sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gan.glyphs import Glyphs
from synth.canvas import to_float


class PairLoader:
    """Iterates over the batches of steps `start_step` .. `steps`."""

    def __init__(
        self,
        real: np.ndarray,  # [n, H, W] uint8
        real_char: np.ndarray,  # [n] int64 into content.chars
        content: Glyphs,
        reference: Glyphs,  # the same characters in the same order
        batch_size: int,
        steps: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        style_images: bool = True,  # False: styles are noise, and no image is drawn for them
    ) -> None:
        self.real, self.batch_size, self.steps, self.seed = real, batch_size, steps, seed
        self.rank, self.world, self.start_step = rank, world, 0
        self.content, self.reference, self.style_images = content, reference, style_images
        self._content_rows, self._reference_rows = content.rows_of(), reference.rows_of()
        order = np.argsort(real_char, kind="stable")
        self._chars, first = np.unique(real_char[order], return_index=True)
        self._real_rows = np.split(order, first[1:])
        # between the natural and the balanced: a class with one image is not shown a hundred times
        weight = np.sqrt([len(r) for r in self._real_rows])
        self._edges = np.cumsum(weight / weight.sum())

    def __len__(self) -> int:
        """Of the whole run: a resumed Lightning loop counts the batches that it had before."""
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.start_step, self.steps):
            yield self.batch(step)

    def state_dict(self) -> dict[str, int]:
        """Tells Lightning that this loader can be resumed; `start_step` is all there is to it."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to do: the run sets `start_step` from its checkpoint before it starts."""

    def batch(self, step: int) -> dict[str, Tensor]:
        """`real`, `content`, `reference` and perhaps `style_image` [B, 1, H, W] float -1..1; `char`
        [B] int64.

        Rank r of w holds the rows r, r + w, r + 2 w ... of what one process would see.
        """
        rng = np.random.default_rng([self.seed, step])
        u = rng.random((self.batch_size, 4))[self.rank :: self.world]
        of = np.minimum(np.searchsorted(self._edges, u[:, 0], side="right"), len(self._chars) - 1)
        rows = np.array([_pick(self._real_rows[i], v) for i, v in zip(of, u[:, 1], strict=True)])
        chars = self._chars[of]
        content = [_pick(self._content_rows[c], v) for c, v in zip(chars, u[:, 2], strict=True)]
        reference = [
            _pick(self._references(c, row), v)
            for c, row, v in zip(chars, content, u[:, 3], strict=True)
        ]
        batch = {
            "real": _tensor(self.real[rows]),
            "content": _tensor(self.content.images[content]),
            "reference": _tensor(self.reference.images[reference]),
            "char": torch.from_numpy(chars.astype(np.int64)),
        }
        if self.style_images:
            other = np.random.default_rng([self.seed, step, 1]).integers(
                len(self.real), size=self.batch_size
            )
            batch["style_image"] = _tensor(self.real[other[self.rank :: self.world]])
        return batch

    def _references(self, char: int, content: int) -> np.ndarray:
        """Rows of references of a character: in other fonts than the content's, if there are some
        and the fonts are known."""
        rows = self._reference_rows[char]
        if self.reference.font is None or self.content.font is None:
            return rows
        others = rows[self.reference.font[rows] != self.content.font[content]]
        return others if len(others) else rows


def _pick(rows: np.ndarray, u: float) -> int:
    return int(rows[int(u * len(rows))])


def _tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(to_float(images))[:, None]
