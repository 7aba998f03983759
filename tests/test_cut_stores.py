"""A store that somebody cuts while it is read: an error, not the end of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from test_classifier_data import SIZE, write_store

from synth.errors import InputError

READERS = """
import os, sys
from pathlib import Path

import numpy as np

from classifier.images import Images
from classifier.predict import _all_read
from synth.errors import InputError
from synth.export import export_store
from synth.store import Store

store = Store.open(Path(sys.argv[1]))
os.truncate(store.path / "images.npy", 5000)
rows = np.arange(len(store))
for read in (
    lambda: store.take(rows),
    lambda: Images([store], resident_bytes=0).take(0 * rows, rows),
    lambda: export_store(store, "flat", Path(sys.argv[2])),
    lambda: list(_all_read([store], [], store.canvas, 1)),
):
    try:
        read()
    except InputError as error:
        print(error)
"""


def test_a_store_cut_since_it_was_opened_is_an_error_for_everyone_who_reads_it(
    tmp_path: Path,
) -> None:
    """In a process of its own: where nobody asks for the length, the system ends it (SIGBUS)."""
    store = write_store(tmp_path / "s", "real", 40)
    done = subprocess.run(
        [sys.executable, "-c", READERS, store.path, tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.returncode
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    length = 128 + len(store) * SIZE * SIZE
    assert all(f"5000 bytes, {length} when it was opened" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_a_store_that_is_gone_is_an_error(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "real", 4)
    (store.path / "images.npy").unlink()
    with pytest.raises(InputError, match=r"images\.npy: No such file"):
        store.take(np.array([0]))
