"""Runs the tests of bad input and prints how many different cases each family of them tried.

    python tests/count_bad_cases.py            the slow ones too: minutes
    python tests/count_bad_cases.py --quick    without the slow ones

A case is what one call of the code under test got: damaged or made up, never one of the whole files
that are tried first. Equal ones count once. Of the texts that are made up as labels and as requests
a few are harmless by chance. The exit code is 0 only where every test passed and there are at least
--least cases.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bad_cases import COUNTED_IN

TESTS = Path(__file__).resolve().parent


def count(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Lines of `bad_cases.tried` -> family -> calls, different cases."""
    rows = [line.split("\t") for line in lines]
    calls = Counter(family for family, _ in rows)
    different = Counter(family for family, _ in {(family, digest) for family, digest in rows})
    return {family: (calls[family], different[family]) for family in sorted(calls)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="without the slow tests")
    parser.add_argument("--least", type=int, default=2000, help="cases in all")
    args = parser.parse_args()
    more = ("test_fuzz_corpus.py", "test_gan_damaged.py")
    files = [*sorted(TESTS.glob("test_bad_*.py")), *(TESTS / name for name in more)]
    line = [sys.executable, "-m", "pytest", "-q", "--no-header", *map(str, files)]
    if args.quick:
        line += ["-m", "not slow"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "cases"
        code = subprocess.run(line, env={**os.environ, COUNTED_IN: str(place)}).returncode
        lines = place.read_text("utf-8").splitlines() if place.exists() else []
    found = count(lines)
    print(f"{'family':<24}{'calls':>8}{'different':>11}")
    for family, (calls, different) in found.items():
        print(f"{family.removeprefix('test_bad_'):<24}{calls:>8}{different:>11}")
    total = sum(different for _, different in found.values())
    print(f"{'all':<24}{len(lines):>8}{total:>11}")
    if total < args.least:
        print(f"fewer than {args.least}", file=sys.stderr)
    return code or int(total < args.least)


if __name__ == "__main__":
    raise SystemExit(main())
