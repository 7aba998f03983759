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
from types import SimpleNamespace

import numpy as np

from classifier.finished import Answers
from classifier.images import Images
from classifier.pictures import samples_by_source
from classifier.predict import _all_read
from classifier.report_answers import confusions, errors
from synth import scenario
from synth.errors import InputError
from synth.export import export_store
from synth.fit import fit_style
from synth.fonts import Coverage, find_fonts
from synth.near_copies import Pictures, apart_note, copies
from synth.sheets import _Real
from synth.store import Store
from synth.style import Style

store = Store.open(Path(sys.argv[1]))
rows, chars = np.arange(len(store)), store.alphabet.chars
for name in store.table.column_names:  # what was read before the cut is there
    store.column(name)
train, val, shown = Pictures.of(store, "train"), Pictures.of(store, "val"), _Real.of(store, 999)
every = Coverage(find_fonts()[0], frozenset(chars), {})
group_of = dict.fromkeys(chars, "rare")
run = SimpleNamespace(alphabet=store.alphabet)
zeros = np.zeros(len(store), np.int64)
answers = Answers(rows, zeros, zeros + 1, zeros / 2, zeros / 2, zeros + 2)  # all of them wrong
os.truncate(store.path / "images.npy", 5000)
for read in (
    lambda: store.take(rows),
    lambda: Images([store], resident_bytes=0).take(0 * rows, rows),
    lambda: export_store(store, "flat", Path(sys.argv[2])),
    lambda: list(_all_read([store], [], store.canvas, 1)),
    lambda: copies(val, train),
    lambda: apart_note(train, []),
    lambda: fit_style(Style(), store, [every], 1, checked=True),
    lambda: shown.next(chars * 99),
    lambda: scenario._copy(
        store, rows, store.column("label"), store.column("split"), store.alphabet,
        Path(sys.argv[2]), {}
    ),
    lambda: samples_by_source([store], store.alphabet, group_of),
    lambda: confusions(run, answers, store, None),
    lambda: errors(run, answers, store),
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
    store = write_store(tmp_path / "s", "real", 40, val=9)
    done = subprocess.run(
        [sys.executable, "-c", READERS, store.path, tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.returncode
    lines = done.stdout.splitlines()
    assert len(lines) == 12
    length = 128 + len(store) * SIZE * SIZE
    assert all(f"5000 bytes, {length} when it was opened" in line for line in lines)
    assert not (tmp_path / "out").exists()


def test_a_store_that_is_gone_is_an_error(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", "real", 4)
    (store.path / "images.npy").unlink()
    with pytest.raises(InputError, match=r"images\.npy: No such file"):
        store.take(np.array([0]))
