"""render_fonts.py as a user meets it: help, wrong input, previews, the same store twice."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from synth import studio
from synth.canvas import Canvas
from synth.command import run
from synth.fonts import FontFile
from synth.store import Sample, Store, StoreWriter
from synth.style import Draw

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "render_fonts.py"
NAMES = ("inkfill-sub-c", "klee-one", "tw-kai", "yomogi", "zen-kurenaido")
Command = Callable[..., int]


@pytest.fixture
def command(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in this process, with five fonts and 300 candidates."""
    everything = studio.find_fonts

    def some(folders: list[Path] = (), writers: bool = False) -> list[FontFile]:
        found = everything(folders, writers)
        return [f for f in found if f.name in NAMES or f.path.parent in list(folders)]

    monkeypatch.setattr(studio, "find_fonts", some)
    monkeypatch.setattr(studio, "MAX_CANDIDATES", 300)
    script = load_script("render_fonts")
    return lambda *args: run(script.options(), script.main, [str(a) for a in args])


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    path = tmp_path / "letters.txt"
    path.write_text("永\n國\n一\n三\n我\n心\n", "utf-8")
    return path


def real_store(path: Path) -> Path:
    from synth.alphabet import Alphabet

    alphabet = Alphabet.of("永國一三")
    with StoreWriter(path, Canvas(), alphabet, {}) as writer:
        for label, count in {"永": 60, "國": 40, "一": 4}.items():
            images = np.zeros((count, 64, 64), np.uint8)
            images[:, 5:59, 30:33] = 255
            writer.append(images, [Sample(label, label, "real")] * count)
    return path


def test_help_is_quick_and_says_what_is_what() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # a second of processor time, whatever else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    for option in ("--real", "--alphabet", "--out", "--per-class", "--other", "--seed"):
        assert option in result.stdout
    assert "example: python scripts/render_fonts.py" in result.stdout
    assert "default: 2 x median" in result.stdout and not result.stderr


def test_a_store_with_every_column_filled_and_the_same_twice(
    tmp_path: Path, letters: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--alphabet", letters, "--per-class", 5, "--other", 60, "--other-chars", 30)
    for name, workers in (("one", 1), ("two", 2)):
        assert command(*options, "--out", tmp_path / name, "--workers", workers) == 0
    output = capsys.readouterr().out
    assert "klee-one" in output and "to make" in output and "one: 90 images" in output

    store = Store.open(tmp_path / "one")
    assert Counter(store.column("label").tolist()) == dict.fromkeys("永國一三我心", 5) | {
        "other": 60
    }
    assert set(store.column("source")) == {"font"}
    assert all(origin.partition(":")[0] in NAMES for origin in store.column("origin"))
    assert all(Draw.from_json(record).to_json() == record for record in store.column("record"))
    assert {"character", "confusable", "common", "blank"} <= set(store.column("kind"))
    assert set(store.column("split")) == {"train", "val"}
    assert set(store.column("seed")) == {1}
    assert store.info["made"]["per_class"] == 5 and store.info["notes"]["fonts"]

    for file in ("images.npy", "samples.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    infos = [json.loads((tmp_path / n / "store.json").read_text("utf-8")) for n in ("one", "two")]
    for info in infos:
        del info["made"]["out"], info["made"]["workers"]
    assert infos[0] == infos[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters.txt", "one", "two"]


def test_real_data_is_filled_by_quota(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    real = real_store(tmp_path / "real")
    args = ("--real", real, "--out", tmp_path / "font", "--target", 50, "--other", 0)
    assert command(*args, "--workers", 1) == 0
    assert Counter(Store.open(tmp_path / "font").column("label").tolist()) == {
        "永": 25,
        "國": 25,
        "一": 46,
        "三": 50,
    }
    table = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert ["common", "1", "60", "25"] in table and ["none", "1", "0", "50"] in table


def test_a_preview_alone(tmp_path: Path, letters: Path, command: Command) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    assert command("--alphabet", letters, "--per-class", 20, "--preview", sheet) == 0
    with Image.open(sheet) as image:
        assert image.format == "PNG" and image.width > 1000
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["letters.txt", "new", "sheet.png"]


def test_check_prints_what_fonts_have(
    tmp_path: Path,
    letters: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("--alphabet", letters, "--check", "true") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["font", *NAMES]
    assert lines[-1] == "contact sheet: contact_sheet.png"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["contact_sheet.png", "letters.txt"]
    with Image.open(tmp_path / "contact_sheet.png") as image:
        assert image.height >= 50 * len(NAMES)
    assert command("--alphabet", letters, "--check", "--preview", tmp_path / "page.png") == 0
    assert (tmp_path / "page.png").is_file()


def wrong_inputs() -> dict[str, tuple[list[str], str]]:
    """Name -> arguments (in a folder with letters.txt, emoji.txt, there/, empty/), words."""
    out = ["--out", "out"]
    letters = ["--alphabet", "letters.txt"]
    return {
        "no store": (["--real", "nowhere", *out], "nowhere: no store"),
        "no alphabet file": (["--alphabet", "nowhere.txt", *out], "nowhere.txt"),
        "no font has it": (["--alphabet", "emoji.txt", *out], "no font has 1 of 2 characters: 😀"),
        "output there": ([*letters, "--out", "there"], "there: something is there already"),
        "both": ([*letters, "--real", "there", *out], "give --real STORE or --alphabet FILE"),
        "neither": (out, "give --real STORE or --alphabet FILE"),
        "no output": (letters, "give --out STORE"),
        "no font folder": ([*letters, *out, "--fonts", "nowhere"], "nowhere: no such folder"),
        "folder without fonts": ([*letters, *out, "--fonts", "empty"], "empty: no font file"),
        "damaged font": ([*letters, *out, "--fonts", "damaged"], "bad.ttf: not a readable font"),
        "negative number": ([*letters, *out, "--per-class", "-3"], "--per-class -3"),
        "negative other": ([*letters, *out, "--other", "-3"], "--other -3"),
        "negative strength": ([*letters, *out, "--strength", "-1"], "--strength"),
        "huge seed": ([*letters, *out, "--seed", str(2**70)], "--seed"),
        "no number": ([*letters, *out, "--per-class", "many"], "per_class"),
        "unknown option": ([*letters, *out, "--colour", "red"], "--colour"),
        "nothing to do": (
            [*letters, *out, "--per-class", "0", "--other", "0"],
            "nothing to render",
        ),
        "no list": ([*letters, *out, "--other-from", "nowhere.txt"], "nowhere.txt"),
        "no such font": ([*letters, *out, "--without", "nothing"], "--without nothing: no font"),
        "no writer": ([*letters, *out, "--writers", "0"], "--writers 0: a number of hands"),
        "preview is a folder": ([*letters, "--preview", "there"], "there: a folder"),
    }


@pytest.mark.parametrize("name", wrong_inputs())
def test_a_wrong_input_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    letters: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    (tmp_path / "emoji.txt").write_text("永\n😀\n", "utf-8")
    for folder in ("there", "empty", "damaged"):
        (tmp_path / folder).mkdir()
    (tmp_path / "damaged" / "bad.ttf").write_bytes(b"no font")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    args, words = wrong_inputs()[name]
    assert command("--workers", 1, *args) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and len(error) < 400
    assert "Traceback" not in error
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_a_stopped_render_leaves_nothing(
    tmp_path: Path, letters: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studio.StoreWriter, "append", stop)
    args = ("--alphabet", letters, "--per-class", 3, "--other", 0, "--workers", 1)
    assert command(*args, "--out", tmp_path / "out") == 130
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_the_program_exits_as_the_command_does(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--real", "nowhere", "--out", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("render_fonts.py: nowhere: no store")
    assert result.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
