"""What holds for all tests: none hangs for ever, none touches the user's cache folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.version import Version

from synth import likeness
from synth.fonts import find_fonts

ENDS = Version(pytest.__version__).major >= 9  # before, what hangs is only told


def test_a_test_that_hangs_is_told_and_ended(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert float(request.config.getini("faulthandler_timeout")) > 0
    seconds = 600 if ENDS else 5
    (tmp_path / "test_hangs.py").write_text(
        f"import time\ndef test_it():\n    time.sleep({seconds})\n", encoding="utf-8"
    )
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    line = [sys.executable, "-m", "pytest", *options, "-o", "faulthandler_timeout=1", tmp_path]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert "Timeout (0:00:01)!" in done.stderr and "in test_it" in done.stderr
    assert bool(done.returncode) == ENDS


def test_the_cache_is_the_runs_own() -> None:
    (font,) = (f for f in find_fonts() if f.name == "klee-one")
    here = likeness._cache_file(font)
    assert here.is_relative_to(os.environ["XDG_CACHE_HOME"])
    assert not here.is_relative_to(Path.home() / ".cache")
    likeness.features_of(font, "永")
    assert here.is_file()
    code = "import os; print(os.environ['XDG_CACHE_HOME'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert here.is_relative_to(done.stdout.strip())
