"""The command: its table, its exit codes, its one-line errors, its --help."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from conftest import CHARS, ROOT, draw_strokes

from synth.command import run
from synth.store import Store


@pytest.fixture
def call(load_script: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., int]:
    """call("--seed", 3) imports tmp_path/images into tmp_path/out with one worker."""
    script = load_script("import_data")
    alphabet = tmp_path / "alphabet.txt"
    alphabet.write_text("\n".join(CHARS), encoding="utf-8")

    def call(*more: object, images: Path = tmp_path / "images") -> int:
        line = [images, "--alphabet", alphabet, "--out", tmp_path / "out", "--workers", 1, *more]
        return run(script.options(), script.main, [str(word) for word in line])

    return call


def test_the_table(
    call: Callable[..., int], image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "永" / "bad.png").write_bytes(b"words")
    (image_folder / "永" / "copy.png").write_bytes((image_folder / "永" / "000.png").read_bytes())
    (image_folder / "國" / "also.png").write_bytes((image_folder / "永" / "001.png").read_bytes())
    (image_folder / "README.txt").write_text("words")
    assert call() == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["images"].startswith("48 in ")
    assert shown["classes"] == "4 and other"
    assert shown["train"] == "44 images of 5 classes"
    assert shown["val"] == "4 images of 3 classes"
    assert shown["common"] == "0 characters with 50 or more training images"
    assert shown["rare"] == "2 characters with 10 to 49 training images"
    assert shown["few"] == "2 characters with 1 to 9 training images"
    assert shown["other"] == "10 images"
    assert shown["unvalidated"] == "2 characters without a validation image"  # of 5 and 2
    assert shown["skipped"] == "1: 永/bad.png: not an image"
    assert shown["duplicates"] == "1 dropped"
    assert shown["label"] == "conflicts 1 images under several labels"
    assert shown["ignored"] == "1 files that are no images by their name"


def test_options_reach_the_store(
    call: Callable[..., int], image_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "alphabet.txt").write_text("永\n國\n", encoding="utf-8")
    (tmp_path / "import.yaml").write_text("size_px: 32\nseed: 7\n")
    assert call("--config", tmp_path / "import.yaml", "--outside", "other", "--split", "test") == 0
    store = Store.open(tmp_path / "out")
    assert store.canvas.size_px == 32
    assert store.alphabet.chars == ("國", "永")
    assert store.info["counts"] == {"test": {"國": 10, "永": 20, "other": 17}}
    assert store.info["made"]["seed"] == 7


def test_without_an_alphabet(
    load_script: Callable[[str], ModuleType], image_folder: Path, tmp_path: Path
) -> None:
    script = load_script("import_data")
    line = [str(image_folder), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert run(script.options(), script.main, line) == 0
    assert Store.open(tmp_path / "out").alphabet.chars == tuple(sorted(CHARS))


BAD = {
    "no such folder": (lambda top: None, ("--seed", 0), "nowhere: no such folder"),
    "label outside": (
        lambda top: (top / "永").rename(top / "火"),
        (),
        "火/000.png has the label '火'",
    ),
    "alphabet with a bad line": (
        lambda top: (top.parent / "alphabet.txt").write_text("永\n永國\n"),
        (),
        "alphabet.txt, line 2",
    ),
    "no alphabet file": (
        lambda top: (top.parent / "alphabet.txt").unlink(),
        (),
        "no such alphabet file",
    ),
    "output exists": (lambda top: (top.parent / "out").mkdir(), (), "something is there already"),
    "size": (lambda top: None, ("--size-px", 8), "--size-px 8: wanted a multiple of 16"),
    "share": (lambda top: None, ("--val-share", 2), "validation share 2.0"),
    "share that is no number": (lambda top: None, ("--val-share", "x"), "val"),
    "workers": (lambda top: None, ("--workers", 0), "0 workers"),
    "split": (lambda top: None, ("--split", "dev"), "--split"),
    "unknown option": (lambda top: None, ("--sizepx", 8), "sizepx"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_input_ends_in_one_line_and_leaves_nothing(
    call: Callable[..., int],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    break_it, more, words = BAD[case]
    break_it(image_folder)
    images = tmp_path / "nowhere" if case == "no such folder" else image_folder
    before = sorted(tmp_path.iterdir())
    assert call(*more, images=images) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_help_tells_every_option_and_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "scripts" / "import_data.py", "--help"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        check=True,
    )
    for heavy in ("numpy", "PIL", "scipy", "pyarrow", "torch"):
        assert f" {heavy}\n" not in done.stderr
    for option in (
        *("IMAGES", "--alphabet", "--out", "--val-share", "--split", "--seed", "--size-px"),
        *("--workers", "--outside", "--config", "example:", "default: 0.1", "default: 64"),
    ):
        assert option in done.stdout


def test_two_workers_from_the_command_line(tmp_path: Path) -> None:
    """As a user starts it: processes are spawned from the script itself."""
    for i in range(70):
        (tmp_path / "images" / "永").mkdir(parents=True, exist_ok=True)
        draw_strokes(i).save(tmp_path / "images" / "永" / f"{i}.png")
    done = subprocess.run(
        [
            *(sys.executable, ROOT / "scripts" / "import_data.py", tmp_path / "images"),
            *("--out", tmp_path / "out", "--workers", "2"),
        ],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert "70/70" in done.stderr
    info = json.loads((tmp_path / "out" / "store.json").read_text(encoding="utf-8"))
    assert info["counts"] == {"train": {"永": 63}, "val": {"永": 7}}


def test_export_and_back(
    load_script: Callable[[str], ModuleType],
    call: Callable[..., int],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call() == 0
    script = load_script("import_data")

    def command(*words: object) -> int:
        return run(script.options(), script.main, [str(word) for word in words])

    store, again = tmp_path / "out", tmp_path / "again"
    capsys.readouterr()
    assert command(store, "--export", "gnt", "--out", tmp_path / "x.gnt") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"37 images in {tmp_path / 'x.gnt'}",
        "10 images left out: gnt holds characters in GBK alone",
    ]
    assert command(store, "--export", "webdataset", "--out", tmp_path / "x.tar") == 0
    line = [tmp_path / "x.tar", "--as-is", "--alphabet", tmp_path / "alphabet.txt", "--out", again]
    assert command(*line, "--workers", 1) == 0
    one, two = Store.open(store), Store.open(again)
    assert one.content == two.content  # images, labels, characters and splits, in order
    assert command(store, "--export", "pickle", "--out", tmp_path / "x") == 2
    assert "there are folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, named",
    [
        ("--alphabet alphabet.txt", "--alphabet"),
        ("--split test --size-px 32", "--split, --size-px"),
        ("--classes ab --outside other", "--outside, --classes"),
        ("--apart-from out --as-is", "--apart-from, --as-is"),
        ("--licence mine --val-share 0.2 --seed 3", "--licence, --val-share, --seed"),
    ],
)
def test_what_an_export_would_not_heed_is_refused(
    load_script: Callable[[str], ModuleType],
    call: Callable[..., int],
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: str,
    named: str,
) -> None:
    assert call() == 0
    script = load_script("import_data")
    line = [str(tmp_path / "out"), "--export", "zip", "--out", str(tmp_path / "x.zip")]
    assert run(script.options(), script.main, [*line, *words.split()]) == 2
    error = capsys.readouterr().err
    assert f"--export writes a store as it is: leave {named} out\n" in error
    assert not (tmp_path / "x.zip").exists()
    (tmp_path / "export.yaml").write_text("workers: 1\nexport: zip\n")
    line = ["--config", str(tmp_path / "export.yaml"), *line]
    assert run(script.options(), script.main, line) == 0  # workers change nothing
