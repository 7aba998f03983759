"""render_fonts.py as a user meets it: help, wrong input, previews, the same store twice."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_synth_fonts import NOTDEF, build_font

from synth import studio
from synth.canvas import Canvas
from synth.command import run
from synth.fonts import FontFile
from synth.store import Sample, Store, StoreWriter
from synth.style import Draw, Style

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
    told = " ".join(result.stdout.split())
    assert "default: 2 x median, but at least 100, and 200 without real" in told
    assert not result.stderr


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


@pytest.mark.filterwarnings("default")  # whatever Dask's own code warns of
def test_a_cluster_writes_the_same_store(
    tmp_path: Path, letters: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster, get_worker

    from synth import cluster, render

    drew: set[str] = set()
    alone = cluster.render_range

    def noted(*place: Any) -> tuple[np.ndarray, list[Sample]]:
        drew.add(get_worker().address)
        return alone(*place)

    monkeypatch.setattr(cluster, "render_range", noted)
    monkeypatch.setattr(render, "CHUNK", 16)  # enough for two workers
    options = ("--alphabet", letters, "--per-class", 15, "--other", 90, "--other-chars", 30)
    assert command(*options, "--out", tmp_path / "alone", "--workers", 1) == 0
    assert not drew
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",  # what is sent is packed, as to another machine
        host="127.0.0.1",
        dashboard_address=None,
        local_directory=str(tmp_path / "dask"),
    ) as two:
        address = two.scheduler_address
        assert command(*options, "--out", tmp_path / "there", "--cluster", address) == 0
    assert len(drew) == 2
    for file in ("images.npy", "samples.parquet"):
        assert (tmp_path / "there" / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()
    infos = [Store.open(tmp_path / name).info for name in ("there", "alone")]
    assert infos[0]["made"].pop("cluster") == address
    for info in infos:
        del info["made"]["out"], info["made"]["workers"]
    assert infos[1]["made"].pop("cluster") is None and infos[0] == infos[1]
    names = [sorted(p.name for p in (tmp_path / n).iterdir()) for n in ("there", "alone")]
    assert names[0] == names[1]


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
    table = [line.split()[:5] for line in capsys.readouterr().out.splitlines()]
    assert ["common", "1", "60", "0", "25"] in table and ["none", "1", "0", "50", "50"] in table
    classes = Store.open(tmp_path / "font").info["notes"]["quota"]["classes"]
    assert classes["一"] == {"real": 4, "lacking": 46, "planned": 46}


def test_a_cap_and_the_median_class_as_the_target(
    tmp_path: Path,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studio, "fit_style", lambda style, *_, **__: style)
    real = real_store(tmp_path / "real")  # of 60, 40, 4 and no images
    args = ("--real", real, "--other", 0, "--workers", 1, "--target", "median", "--cap", 0.8)
    assert command(*args, "--out", tmp_path / "font") == 0
    store = Store.open(tmp_path / "font")
    assert Counter(store.column("label").tolist()) == {"永": 20, "國": 20, "一": 16, "三": 40}
    assert store.info["notes"]["quota"]["cap"] == 0.8
    assert store.info["made"]["target"] == "median"
    assert "at most 80 % of a class synthetic: 1 classes get fewer" in capsys.readouterr().out


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


def test_check_goes_on_where_a_character_is_in_no_font(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, the sheet and the list are whole; below the table the characters are named."""
    (tmp_path / "fonts").mkdir()
    build_font(tmp_path / "fonts" / "boxes.ttf", {"永": NOTDEF, "😀": NOTDEF})
    (tmp_path / "some.txt").write_text("永\n一\n😀\nm\u0308\n", "utf-8")
    args = ("--alphabet", tmp_path / "some.txt", "--fonts", tmp_path / "fonts", "--check")
    args += ("--preview", tmp_path / "page.png", "--refused", tmp_path / "new" / "list.csv")
    assert command(*args) == 2
    out, error = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["font", "boxes", *NAMES]
    assert lines[1].split() == ["boxes", *"04", "2", "unmapped,", "2", ".notdef"]
    assert lines[7] == "no font has 2 of 4: m\u0308 😀" and lines[8].endswith("glyphs refused")
    assert "no font has 1 of 4 characters: 😀" in error and "combining marks" in error
    assert error.count("\n") == 1
    with Image.open(tmp_path / "page.png") as page:
        assert page.height >= 50 * (1 + len(NAMES))
    with (tmp_path / "new" / "list.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["font", "character", "code", "reason", "drawn as"]
    assert [row for row in rows if row[0] == "boxes"] == [
        ["boxes", "m\u0308", "U+006D U+0308", "unmapped", ""],
        ["boxes", "一", "U+4E00", "unmapped", ""],
        ["boxes", "永", "U+6C38", ".notdef", ""],
        ["boxes", "😀", "U+1F600", ".notdef", ""],
    ]
    assert lines[8] == f"{tmp_path / 'new' / 'list.csv'}: {len(rows)} glyphs refused"


def test_check_where_no_font_has_anything(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "emoji.txt").write_text("😀\n", "utf-8")
    page = tmp_path / "page.png"
    assert command("--alphabet", tmp_path / "emoji.txt", "--check", "--preview", page) == 2
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 2 + len(NAMES) and "no font has 1 of 1: 😀" in out
    assert "no font has 1 of 1 characters: 😀" in error and not page.exists()


def test_what_is_not_read_is_not_used(
    tmp_path: Path, letters: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    fonts = {"klee-one": False, "tw-kai": True, "yomogi": True, "gone": False}
    strengths = {"0": True, "0.5": True, "1": False}
    verdict: dict[str, object] = {
        kind: {name: {"read": read} for name, read in rows.items()}
        for kind, rows in (("fonts", fonts), ("strengths", strengths))
    }
    verdict["fonts_judged_at"] = 1.0
    (tmp_path / "read.json").write_text(json.dumps(verdict), "utf-8")
    args = ("--alphabet", letters, "--per-class", 4, "--other", 0, "--workers", 1)
    args += ("--without", "yomogi", "--without-unread", tmp_path / "read.json")
    assert command(*args, "--out", tmp_path / "font") == 0
    out = capsys.readouterr().out
    assert "not read, left out: klee-one\n" in out
    assert "strength 0.5 in place of 1, which is not read\n" in out
    assert "read.json not asked, kept: inkfill-sub-c zen-kurenaido\n" in out
    store = Store.open(tmp_path / "font")
    assert store.info["notes"]["fonts"] == ["inkfill-sub-c", "tw-kai", "zen-kurenaido"]
    made, style = store.info["made"], store.info["notes"]["style"]
    assert made["strength"] == 0.5 and made["without"] == ["yomogi", "klee-one"]
    assert style["bend_em"] == Style().bend_em / 2
    assert command(*args, "--strength", 0.5, "--out", tmp_path / "other") == 2
    assert "judged at strength 1, wanted is 0.5" in capsys.readouterr().err


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
        "list is a folder": (
            [*letters, *out, "--refused", "there"],
            "there: a folder; give --refused",
        ),
        "no such verdict": (
            [*letters, *out, "--without-unread", "gone.json"],
            "gone.json: not what",
        ),
        "cap without real": ([*letters, *out, "--cap", "0.9"], "--cap: a share of real"),
        "median without real": (
            [*letters, *out, "--target", "median"],
            "--target median: no class",
        ),
        "no such target": ([*letters, *out, "--target", "mean"], "target"),
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
