"""benchmarks/near_copies.py finds what it made, names what is alike, and says when it missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT, write_images

from synth.canvas import Canvas
from synth.corpus import import_images
from synth.store import Sample, Store, StoreWriter


def asked(store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, ROOT / "benchmarks" / "near_copies.py", store, "--originals", "12"]
    line += ["--among", "8", "--sizes", "20", "1000", *more]
    return subprocess.run(line, capture_output=True, text=True)


def test_on_drawings(tmp_path: Path) -> None:
    top = write_images(tmp_path / "images", {"A": 15, "B": 15})
    real = import_images(top, tmp_path / "real", None, Canvas())
    done = asked(real.path)
    assert done.returncode == 0, done.stdout + done.stderr
    words = [line.split() for line in done.stdout.splitlines()]
    rates = {line[:14].strip(): float(line[14:22]) for line in done.stdout.splitlines()[2:14]}
    assert rates["JPEG 75"] == 1.0 and rates["moved right"] == 1.0 and len(rates) == 12
    told = "pairs within the store: 0 of 3 images, a random tenth, against the other 27"
    assert told in done.stdout
    assert ["1,000", "more", "than", "the", "store", "has"] in words
    assert any(row[0] == "20" and len(row) == 4 for row in words)


def test_pairs_are_named_and_what_is_missed_fails(tmp_path: Path) -> None:
    top = write_images(tmp_path / "images", {"A": 15, "B": 15})
    real = import_images(top, tmp_path / "real", None, Canvas())
    twice = np.concatenate([real.images, real.images])
    rows = [Sample("A", "A", "real", origin=f"{i}.png") for i in range(len(twice))]
    with StoreWriter(tmp_path / "twice", Canvas(), real.alphabet, {}) as writer:
        writer.append(twice, rows)
    store = Store.open(tmp_path / "twice")
    sheet = tmp_path / "sheet.png"
    done = asked(store.path, "--least", "1.1", "--sheet", str(sheet))
    assert done.returncode == 1 and "caught less often than 1.1: JPEG 75" in done.stderr
    assert sheet.is_file()
    line = next(line for line in done.stdout.splitlines() if line.startswith("  0.000"))
    one, two = (int(name.removesuffix(".png")) for name in line.split()[1:])
    assert abs(one - two) == 30
