"""Claims about rates and times that were measured in turn, and whether they hold. No benchmark by
itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from timing import Rates

SAME_RATE = 0.1  # A/A: the median may differ from 1 by this


@dataclass(frozen=True)
class Row:
    """One claim: ours, what it is held against, their ratio over the rounds, and the limit."""

    claim: str
    ours: str
    peer: str
    ratios: tuple[float, ...]
    limit: str
    holds: bool
    is_same_again: bool = False  # A/A: no claim, but what the claims are worth

    def __str__(self) -> str:
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}" if len(self.ratios) > 1 else ""
        missed = "A/A FAILED" if self.is_same_again else "MISSED"
        mark = "" if self.holds else f"   {missed}"
        ratio = float(np.median(self.ratios))
        return (
            f"{self.claim:34} {self.ours:>10} {self.peer:>26} {ratio:7.2f} {spread:>14}  "
            f"{self.limit}{mark}"
        )


def at_most(claim: str, seconds: Rates, peer: str, against: Rates, limit: float) -> Row:
    """Of times: the median of the ratios is no more than the limit."""
    found = seconds.ratios(against)
    shown = f"{peer} {1e3 * against.median:.2f} ms"
    holds = float(np.median(found)) <= limit
    return Row(claim, f"{1e3 * seconds.median:.2f} ms", shown, found, f"<= {limit:g}", holds)


def times_faster(claim: str, rate: Rates, against: Rates, limit: float) -> Row:
    """Of rates: the median of the ratios is no less than the limit; for a limit of 1, more."""
    found = rate.ratios(against)
    middle = float(np.median(found))
    holds = middle > 1 if limit == 1 else middle >= limit
    shown = f"{against.name} {against.median:.0f}/s"
    wanted = "> 1" if limit == 1 else f">= {limit:g}"
    return Row(claim, f"{rate.median:.0f}/s", shown, found, wanted, holds)


def same_again(claim: str, ours: Rates, again: Rates) -> Row:
    """A/A: the same thing twice; where it differs, the other ratios mean nothing."""
    found = ours.ratios(again)
    holds = abs(float(np.median(found)) - 1) <= SAME_RATE
    limit = f"1 +- {SAME_RATE:g}"
    return Row(claim, "", "ours again", found, limit, holds, is_same_again=True)


def same_answers(
    claim: str, ours: Mapping[int, str], peer: str, others: Mapping[int, str], least: float
) -> Row:
    """Of the images that both were asked about, the share of equal answers."""
    both = sorted(ours.keys() & others.keys())
    share = float(np.mean([ours[i] == others[i] for i in both])) if both else 0.0
    return Row(claim, f"{share:.2%}", peer, (share,), f">= {least:g}", share >= least)
