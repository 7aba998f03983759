"""What this machine's processor is slow at, by what Linux says of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path


def slow_in_bfloat16() -> bool:
    """Whether it is one of Intel's without AMX. Their AVX-512 knows bfloat16, but products in it
    take 1.8 times as long as in float32, and an answer of a model 1.3 times (docs/LOG.md)."""
    about = _cpuinfo()
    return "GenuineIntel" in about and "amx_bf16" not in about


@cache  # an optimiser asks for every weight in every step
def _cpuinfo() -> frozenset[str]:
    """The words about the first processor; none where nothing says them."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")
    except OSError:
        return frozenset()
    return frozenset(first.split())
