"""What tries the bad cases notices what it must, and the counts are those of different cases."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from bad_cases import COUNTED_IN, mutations, tried, try_all
from count_bad_cases import count

from synth.errors import InputError


def acts(what: str) -> str:
    """Does what the case says."""
    match what:
        case "refuse":
            raise InputError("no")
        case "two lines":
            raise InputError("no\nno")
        case "fail":
            raise KeyError(what)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "wait":
            time.sleep(600)
        case "spin":
            while True:
                pass
        case "fill":
            return str(np.ones(2**28).sum())  # 2 GiB
    return "done"


def test_each_fault_is_named_by_its_case() -> None:
    faults = {
        "two lines": "not one line",
        "fail": "KeyError",
        "crash": f"ends the process with -{signal.SIGSEGV.value}",
        "fill": "MemoryError",
    }
    late = {"wait": {"wall_s": 1.0}, "spin": {"each_s": 1.0}}
    for fault, says in (faults | dict.fromkeys(late, "hangs")).items():
        # the first is given time for late imports
        cases = [("first", "go"), ("second", fault)]
        with pytest.raises(AssertionError, match=rf"second: (.|\n)*{says}"):
            try_all(acts, cases, 500, **late.get(fault, {}))
    assert try_all(acts, [("one", "go"), ("two", "refuse")], 500) == {"done": 1, "refused": 1}


def test_no_mutation_is_the_file_itself() -> None:
    data = bytes(300)
    damaged = [d for _, d in mutations(data, 700, seed=1)]
    assert data not in damaged and len(set(damaged)) > 100


def test_equal_cases_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "cases"
    monkeypatch.setenv(COUNTED_IN, str(place))
    for family, case in (("a", b"1"), ("a", b"1"), ("a", "1"), ("b", "\ud800"), ("b", (1, b""))):
        tried(family, case)
    try_all(acts, [("bad", "refuse"), ("bad", "refuse")], 500)
    try_all(acts, [("whole", "go")], 500, good=True)
    counts = count(place.read_text("utf-8").splitlines())
    assert counts == {"a": (3, 2), "b": (2, 2), "test_counted_cases": (2, 1)}
