"""The benchmarks of the loaders with the smallest numbers, so that none breaks unseen."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import ROOT, write_images

BENCHMARKS = ROOT / "benchmarks"


def start(name: str, arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / f"{name}.py", *arguments.split()]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


def test_mix_prints_every_ratio_and_says_what_it_missed() -> None:
    small = "--rounds 1 --images 40 --batch-size 8 --batches 16 --threads 1 --steps 1"
    done = start("mix", small)
    assert done.returncode == 2 and "1 rounds are no claim" in done.stdout, done.stderr
    head, table = done.stdout.split("ours against")
    table, *_ = table.split("1 rounds are no claim")
    rows = [line[:40].strip() for line in table.splitlines()[1:] if line.strip()]
    assert rows == [
        "A/A",
        "DataLoader + the codec alone",
        "DataLoader + v2 normalisation",
        "numpy.take into a ready buffer",
        "numpy.take and to_float",
        "bare DALI graph",
        "bare DALI graph, image by image",
        "one source",
        "raw files, Pillow, as in 2021",
        "HDF5, as in 2021",
        "LMDB, as in 2021",
        "raw files, DALI, as in 2021",
        "DataLoader + torchvision v2, augmented",
        "DataLoader + albumentations, augmented",
        "bare DALI graph, augmented",
        "waiting for data, share of a step",
    ]
    assert "the mix drawn for 15 at a time" in head
    ratios = [float(line[40:48]) for line in table.splitlines()[1:] if line.strip()]
    assert all(ratio > 0 for ratio in ratios) and ratios[-1] < 1


@pytest.mark.parametrize(
    ("again", "ratio", "code"), [(1.04, 5.0, 0), (1.04, 4.0, 1), (0.9, 5.0, 2), (1.1, 4.0, 2)]
)
def test_the_ratios_of_mix_are_void_where_ours_differs_from_itself(
    load: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
    again: float,
    ratio: float,
    code: int,
) -> None:
    mix = load("mix")
    figures = [
        mix.Figure("A/A", (0.5, again, 9.0), "0.95 to 1.05", 0.95, 1.05, is_same_again=True),
        mix.Figure("numpy.take", (ratio,), "at least 5", 5),
    ]
    if code:
        with pytest.raises(SystemExit) as ended:
            mix.judge(figures, 5)
        assert ended.value.code == code
    else:
        mix.judge(figures, 5)
    assert ("A/A failed" in capsys.readouterr().out) == (code == 2)


def test_mix_compares_ours_with_itself(load: Callable[[str], ModuleType]) -> None:
    mix, rates = load("mix"), load("timing").Rates
    names = ("ours, mix", "ours, mix, augmented", "ours, one source", "numpy.take")
    names += ("numpy.take, to_float", "bare DALI graph", "bare DALI graph, augmented")
    names += ("DALI, image by image", *mix.OF_2021)
    names += tuple(f"{name}, 0 workers" for name in mix.TRANSFORMS)
    found = {name: rates(name, (1.0, 1.0)) for name in names}
    found["ours, mix (again)"] = rates("ours, mix (again)", (0.9, 1.1))
    (same,) = [figure for figure in mix.compared(found) if figure.is_same_again]
    assert same.values == (0.9, 1.1) and not same.missed


def test_mix_refuses_rounds_that_leave_the_drawing_out() -> None:
    done = start("mix", "--images 40 --batch-size 8 --batches 14")
    assert done.returncode == 2 and "drawn 15 batches at a time" in done.stderr


def test_loaders_reads_a_folder_in_every_way(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", {"永": 12, "國": 8})
    small = "--rounds 1 --total 8 --batch-sizes 4 --threads 1 2"
    places = f"--images {images} --out {tmp_path}/out --disk {tmp_path}"
    done = start("loaders", f"{places} {small}")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "loaders.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["loader"] for row in rows}
    assert {"raw files, Pillow", "raw files, OpenCV", "raw files, DALI", "our store"} < names
    assert len(rows) == len(names) * 2 * 2 and len(names) == 7
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    assert (tmp_path / "out" / "loaders.png").stat().st_size > 0
    assert "raw files are" not in done.stdout  # they are the user's own


def test_raw_files_are_the_users_own(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    from synth.canvas import Canvas
    from synth.corpus import import_images

    images = write_images(tmp_path / "images", {"永": 3, "國": 2})
    store = import_images(images, tmp_path / "store", None, Canvas(), val_share=0, workers=1)
    assert load("loaders")._copy_raw(images, store.column("origin"), tmp_path / "raw")
    raw = load("readers").raw_files(tmp_path)
    wanted = [(images / name).read_bytes() for name in store.column("origin")]
    assert [path.read_bytes() for path in raw] == wanted
    first = load("readers").pillow(tmp_path, ExitStack())([0])
    assert first.shape == (1, 64, 64)
    assert not load("loaders")._copy_raw(tmp_path, store.column("origin"), tmp_path / "again")


@pytest.mark.parametrize("name, form", [("LMDB", "lmdb"), ("HDF5", "hdf5")])
def test_a_loader_may_be_opened_again_while_its_last_batches_are_held(
    load: Callable[[str], ModuleType], tmp_path: Path, name: str, form: str
) -> None:
    """LMDB opens a file once in a process, and by chance it had two turns one behind the other."""
    from synth.canvas import Canvas
    from synth.corpus import import_images
    from synth.export import FORMATS, export_store

    images = write_images(tmp_path / "images", {"永": 3, "國": 2})
    store = import_images(images, tmp_path / "store", None, Canvas(), val_share=0, workers=1)
    export_store(store, form, tmp_path / f"{form}{FORMATS[form]}")
    held = []
    for _ in range(2):
        with load("loaders").opened(name, tmp_path, 1, [], [[0, 3], [1, 2]]) as one:
            held.append(one)
            got = next(one.batches)
        assert (255 - got == store.images[[0, 3]]).all()  # files hold dark on white


def test_what_was_made_ahead_is_not_timed(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    timing = load("timing")
    now = [0.0]

    def batches() -> Iterator[list[int]]:
        for seconds in (0, 0, 2, 2, 100):  # two lie ready
            now[0] += seconds
            yield [0] * 8

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert timing.timed(timing.Contender(batches(), 2, ahead=2)) == 2 * 8 / 4


def test_contenders_run_in_turn_each_behind_every_other(
    load: Callable[[str], ModuleType],
) -> None:
    """One that leaves the caches or the processor's clock worse does not do so to always the
    same."""
    timing = load("timing")
    asked: list[str] = []

    def batches(name: str) -> Iterator[list[int]]:
        while True:
            asked.append(name)
            yield [0]

    found = {name: timing.Contender(batches(name), 1) for name in "abcd"}
    rates = timing.interleaved(found, 12)
    assert all(len(one.rates) == 12 for one in rates.values())
    turns = [asked[i : i + 4] for i in range(0, len(asked), 4)]
    assert len(turns) == 13 and all(set(turn) == set("abcd") for turn in turns)
    pairs = {(a, b) for turn in turns for a, b in pairwise(turn)}
    assert pairs == set(permutations("abcd", 2))
    before = list(asked)
    asked.clear()
    timing.interleaved(found, 12)
    assert asked == before  # the same order in every run


@pytest.mark.parametrize(
    ("again", "lightning", "code", "says"),
    [
        (1.02, 1.03, 0, "holds"),
        (1.02, 1.2, 1, "BROKEN"),
        # then neither says anything
        (1.2, 1.03, 2, "A/A failed"),
        (0.8, 1.2, 2, "A/A failed"),
    ],
)
def test_the_loop_is_worth_something_only_where_the_bare_one_equals_itself(
    load: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    again: float,
    lightning: float,
    code: int,
    says: str,
) -> None:
    module, taken = load("train_loop"), iter([1.0, again] * 5)
    monkeypatch.setattr(module, "bare", lambda *_: (next(taken), {}))
    monkeypatch.setattr(module, "lightning", lambda *_: (lightning, {}))
    monkeypatch.setattr(sys, "argv", ["train_loop.py", "--rounds", "5"])
    assert module.main() == code
    assert says in capsys.readouterr().out


def test_a_machine_that_slows_down_is_not_the_loops_fault(
    load: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each run of a round takes 3 % longer than the one before. Lightning's came last of three, and
    was held against the first."""
    module, runs = load("train_loop"), iter(range(18))

    def run(*_: object) -> tuple[float, dict]:
        return 1 + 0.03 * (next(runs) % 3), {}

    monkeypatch.setattr(module, "bare", run)
    monkeypatch.setattr(module, "lightning", run)
    monkeypatch.setattr(sys, "argv", ["train_loop.py", "--rounds", "6"])
    assert module.main() == 0
    said = capsys.readouterr().out
    assert "ratio       1.000" in said and "bare/bare   1.00" in said


@pytest.mark.slow
def test_train_processes_compares_one_process_with_several() -> None:
    done = start("train_processes", "--rounds 1 --processes 2 --steps 2 12 --batch-size 32")
    assert done.returncode == 2 and "1 rounds are no claim" in done.stdout, done.stderr
    lines = done.stdout.splitlines()
    wanted = ["1 process", "1 process again", "1 process,", "2 processes"]
    assert all(line.startswith(name) for line, name in zip(lines[2:6], wanted, strict=True))
    assert all(float(line[24:].split()[0].replace(",", "")) > 0 for line in lines[2:6])


@pytest.mark.filterwarnings("ignore")  # of what Lightning deprecates
def test_the_bare_loop_trains_what_lightnings_does(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """A loss was added to one of them: the benchmark ended without a figure."""
    from classifier.config import PRESETS
    from classifier.setup import prepare

    module = load("train_loop")
    steps = module.WARM_UP + 2
    config = replace(
        PRESETS["small"], steps=steps, steps_per_epoch=steps, batch_size=8, threads=1, clean_at=()
    )
    setup = prepare(module.made_store(tmp_path / "real", 4, 12), [], config, 1, None)
    _, wanted = module.bare(setup, config)
    _, got = module.lightning(setup, config, tmp_path / "run")
    assert all(torch.equal(got[name], weight) for name, weight in wanted.items())
