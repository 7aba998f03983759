"""Damaged LMDB and HDF5 files: refused or read in part, whatever their libraries do with them."""

from __future__ import annotations

import io
import lzma
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import h5py
import lmdb
import numpy as np
import pytest
from bad_cases import Case, mutations, try_all
from conftest import draw_strokes

from synth import format_hdf5, format_lmdb, guarded
from synth.corpus import opened
from synth.errors import InputError
from synth.guarded import DamagedError, require_walkable

KEPT = Path(__file__).parent / "damaged_containers"  # what once killed the reader, or hung
LABELS = "一國永我的"
MEMORY_MIB = 3000
STALL_S = 15.0  # a walk of these files imports a library and takes no time
WALL_S = guarded.START_S + 60  # a case waits for a process, which has time to start


def reads(case: tuple[str, bytes]) -> str:
    """Lists everything and reads it."""
    ending, data = case
    quick = partial(require_walkable, stall_s=STALL_S)
    with (
        tempfile.TemporaryDirectory() as top,
        patch.object(format_hdf5, "require_walkable", quick),
        patch.object(format_lmdb, "require_walkable", quick),
    ):
        place = Path(top) / f"data.{ending}"
        place.write_bytes(data)
        lost = 0
        with opened(place) as listing:
            for found in listing.found:
                try:
                    listing.read(found)
                except InputError:
                    lost += 1
        return "in part" if lost or listing.damaged else "whole"


def image(seed: int) -> bytes:
    buffer = io.BytesIO()
    draw_strokes(seed, size_px=32).save(buffer, "PNG")
    return buffer.getvalue()


def lmdb_file(place: Path, paths: bool) -> bytes:
    with (
        lmdb.open(str(place), map_size=1 << 24, subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number in range(1, 41):
            label = LABELS[number % 5]
            if paths:
                transaction.put(f"{label}/{number}.png".encode(), image(number))
            else:
                transaction.put(b"image-%09d" % number, image(number))
                transaction.put(b"label-%09d" % number, label.encode())
        if not paths:
            transaction.put(b"num-samples", b"40")
    return place.read_bytes()


def hdf5_file(place: Path, kind: str) -> bytes:
    images = [image(number) for number in range(40)]
    labels = [LABELS[number % 5] for number in range(40)]
    with h5py.File(place, "w") as file:
        if kind == "files":
            data = file.create_dataset("images", (40,), dtype=h5py.vlen_dtype(np.uint8))
            for number, one in enumerate(images):
                data[number] = np.frombuffer(one, np.uint8)
        else:
            pixels = np.stack([np.asarray(draw_strokes(n, size_px=32)) for n in range(40)])
            packed = {"chunks": (8, 32, 32), "compression": "gzip", "shuffle": True}
            file.create_dataset("images", data=pixels, **(packed if kind == "packed" else {}))
        if kind == "packed":
            file["labels"] = np.arange(40) % 5
            file.attrs["classes"] = list(LABELS)
        else:
            file.create_dataset("labels", data=labels, dtype=h5py.string_dtype())
    return place.read_bytes()


def whole(place: Path) -> dict[str, tuple[str, bytes]]:
    files = {
        f"lmdb {paths}": ("lmdb", lmdb_file(place / f"{paths}.lmdb", paths))
        for paths in (False, True)
    }
    for kind in ("pixels", "packed", "files"):
        files[f"hdf5 {kind}"] = ("h5", hdf5_file(place / f"{kind}.h5", kind))
    return files


def inside(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damage where something stands: most of such a file is zeros, and much of it pictures."""
    rng = np.random.default_rng([seed, len(data)])
    places = np.flatnonzero(np.frombuffer(data, np.uint8))
    for number in range(count):
        raw = bytearray(data)
        for at in rng.choice(places, int(rng.choice([1, 1, 2, 4, 16]))):
            width = int(rng.choice([1, 2, 4, 8]))
            value = int(rng.choice([0, 1, 2, 255, 1 << 15, 1 << 31, len(data) // 2]))
            raw[at : at + width] = (value % (1 << (8 * width))).to_bytes(width, "little")
        yield f"inside {number} of seed {seed}", bytes(raw)


def damaged(files: dict[str, tuple[str, bytes]], count: int, seed: int) -> list[Case]:
    """`count` of each file by either way."""
    return [
        (f"{name}: {what}", (ending, raw))
        for name, (ending, data) in files.items()
        for damage in (mutations, inside)
        for what, raw in damage(data, count, seed)
        if raw != data
    ]


def test_whole_files_are_read_whole(tmp_path: Path) -> None:
    cases = list(whole(tmp_path).items())
    assert try_all(reads, cases, MEMORY_MIB, 20, good=True, wall_s=WALL_S) == {"whole": 5}


def test_what_once_ended_the_process_is_refused() -> None:
    files = sorted(KEPT.iterdir())
    cases: list[Case] = [
        (f.name, (f.name.split(".")[1], lzma.decompress(f.read_bytes()))) for f in files
    ]
    assert len(cases) >= 7
    assert try_all(reads, cases, MEMORY_MIB, 20, wall_s=WALL_S) == {"refused": len(cases)}


def test_damaged_files_end_in_an_error_or_are_read_in_part(tmp_path: Path) -> None:
    cases = damaged(whole(tmp_path), 3, seed=1)
    outcomes = try_all(reads, cases, MEMORY_MIB, 20, wall_s=WALL_S)
    assert outcomes.total() == len(cases) and outcomes["refused"] > 3


@pytest.mark.slow
def test_many_damaged_files_end_in_an_error_or_are_read_in_part(tmp_path: Path) -> None:
    cases = damaged(whole(tmp_path), 25, seed=2)
    outcomes = try_all(reads, cases, MEMORY_MIB, 20, wall_s=WALL_S)
    assert outcomes.total() == len(cases) and outcomes["refused"] > 25


# ---- the guard itself: walks of this file, each in the process that `require_walkable` starts ----


def ends(path: Path) -> Iterator[None]:
    yield from [None] * 3
    (path / "walked").touch()


def dies(path: Path) -> Iterator[None]:
    yield
    os.kill(os.getpid(), signal.SIGBUS)


def stalls(path: Path) -> Iterator[None]:
    yield
    time.sleep(1000)


def goes_on(path: Path) -> Iterator[None]:
    """Longer than a stall may be, with signs between."""
    for _ in range(5):
        time.sleep(1.1)
        yield


def eats(path: Path) -> Iterator[None]:
    held = []
    while True:
        held.append(bytearray(2**26))
        yield


def finds_damage(path: Path) -> Iterator[None]:
    yield
    raise DamagedError


def errs(path: Path) -> Iterator[None]:
    yield
    raise KeyError("what who opens it will meet")


@pytest.mark.parametrize(
    "walk, told",
    [
        ("dies", r"reading it ended a process \(SIGBUS\)"),
        ("stalls", "does not get on"),
        ("eats", "more than 2048 MiB"),
        ("finds_damage", "damaged$"),
    ],
)
def test_the_guard_names_what_became_of_the_process(
    walk: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    stall_s = 2.0 if walk == "stalls" else 60.0
    with pytest.raises(InputError, match=told):
        require_walkable(tmp_path, f"test_bad_containers:{walk}", stall_s)


def test_the_time_to_start_is_no_stall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import time\ntime.sleep(3)\ndef walk(path):\n    yield\n", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    require_walkable(tmp_path, "slow_to_import:walk", stall_s=2.0)


@pytest.mark.parametrize("walk", ["no_such_module:walk", "test_bad_containers:no_such_walk"])
def test_a_walk_that_does_not_start_is_no_file_that_was_tried(
    walk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once passed for one that went well."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with pytest.raises(RuntimeError, match=r"not tried: .* did not start; .*'import \w+'"):
        require_walkable(tmp_path, walk)


def test_a_walk_that_takes_for_ever_to_start_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stuck_import.py").write_text("import time\ntime.sleep(1000)\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(guarded, "START_S", 1.0)
    with pytest.raises(RuntimeError, match="did not start"):
        require_walkable(tmp_path, "stuck_import:walk")


def test_what_can_be_walked_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    require_walkable(tmp_path, "test_bad_containers:ends")
    assert (tmp_path / "walked").exists()
    require_walkable(tmp_path, "test_bad_containers:errs")
    began = time.monotonic()
    require_walkable(tmp_path, "test_bad_containers:goes_on", stall_s=5.0)
    assert time.monotonic() - began > 5


def test_a_system_without_such_limits_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    guarded._bound_memory()
