"""Other ways to write a Chinese character: Simplified for Traditional and back, and the standards
of Taiwan, Hong Kong and Japan, as OpenCC's tables of characters have them."""

from __future__ import annotations

from collections.abc import Iterable

from synth.fonts import script_of

# From one standard to another: Simplified, Traditional, Taiwan, Hong Kong, Japanese (Shinjitai).
_WAYS = ("s2t", "t2s", "t2tw", "tw2t", "t2hk", "hk2t", "t2jp", "jp2t")


def variants_of(known: Iterable[str], chars: Iterable[str]) -> frozenset[str]:
    """Those of `chars` that stand for one of `known` in another standard, or it for them.

    So several may belong to one (發 and 髮 to 发), though only one is its usual conversion.
    """
    from opencc import OpenCC  # reads its tables

    mine = {c for c in known if script_of(c) == "CJK"}
    if not mine:
        return frozenset()
    pool = sorted({c for c in chars if len(c) == 1} - mine)
    found: set[str] = set()
    for way in _WAYS:
        # a character a line: within a line words decide
        convert = OpenCC(way).convert
        of_pool = convert("\n".join(pool)).split("\n")
        of_mine = {*convert("\n".join(sorted(mine))).split("\n")}
        found |= {c for c, to in zip(pool, of_pool, strict=True) if to in mine or c in of_mine}
    return frozenset(found)
