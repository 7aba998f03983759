"""--help of every command: at once, though what the command imports takes seconds."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from conftest import ROOT

COMMANDS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if "def options(" in path.read_text(encoding="utf-8")
)


def test_there_are_commands() -> None:
    assert {"import_data", "train_gan", "train_classifier", "predict", "serve"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_and_is_quick(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = " ".join(done.stdout.split())
    assert f"example: python scripts/{name}.py" in told and not done.stderr
    # a second of processor time, whatever else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
