"""The study with the real commands, as small as they get."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, draw_strokes

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
        assert float(row["minutes"]) > 0 and 0 <= float(row["ece"]) <= 1
        for group in ("common", "few", "other_seen", "other_unseen", "macro_f1", "other_auroc"):
            assert 0 <= float(row[group]) <= 1, (row["arm"], group)
    by_arm = {row["arm"]: row for row in rows}
    # images of each run: real ones less validation, and those of its stores
    assert float(by_arm["oracle"]["real"]) > float(by_arm["real"]["real"])
    assert float(by_arm["few0"]["real"]) < float(by_arm["real"]["real"])
    assert float(by_arm["real"]["synthetic"]) == 0 < float(by_arm["thin"]["synthetic"])
    # without the filter nothing that was planned is missing
    base = out / "tiny" / "seed1" / "base"
    info = json.loads((base / "gan" / "unchecked" / "store.json").read_text("utf-8"))
    assert info["notes"]["keep_refused"] and info["images"] == info["notes"]["tried"]
    # the figures are those that the run itself reports
    metrics = json.loads((base / "runs" / "real" / "seed1" / "metrics.json").read_text("utf-8"))
    assert float(by_arm["real"]["macro_f1"]) == pytest.approx(metrics["test"]["macro_f1"], 1e-4)

    (base / "runs" / "thin" / "seed1" / "metrics.json").unlink()
    again = study("--grid", path, "--out", out, "--workers", "1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [line for line in again.stdout.splitlines() if line.startswith("start ")] == [
        "start tiny-seed1-base-thin-seed1"
    ]
    # what was finished is as it was, and the one that went on is complete again
    for one, two in zip(rows, rows_of(out), strict=True):
        assert one["arm"] == two["arm"] and one.keys() == two.keys()
        assert one == two or one["arm"] == "thin"
        assert all(two.values())
