"""A process that works block by block takes its memory from the system once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = """
import resource, sys
import numpy as np
from synth.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def block():
    arrays = [np.ones(2**20, np.uint8) for _ in range(8)]
    del arrays
block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    block()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_taken(how: str) -> int:
    """Pages that 50 blocks of 8 MiB take from the system."""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, how], cwd=root, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no such setting")
def test_freed_memory_is_kept_for_the_next_block() -> None:
    given_back, kept = pages_taken("given back"), pages_taken("kept")
    assert given_back > 50 * 1000, "glibc's own setting keeps it: keep_freed_memory is not needed"
    assert kept < given_back / 100
