"""The benchmark of the font checks: what it counts, on a few fonts and characters."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from test_synth_fonts import NOTDEF, build_font, letter

from synth.command import run
from synth.fonts import ASSETS, find_fonts

FEW = (
    *("ar-pl-ukai", "inkfill-sub-a", "inkfill-sub-b", "inkfill-sub-c", "klee-one", "tw-kai"),
    *("yomogi", "zen-kurenaido"),
)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / "benchmarks" / "font_check.py"
    spec = importlib.util.spec_from_file_location("font_check", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for their names
    spec.loader.exec_module(module)
    return module


def test_the_lists_are_those_of_the_standards(benchmark: ModuleType) -> None:
    big5, gb2312 = benchmark.big5_level_1(), benchmark.gb2312_level_1()
    assert (len(big5), big5[0], big5[-1]) == (5401, "一", "籲")
    assert (len(gb2312), gb2312[0], gb2312[-1]) == (3755, "啊", "座")
    assert set(benchmark.characters("both")) == {*big5, *gb2312}
    assert benchmark.characters("big5") == sorted(big5)


def test_pairs_are_counted_by_reason(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chars.txt").write_text("\n".join("一三十口心水"), "utf-8")
    (tmp_path / "fonts").mkdir()
    glyphs = {"一": letter(1), "三": letter(2), "十": [], "口": NOTDEF}
    build_font(tmp_path / "fonts" / "part.ttf", glyphs)
    build_font(tmp_path / "fonts" / "latin.ttf", {"A": letter(1)})
    args = [str(tmp_path / "fonts"), "--chars", str(tmp_path / "chars.txt")]
    args += ["--refused", str(tmp_path / "list.csv")]
    assert run(benchmark.options(), benchmark.main, args) == 0
    head, part, everything, *said = capsys.readouterr().out.splitlines()
    assert head.split() == [
        *("font", "pairs", "unmapped", "blank", "too", "complex", ".notdef", "shared"),
        *("outvoted", "good"),
    ]
    assert part.split() == ["part", *"62101002"]
    assert everything.split()[2:] == part.split()[1:]
    assert said[0] == "6 pairs of 1 fonts x 6 characters: 3 unmapped or blank"
    assert said[1] == "the vote refuses 0 of the 2 that are left (0.00 %)"
    assert said[2] == "為 is drawn as 爲 in: none"
    with (tmp_path / "list.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row[1] for row in list(csv.reader(file))[1:]) == sorted("十口心水")


def test_exchanged_glyphs_and_another_form_are_caught(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chars = sorted({*benchmark.characters("both")[::40], "為"})  # 爲 is in neither list
    (tmp_path / "chars.txt").write_text("\n".join(chars), "utf-8")
    rest = [f.name for f in find_fonts([ASSETS], own=False) if f.name not in FEW]
    args = [str(ASSETS), "--chars", str(tmp_path / "chars.txt"), "--swaps", "8", "--without", *rest]
    assert run(benchmark.options(), benchmark.main, args) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[1 : 1 + len(FEW)]]
    assert [row[0] for row in rows] == list(FEW)
    assert all(int(row[1]) == len(chars) and row[-2] == "16" for row in rows)
    assert all(sum(map(int, row[2:-2])) == len(chars) for row in rows)
    caught = sum(int(row[-1]) for row in rows)
    assert caught > 0.85 * 16 * len(FEW)
    assert f"{caught} of {16 * len(FEW)} exchanged glyphs caught" in lines[-2]
    assert lines[-1] == "為 is drawn as 爲 in: inkfill-sub-b"


def test_wrong_input_is_one_line(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_font(tmp_path / "latin.ttf", {"A": letter(1)})
    for args, words in (
        ([tmp_path], "no font in these folders maps a character"),
        ([tmp_path / "gone"], "gone: no such folder"),
        ([tmp_path, "--chars", tmp_path / "gone.txt"], "gone.txt: no such alphabet file"),
        ([tmp_path, "--swaps", -1], "--swaps -1"),
        ([tmp_path, "--forms", "為"], "--forms 為: two characters"),
    ):
        assert run(benchmark.options(), benchmark.main, [str(a) for a in args]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
