"""The simulated sample: its counts, its wrong labels, its fonts, its files, and how it is read."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from synth import sample
from synth.alphabet import OTHER, Alphabet
from synth.canvas import Canvas, normalise, place
from synth.command import run
from synth.corpus import import_images
from synth.errors import InputError
from synth.fonts import check_fonts, find_fonts

SMALL = (
    ("common", 3, 8, 3),
    ("rare", 2, 4, 2),
    ("few", 2, 2, 2),
    ("other_seen", 3, 2, 1),
    ("other_unseen", 4, 0, 2),
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of 54 images in place of 1,500."""
    monkeypatch.setattr(sample, "GROUPS", SMALL)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_the_counts_are_those_of_the_groups(seed: int) -> None:
    rows = sample.plan(seed)
    counts = Counter((r.group, r.path.split("/")[0]) for r in rows)
    chars = {group: {r.char for r in rows if r.group == group} for group, *_ in sample.GROUPS}
    for group, n_chars, train, test in sample.GROUPS:
        assert len(chars[group]) == n_chars
        assert counts[group, "train"] == n_chars * train
        assert counts[group, "test"] == n_chars * test
    known = chars["common"] | chars["rare"] | chars["few"]
    assert known == set(sample.KNOWN)
    assert chars["other_seen"] | chars["other_unseen"] == set(sample.OTHERS)
    assert not known & set(sample.OTHERS)
    assert len({r.path for r in rows}) == len(rows)
    for r in rows:
        assert r.label == (r.char if r.char in known else OTHER)


def test_wrong_labels_stand_in_train_alone_and_are_eleven_percent() -> None:
    rows = [r for seed in range(5) for r in sample.plan(seed)]
    train = [r for r in rows if r.path.startswith("train/")]
    wrong = [r for r in train if r.given != r.label]
    p, n = sample.LABEL_NOISE, len(train)
    assert abs(len(wrong) - n * p) < 3 * np.sqrt(n * p * (1 - p))
    assert all(r.given in sample.KNOWN and r.given != r.char for r in wrong)
    assert all(r.given == r.label for r in rows if r.path.startswith("test/"))


def test_test_images_are_of_other_writers() -> None:
    rows = sample.plan(1)
    train, test = (
        {r.writer for r in rows if r.path.startswith(split)} for split in ("train/", "test/")
    )
    assert len(train) > 50 and len(test) > 25 and not train & test


def test_the_renderer_has_none_of_the_fonts_and_all_of_the_characters() -> None:
    writers, renderer = find_fonts(writers=True), find_fonts()
    assert len(writers) >= 3
    assert not {f.path for f in writers} & {f.path for f in renderer}
    for files in (writers, renderer):
        found = check_fonts(files, list(sample.KNOWN + sample.OTHERS))
        for char in sample.KNOWN + sample.OTHERS:
            assert sum(char in c.usable for c in found) >= 2, char


def test_the_same_seed_makes_the_same_files(small: None, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        sample.write_sample(tmp_path / name, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    others = set(digest(tmp_path / "c").values()) & set(digest(tmp_path / "a").values())
    assert others == {digest(tmp_path / "a")["alphabet.txt"]}


def test_the_files(small: None, tmp_path: Path) -> None:
    rows = sample.write_sample(tmp_path / "out", 1)
    with (tmp_path / "out" / "truth.csv").open(encoding="utf-8", newline="") as f:
        listed = list(csv.DictReader(f))
    assert list(listed[0]) == ["path", "char", "label", "given", "group"]
    assert [(r["path"], r["given"]) for r in listed] == [(r.path, r.given) for r in rows]
    there = {p for p in digest(tmp_path / "out") if p.startswith(("train/", "test/"))}
    assert there == {r.path for r in rows}
    assert all(r.path.split("/")[1] == r.given for r in rows)
    alphabet = Alphabet.read(tmp_path / "out" / "alphabet.txt")
    assert set(alphabet.chars) == set(sample.KNOWN)
    text = (tmp_path / "out" / "README.txt").read_text("utf-8")
    assert text.startswith("SIMULATED data, seed 1")
    assert all(f.name in text for f in find_fonts(writers=True))
    # as a phone or a scanner gives them: in colour, of any size, in two formats
    images = [Image.open(tmp_path / "out" / r.path) for r in rows]
    assert {i.format for i in images} == {"PNG", "JPEG"}
    assert {i.mode for i in images} == {"RGB"}
    assert len({i.size for i in images}) > 40
    tones = [np.asarray(i.convert("L")) for i in images]
    assert min(np.percentile(t, 90) for t in tones) < 180 < 240 < max(t.max() for t in tones)


def test_import_reads_every_image_and_finds_the_writing(small: None, tmp_path: Path) -> None:
    rows = sample.write_sample(tmp_path / "out", 1)
    alphabet = Alphabet.read(tmp_path / "out" / "alphabet.txt")
    store = import_images(
        images=tmp_path / "out" / "train",
        out=tmp_path / "store",
        alphabet=alphabet,
        canvas=Canvas(),
        val_share=0.0,
        split=None,
        seed=0,
        workers=1,
        outside="error",
    )
    assert len(store) == sum(r.path.startswith("train/") for r in rows)
    assert not store.info["notes"]["skipped"] and not store.info["notes"]["duplicates"]
    # what comes out of paper, light and JPEG is the writing that went in
    at = np.arange(len(rows))
    alike = []
    for row, ink in zip(rows, sample._written(rows, at, 1), strict=True):
        with Image.open(tmp_path / "out" / row.path) as image:
            read = normalise(image, Canvas()).ravel()
        alike.append(np.corrcoef(read, place(ink, Canvas()).ravel())[0, 1])
    assert np.median(alike) > 0.85
    assert np.mean(np.array(alike) > 0.5) > 0.85


def test_nothing_is_overwritten_and_nothing_half_written_stays(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="something is there already"):
        sample.write_sample(tmp_path / "there", 1)

    def broken(*_: object) -> bytes:
        raise OSError("no space left")

    monkeypatch.setattr(sample, "_filed", broken)
    with pytest.raises(OSError, match="no space left"):
        sample.write_sample(tmp_path / "out", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]


def test_the_command(
    small: None,
    tmp_path: Path,
    load_script: Callable[[str], ModuleType],
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = load_script("make_sample")
    assert run(script.options(), script.main, [str(tmp_path / "out"), "--seed", "5"]) == 0
    assert "simulated data, 42 train images" in capsys.readouterr().out
    assert "seed 5" in (tmp_path / "out" / "README.txt").read_text("utf-8")
    assert run(script.options(), script.main, [str(tmp_path / "out")]) == 2
    assert "is there already" in capsys.readouterr().err
