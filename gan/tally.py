"""What was tried and refused of generated images, by character and reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from gan.checks import REASONS

_TOLD = 20  # characters that are named
LEAST_TRIED = 5  # images of a character, before it is said that most are refused


@dataclass(frozen=True)
class Tally:
    """How many images were tried and refused."""

    tried: Counter[str] = field(default_factory=Counter)  # by character
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)  # by character and reason

    def add(self, chars: np.ndarray, failed: np.ndarray) -> None:
        """[n] characters, [n] indices into REASONS or -1."""
        for char, reason in zip(chars.tolist(), failed.tolist(), strict=True):
            self.tried[char] += 1
            if reason >= 0:
                self.refused[char, REASONS[reason]] += 1

    def by_reason(self) -> dict[str, int]:
        return {r: sum(n for (_, why), n in self.refused.items() if why == r) for r in REASONS}

    def by_char(self) -> dict[str, dict[str, int]]:
        """Characters with refused images, the worst first: tried, and refused by reason."""
        rows = {
            c: {"tried": self.tried[c]}
            | {r: self.refused[c, r] for r in REASONS if self.refused[c, r]}
            for c in sorted({c for c, _ in self.refused})
        }
        return dict(sorted(rows.items(), key=lambda item: -self._share(item[0])))

    def mostly_refused(self) -> dict[str, str]:
        """Characters of which more than half was refused, and the commonest reason."""
        return {
            c: max(REASONS, key=lambda r: row.get(r, 0))
            for c, row in self.by_char().items()
            if row["tried"] >= LEAST_TRIED and self._share(c) > 0.5
        }

    def none_kept(self) -> list[str]:
        """Characters of which every image was refused."""
        return sorted(c for c in self.tried if self._share(c) == 1)

    def _share(self, char: str) -> float:
        return sum(self.refused[char, r] for r in REASONS) / self.tried[char]

    def summary(self, asked: int) -> str:
        """asked: places that were to be filled."""
        tried, refused = sum(self.tried.values()), sum(self.refused.values())
        reasons = ", ".join(f"{r} {n:,}" for r, n in self.by_reason().items())
        lines = [
            f"generated: {tried - refused:,} of {asked:,} asked for; {tried:,} tried, "
            f"{refused:,} refused ({reasons})"
        ]
        if poor := self.mostly_refused():
            some = ", ".join(f"{c} ({why})" for c, why in list(poor.items())[:_TOLD])
            more = " ..." if len(poor) > _TOLD else ""
            lines.append(f"most images refused for {len(poor)} characters: {some}{more}")
        if none := self.none_kept():
            more = " ..." if len(none) > _TOLD else ""
            lines.append(
                f"no image at all for {len(none)} characters: {' '.join(none[:_TOLD])}{more}"
            )
        return "\n".join(lines)
