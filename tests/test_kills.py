"""Every command is killed at random moments; run again, it ends as an unbroken one.

`python tests/kill_harness.py` is the long version.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import kill_harness
import pytest
from kill_harness import STAGES, ended_well, left_over


@pytest.mark.parametrize("words", [["--stages", "gan"], ["--kills", "0"], ["--kills", "-1"]])
def test_a_harness_that_would_kill_nothing_is_refused(words, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["kill_harness.py", *words])
    with pytest.raises(SystemExit) as ended:
        kill_harness.main()
    assert ended.value.code == 2 and words[1] in capsys.readouterr().err


def test_what_counts_as_left_over_and_as_ended(tmp_path: Path) -> None:
    of = {stage.name: stage for stage in STAGES}
    for name in ("out/checkpoints/a", "out/members/2/tensorboard/b", "out/samples/.c.partial"):
        (tmp_path / "killed" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "killed" / name).touch()
        (tmp_path / "wanted" / name).parent.mkdir(parents=True, exist_ok=True)
    for name in ("GAN", "classifier"):
        extra = left_over(of[name], tmp_path / "wanted", tmp_path / "killed")
        assert extra == ["out/samples/.c.partial"]
        # the same command goes on and ends well, it is never refused
        assert [ended_well(of[name], code) for code in (0, 1, 2)] == [True, False, False]
    assert len(left_over(of["import"], tmp_path / "wanted", tmp_path / "killed")) == 3
    assert [ended_well(of["import"], code) for code in (0, 1, 2)] == [True, False, True]


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
def test_a_kill_while_saving_tears_no_checkpoint() -> None:
    benchmark = Path(__file__).parent.parent / "benchmarks" / "torn_checkpoints.py"
    done = subprocess.run(
        [sys.executable, benchmark, "--kills", "40"], capture_output=True, text=True, check=True
    )
    ours = done.stdout.splitlines()[0]
    assert ours.startswith("ours") and " 0 torn of 40 kills" in ours
