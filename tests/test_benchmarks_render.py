"""The benchmarks of the renderer say what they missed and end with 1, or with 2 where one thing
measured twice differs; nothing is measured here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise, permutations
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from synth.command import run


def load(name: str) -> ModuleType:
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def render() -> ModuleType:
    return load("render")


def rates(*values: float) -> np.ndarray:
    return np.array(values)


@pytest.mark.parametrize(
    "median, good", [(4.9, False), (5.0, True), (9.0, True), (float("nan"), False)]
)
def test_a_ratio_is_judged_by_its_median(
    render: ModuleType, capsys: pytest.CaptureFixture[str], median: float, good: bool
) -> None:
    assert render.reached("a / b", rates(0.1, median, 99.0), 5.0) is good
    line = capsys.readouterr().out
    assert line.startswith(f"  a / b: {median:.2f} (") and ", wanted 5" in line
    assert ("MISSED" in line) is not good
    assert render.reached("a / b", rates(0.1), None)
    assert "wanted" not in capsys.readouterr().out


def test_one_missed_ratio_is_enough_and_all_are_told(
    render: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"ours": rates(100.0, 110.0), "a": rates(50.0, 50.0), "b": rates(10.0, 10.0)}
    assert not render.report(found, [("ours", "a", 5.0), ("ours", "b", 5.0)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("MISSED") for line in lines] == [False] * 3 + [True, False]
    assert render.report(found, [("ours", "b", 5.0)])


def test_one_thing_measured_twice_must_be_alike(
    render: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.check_same(rates(100.0, 90.0, 300.0), rates(96.0, 90.0, 300.0))
    for factor in (0.94, 1.06):
        assert not render.check_same(rates(100.0, 100.0), factor * rates(100.0, 100.0))
    assert capsys.readouterr().out.count("FAILED") == 2


def test_contestants_run_in_turn_each_behind_every_other(render: ModuleType) -> None:
    asked: list[str] = []

    def contestant(name: str) -> Callable[[int], float]:
        def timed(images: int) -> float:
            asked.append(name)
            return images / 1000

        return timed

    found = render.rates({name: contestant(name) for name in "abc"}, 12, 0.1)
    assert {name: r.tolist() for name, r in found.items()} == {n: [1000.0] * 12 for n in "abc"}
    turns = [asked[i : i + 3] for i in range(6, len(asked), 3)]  # two of each to find their pace
    assert len(turns) == 12 and all(set(turn) == set("abc") for turn in turns)
    assert {(a, b) for turn in turns for a, b in pairwise(turn)} == set(permutations("abc", 2))


@pytest.mark.parametrize("two, four, good", [(5.3, 9.0, True), (5.6, 2.6, False)])
def test_only_two_processes_have_a_limit(
    render: ModuleType, capsys: pytest.CaptureFixture[str], two: float, four: float, good: bool
) -> None:
    one, others = rates(10.0, 10.0), {2: rates(two, two), 4: rates(four, four)}
    assert render.faster(1000, one, others, 4) is good
    lines = capsys.readouterr().out.splitlines()
    assert f"  4 processes / one: {10 / four:.2f}" in lines[-1] and "wanted" not in lines[-1]
    assert "wanted 1.85" in lines[-2] and lines[-2].endswith("MISSED") is not good
    assert render.faster(1000, one, others, 1)  # one core can do no more than one
    assert "wanted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "seconds, same, good",
    [
        # of the runs in their order: one process, two, four, one again; then back
        ((10, 5, 3, 10, 10, 3, 5, 10), True, True),
        ((10, 6, 3, 10, 10, 3, 6, 10), True, False),
        ((10, 5, 3, 12, 12, 3, 5, 10), False, True),
        # two are held against the mean of both: 1.82 times as fast as the one, 1.89 as the other
        ((10, 5.5, 3, 10.4, 10.4, 3, 5.5, 10), True, True),
    ],
)
def test_one_process_is_timed_twice_in_every_round(
    render: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    seconds: tuple[float, ...],
    same: bool,
    good: bool,
) -> None:
    asked: list[int] = []
    takes, now = iter(seconds), [0.0]

    def made_up(plan: range, workers: int) -> list[object]:
        asked.append(workers)
        now[0] += next(takes)
        return []

    monkeypatch.setattr(render, "sample_plan", lambda *_: range(40))
    monkeypatch.setattr(render, "render", made_up)
    monkeypatch.setattr(render, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(render.os, "sched_getaffinity", lambda _: {0, 1})
    assert render.several_processes(40, 2, [2, 4]) == (same, good)
    assert asked == [1, 2, 4, 1, 1, 4, 2, 1]


@pytest.mark.parametrize(
    "slow, code",
    [
        ("", 0),
        ("FreeType alone", 1),
        ("Pillow + albumentations", 1),
        ("two", 1),
        # then nothing else counts
        ("again", 2),
        ("one again", 2),
    ],
)
def test_what_is_missed_anywhere_ends_with_1_and_void_ratios_with_2(
    render: ModuleType, monkeypatch: pytest.MonkeyPatch, slow: str, code: int
) -> None:
    """The whole command, with made-up rates."""

    def made_up(contestants: dict, rounds: int, seconds: float) -> dict[str, np.ndarray]:
        fast = {n: 100.0 if n.startswith("ours") else 10.0 for n in contestants}
        if slow in fast:
            fast[slow] = 300.0
        if slow == "again":
            fast |= {"ours, full again": 200.0, "FreeType alone": 300.0}
        return {n: np.full(rounds, rate) for n, rate in fast.items()}

    monkeypatch.setattr(render, "rates", made_up)
    monkeypatch.setattr(render.os, "sched_getaffinity", lambda _: {0, 1})
    processes = (slow != "one again", slow != "two")
    monkeypatch.setattr(render, "several_processes", lambda *_: processes)
    makers = ("ours_full", "ours_cold", "pillow_plain", "freetype_plain", "albumentations_full")
    for name in (*makers, "keep_freed_memory"):
        monkeypatch.setattr(render, name, lambda *_: None)
    if code:
        with pytest.raises(SystemExit) as ended:
            run(render.options(), render.main, [])
        assert ended.value.code == code
    else:
        assert run(render.options(), render.main, []) == 0


@pytest.mark.parametrize(
    "workers, own, worker, good",
    [
        (1, 999.0, 5000.0, True),
        (1, 1000.0, 0.0, False),
        (2, 300.0, 360.0, True),
        (3, 300.0, 360.0, False),
    ],
)
def test_memory_is_of_all_processes_together(
    workers: int, own: float, worker: float, good: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load("render_memory").judged(20_000, own, worker, workers) is good
    assert capsys.readouterr().out.strip().endswith("good" if good else "MISSED")


def test_too_much_memory_ends_with_1_when_every_size_was_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = load("render_memory")
    monkeypatch.setattr(memory, "peak_mb", lambda images, workers: (images / 10, 0.0))
    with pytest.raises(SystemExit) as ended:
        run(memory.options(), memory.main, ["--images", "20000", "100"])
    assert ended.value.code == 1 and len(capsys.readouterr().out.splitlines()) == 3
    assert run(memory.options(), memory.main, ["--images", "100"]) == 0
