"""Memory that a process has freed, kept for its next block of work."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, from glibc's malloc.h
KEPT_MIB = 64


def keep_freed_memory() -> None:
    """Lets the process keep up to KEPT_MIB that it has freed, where its C library is glibc.

    Every block of pictures needs the same few megabytes. As glibc starts, it gives them back to the
    system after each block and takes them anew, at 2 microseconds a page: a tenth of rendering. It
    keeps these very amounts by itself once an array of half of it was freed (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, KEPT_MIB * 2**20 // 2)
        mallopt(_TRIM_THRESHOLD, KEPT_MIB * 2**20)
