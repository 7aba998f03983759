"""What the fuzzers start from and what they found: every case keeps to the rules and the bounds."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import run_fuzz
from bad_cases import Case, try_all
from run_fuzz import CORPUS, TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str) -> None:
    module = importlib.import_module(f"fuzz.{target}")
    files = sorted((CORPUS / target).iterdir())
    seeds: list[Case] = [(f.name, f.read_bytes()) for f in files if f.name.startswith("seed-")]
    found: list[Case] = [(f.name, f.read_bytes()) for f in files if f.name.startswith("found-")]
    assert len(seeds) >= 4 and len(seeds) + len(found) == len(files)
    outcomes = try_all(module.case, seeds, module.MEMORY_MIB, module.EACH_S, good=True)
    assert outcomes.total() == len(seeds) and not outcomes["refused"], outcomes
    if found:
        assert try_all(module.case, found, module.MEMORY_MIB, module.EACH_S).total() == len(found)


def test_bytes_of_no_kind_are_refused() -> None:
    """Not answered; that faults are noticed is shown where `bad_cases` is tried."""
    for target in TARGETS:
        case = importlib.import_module(f"fuzz.{target}").case
        kinds = [(f"kind {k}", bytes([k]) + b"neither image nor font") for k in range(5)]
        assert try_all(case, kinds, 1100) == {"refused": 5}, target


def test_without_the_fuzzer_nothing_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_fuzz.py", "fonts", "--seconds", "1"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run_fuzz.main() == 1
    assert "nothing was tried" in capsys.readouterr().err


@pytest.mark.parametrize("kept", [True, False])
def test_what_reached_something_new_is_kept_where_wanted(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a stand-in for the process that fuzzes: it adds a case to its folder."""
    held: list[int] = []

    def add(line: list[str], **_: object) -> subprocess.CompletedProcess:
        work = Path(line[line.index("--work") + 1])
        held.append(len(list(work.iterdir())))
        (work / f"case{held[-1]}").write_bytes(b"x")
        return subprocess.CompletedProcess(line, 0)

    words = ["run_fuzz.py", "fonts", *(["--keep", str(tmp_path)] if kept else [])]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(run_fuzz.subprocess, "run", add)
    assert run_fuzz.main() == 0 and run_fuzz.main() == 0
    assert held == ([0, 1] if kept else [0, 0])
    assert "1 cases that reached something new" in capsys.readouterr().out
