"""What the fuzzers start from and what they found: every case keeps to the rules and the bounds."""

from __future__ import annotations

import importlib

import pytest
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


def test_a_fault_does_not_go_unnoticed() -> None:
    """Bytes that no kind of case takes for good are refused, not answered."""
    for target in TARGETS:
        case = importlib.import_module(f"fuzz.{target}").case
        kinds = [(f"kind {k}", bytes([k]) + b"neither image nor font") for k in range(5)]
        assert try_all(case, kinds, 1100) == {"refused": 5}, target
