"""Every command is killed at random moments; run again, it ends as an unbroken one.

`python tests/kill_harness.py` is the long version.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_and_run_again_equals_unbroken() -> None:
    harness = Path(__file__).parent / "kill_harness.py"
    done = subprocess.run(
        [sys.executable, harness, "--kills", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "16 kills, 0 faults" in done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what torch and Lightning deprecate
def test_a_kill_while_saving_tears_no_checkpoint() -> None:
    benchmark = Path(__file__).parent.parent / "benchmarks" / "torn_checkpoints.py"
    done = subprocess.run(
        [sys.executable, benchmark, "--kills", "40"], capture_output=True, text=True, check=True
    )
    ours = done.stdout.splitlines()[0]
    assert ours.startswith("ours") and " 0 torn of 40 kills" in ours
