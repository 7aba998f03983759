"""Other ways to write a Chinese character: Simplified for Traditional and back, and the standards
of Taiwan, Hong Kong and Japan, as OpenCC's tables of characters have them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from synth.fonts import script_of

# From one standard to another: Simplified, Traditional, Taiwan, Hong Kong, Japanese (Shinjitai).
_WAYS = ("s2t", "t2s", "t2tw", "tw2t", "t2hk", "hk2t", "t2jp", "jp2t")


def variants_of(known: Iterable[str], chars: Iterable[str]) -> frozenset[str]:
    """Those of `chars` that stand for one of `known` in another standard, or it for them.

    So several may belong to one (發 and 髮 to 发), though only one is its usual conversion.
    """
    mine = {c for c in known if script_of(c) == "CJK"}
    if not mine:
        return frozenset()
    pool = sorted({c for c in chars if len(c) == 1} - mine)
    found: set[str] = set()
    for way in _WAYS:
        of_pool, of_mine = _converted(way, pool), {*_converted(way, sorted(mine))}
        found |= {c for c, to in zip(pool, of_pool, strict=True) if to in mine or c in of_mine}
    return frozenset(found)


def variant_pairs(chars: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of `chars` of which one stands for the other in another standard: each once, sorted.

    Code points for compatibility (U+F9B5 for 例) are left out: they are no other form.
    """
    pool = sorted({c for c in chars if script_of(c) == "CJK"})
    pool = [c for c in pool if unicodedata.is_normalized("NFC", c)]
    known = {*pool}
    found: set[tuple[str, str]] = set()
    for way in _WAYS:
        for char, to in zip(pool, _converted(way, pool), strict=True):
            if to != char and to in known:
                found.add((min(char, to), max(char, to)))
    return sorted(found)


def _converted(way: str, chars: Sequence[str]) -> list[str]:
    """Each character in the other standard, by itself: a character a line, since within a line
    words decide."""
    if not chars:
        return []
    from opencc import OpenCC  # reads its tables

    return OpenCC(way).convert("\n".join(chars)).split("\n")
