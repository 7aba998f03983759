"""What the Makefile promises of its targets."""

from __future__ import annotations

import re

from conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
NEED_DATA = {"near_copies", "realism", "serving"}  # each says what it wants where it lacks it


def target(name: str) -> tuple[str, str]:
    """What it needs, and its lines."""
    found = re.search(rf"^{name}: (.*?)\s*(##.*)?\n((\t.*\n)*)", MAKEFILE, re.MULTILINE)
    return found[1], found[3]


def test_bench_runs_every_benchmark_that_needs_no_data() -> None:
    lines = target("bench")[1]
    named = set(re.search(r"for name in (.*?); do", lines)[1].split())
    named |= set(re.findall(r"\btry (\w+) ", lines))
    there = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if "No benchmark by itself" not in " ".join(path.read_text("utf-8")[:1000].split())
    }
    assert named == there - NEED_DATA and there >= NEED_DATA


def test_the_table_of_licences_is_made_with_all_extras_that_go_together() -> None:
    """It depended on what was installed by chance."""
    assert target("licences")[0] == "$(DEV_STAMP)"
