"""One image on its way out of a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.decode import PAPER, encode


@dataclass(frozen=True, eq=False)
class Stored:
    """An image of a store and its row."""

    number: int  # the row in the store
    image: np.ndarray  # [H, W] uint8, ink high on 0
    row: Mapping[str, Any]  # column -> value

    def encoded(self) -> bytes:
        """A PNG file, dark ink on white paper."""
        return encode(self.image)

    @property
    def on_paper(self) -> np.ndarray:
        """[H, W] uint8, dark ink on white paper."""
        return PAPER - self.image
