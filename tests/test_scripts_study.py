"""The study with the real commands, as small as they get."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import ROOT, draw_strokes

from synth.command import run
from synth.store import lock_output

CHARS = "永國銀三水木"


def write_data(top: Path) -> Path:
    for number, char in enumerate(CHARS):
        (top / char).mkdir(parents=True)
        for i in range(14):
            part = "test" if i < 4 else "train"
            draw_strokes(100 * number + i).save(top / char / f"{part}_{i:02d}.png")
    return top


def grid(top: Path) -> Path:
    path = top / "study.yaml"
    study = {
        "data": {
            "tiny": {
                "images": str(write_data(top / "images")),
                "test_names": "test_",
                "groups": "common:2:10,few:2:3,other_seen:1:3,other_unseen:1:0",
            }
        },
        "training_seeds": [1],
        "classifier": "--preset demo --steps 6 --batch-size 16",
        "stores": {
            "font": "render_fonts.py --real {real} --out {out} --per-class 6 --other 12 "
            "--other-chars 6 --seed {seed}",
            "thin": "thin_store.py --store {font} --real {real} --ratio 0.5 --out {out}",
            "gan": {
                "command": "train_gan.py --real {real} --out {out} --preset demo --steps 2 "
                "--batch-size 8 --recogniser-steps 8 --per-class 4 --other 4",
                "makes": "samples",
            },
            "raw": {
                "command": "train_gan.py --real {real} --out {out} --preset demo --steps 2 "
                "--batch-size 8 --recogniser-steps 8 --per-class 4 --other 4 --keep-refused",
                "inside": "gan",
                "makes": "unchecked",
            },
        },
        "arms": {
            "real": {"options": "--sampling natural"},
            "few0": {"images": {"few": 0}},
            "thin": {"stores": ["thin"]},
            "raw": {"stores": ["font", "raw"]},
            "oracle": {"images": {"few": 10}, "noise": 0},
        },
        "compare": {
            "baseline": "real",
            "oracle": "oracle",
            "gap": ["few"],
            "worth": [
                {"group": "few", "real": {0: "few0", 3: "real", 10: "oracle"}, "arms": {"thin": 3}}
            ],
        },
    }
    path.write_text(yaml.safe_dump(study, allow_unicode=True), encoding="utf-8")
    return path


def study(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "scripts" / "study.py"), *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT)


def rows_of(out: Path) -> list[dict[str, str]]:
    text = (out / "page" / "rows.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.slow
def test_a_study_runs_from_images_to_a_page_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, out = grid(tmp_path), tmp_path / "out"
    first = study("--grid", path, "--out", out, "--workers", "1")
    assert first.returncode == 0, first.stdout + first.stderr
    rows = rows_of(out)
    assert len(rows) == 5
    for row in rows:
        assert float(row["minutes"]) > 0 and 0 <= float(row["ece"] or 0) <= 1
        known = ("common", "few", "closed:common", "closed:few")
        for group in (*known, "other_seen", "other_unseen", "macro_f1", "other_auroc"):
            assert 0 <= float(row[group]) <= 1, (row["arm"], group)
    by_arm = {row["arm"]: row for row in rows}
    # images of each run: real ones less validation, and those of its stores
    assert float(by_arm["oracle"]["real"]) > float(by_arm["real"]["real"])
    assert float(by_arm["few0"]["real"]) < float(by_arm["real"]["real"])
    assert float(by_arm["real"]["synthetic"]) == 0 < float(by_arm["thin"]["synthetic"])
    assert float(by_arm["oracle"]["right:few"]) == 9 and float(by_arm["few0"]["right:few"]) == 0
    assert float(by_arm["oracle"]["wrong:few"]) == 0  # it has no wrong label
    # without the filter nothing that was planned is missing
    base = out / "tiny" / "seed1" / "base"
    info = json.loads((base / "gan" / "unchecked" / "store.json").read_text("utf-8"))
    assert info["notes"]["keep_refused"] and info["images"] == info["notes"]["tried"]
    # the figures are those that the run itself reports
    metrics = json.loads((base / "runs" / "real" / "seed1" / "metrics.json").read_text("utf-8"))
    assert float(by_arm["real"]["macro_f1"]) == pytest.approx(metrics["test"]["macro_f1"], 1e-4)

    (base / "runs" / "thin" / "seed1" / "report.html").unlink()  # as if it had ended before that
    again = study("--grid", path, "--out", out, "--workers", "1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [line for line in again.stdout.splitlines() if line.startswith("start ")] == [
        "start tiny-seed1-base-thin-seed1"
    ]
    # what was finished is as it was, and the one that went on is complete again
    for one, two in zip(rows, rows_of(out), strict=True):
        assert one["arm"] == two["arm"] and one.keys() == two.keys()
        assert one == two or one["arm"] == "thin"
        assert all(two[name] for name in two if name != "ece")  # of none where all are called other


def one_arm(top: Path) -> list[str]:
    """The words of the smallest study; its images are not looked at."""
    (top / "d.zip").touch()
    data = {"images": str(top / "d.zip"), "test_names": "test_", "groups": "few:1:1"}
    study = {"data": {"d": data}, "arms": {"real": {}}, "compare": {"baseline": "real"}}
    (top / "one.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return ["--grid", str(top / "one.yaml"), "--out", str(top / "out")]


def test_a_second_process_is_refused(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, words = load_script("study"), one_arm(tmp_path)
    lock = lock_output(tmp_path / "out")
    try:
        assert run(script.options(), script.main, words) == 2
        assert "out.lock: another process is writing this" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        # to look on is no writing
        assert run(script.options(), script.main, [*words, "--page-only"]) == 2
        assert "no finished run yet" in capsys.readouterr().err
        assert run(script.options(), script.main, [*words, "--plan"]) == 0
    finally:
        lock.release()


def test_results_of_other_options_are_not_shown_as_of_these(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, words = load_script("study"), one_arm(tmp_path)
    assert run(script.options(), script.main, [*words, "--plan"]) == 0
    planned = capsys.readouterr().out.splitlines()
    assert len(planned) == 3
    folder = tmp_path / "out" / "d" / "seed1" / "base" / "runs" / "real" / "seed1"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "report.html"):
        (folder / name).write_text("{}")
    (tmp_path / "out" / "records").mkdir()
    made = {"words": ["train_classifier.py", "--steps", "9"], "seconds": 1, "ended": 1}
    record = tmp_path / "out" / "records" / "d-seed1-base-real-seed1.json"
    record.write_text(json.dumps(made | {"made_from": {}}))
    for way in ("--page-only", "--plan"):
        assert run(script.options(), script.main, [*words, way]) == 2
        error = capsys.readouterr().err.strip()
        assert "was made by train_classifier.py --steps 9" in error and len(error.split("\n")) == 1
    assert not (tmp_path / "out" / "page").exists()
    record.unlink()  # then it is taken for what it stands for
    assert run(script.options(), script.main, [*words, "--plan"]) == 0
    assert capsys.readouterr().out.splitlines() == planned[:2]


def test_images_are_named_on_the_line(
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script, words = load_script("study"), one_arm(tmp_path)
    (tmp_path / "d.zip").unlink()
    assert run(script.options(), script.main, words) == 2
    error = capsys.readouterr().err
    assert "d.zip: no such file or folder" in error and "--images d=PATH" in error
    assert not (tmp_path / "out").exists()
    more = ["--images", f"d={tmp_path}/other.zip", "--plan"]
    assert run(script.options(), script.main, [*words, *more]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"python scripts/import_data.py {tmp_path}/other.zip ")
    assert run(script.options(), script.main, [*words, "--images", "e=x", *more]) == 2
    assert "--images e=x: the study has d" in capsys.readouterr().err


# the study with other scripts: the first command says who it is and takes its time
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import study
study.SCRIPTS = Path(sys.argv[2])
raise SystemExit(study.run(study.options(), study.main, sys.argv[3:]))
"""
SLOW = """
import os, pathlib, time
pathlib.Path(__file__).with_name("new").write_text(str(os.getpid()))
pathlib.Path(__file__).with_name("new").rename(pathlib.Path(__file__).with_name("pid"))
time.sleep(60)
"""


def is_there(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # dead, and waited for by nobody


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL])
def test_commands_end_with_a_killed_study_which_can_go_on(tmp_path: Path, way: int) -> None:
    (tmp_path / "import_data.py").write_text(SLOW)
    line = [sys.executable, "-c", DRIVER, str(ROOT / "scripts"), str(tmp_path), *one_arm(tmp_path)]

    def started() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        until = time.monotonic() + 60
        while not (tmp_path / "pid").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
        (tmp_path / "pid").unlink()
        return process, pid

    for _ in range(2):  # the second time the same command goes on
        process, pid = started()
        assert is_there(pid)
        os.kill(process.pid, way)
        process.communicate(timeout=30)
        assert process.returncode == (143 if way == signal.SIGTERM else -way)
        until = time.monotonic() + 10
        while is_there(pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_there(pid)
