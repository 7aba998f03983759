"""check_fonts.py: a recogniser's answers in, a table and names out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from synth import studio
from synth.alphabet import Alphabet
from synth.canvas import Canvas
from synth.command import run
from synth.fonts import find_fonts
from synth.reading import Verdict
from synth.store import Sample, StoreWriter

ALPHABET = Alphabet.of("永國一三")


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    files = [f for f in find_fonts() if f.name in ("klee-one", "tw-kai")]
    monkeypatch.setattr(studio, "find_fonts", lambda folders=(), writers=False: files)
    monkeypatch.setattr(studio, "MAX_CANDIDATES", 100)
    return load_script("check_fonts")


@pytest.fixture
def real(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "real", Canvas(), ALPHABET, {}) as writer:
        for char in ALPHABET.chars:
            images = np.zeros((20, 64, 64), np.uint8)
            images[:, 5:59, 30:33] = 255
            writer.append(images, [Sample(char, char, "real")] * 20)
    return tmp_path / "real"


def call(script: ModuleType, *args: object) -> int:
    return run(script.options(), script.main, [str(a) for a in args])


def test_a_reader_of_one_character_names_every_font(
    script: ModuleType,
    real: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import classifier.export

    def probabilities(images: np.ndarray) -> np.ndarray:
        answer = np.zeros((len(images), 5), np.float32)
        answer[:, 0], answer[:, 4] = 0.2, 0.8  # "other" is no answer here
        return answer

    card = SimpleNamespace(canvas=Canvas(), alphabet=ALPHABET)
    model = SimpleNamespace(card=card, probabilities=probabilities)
    monkeypatch.setattr(classifier.export, "load_model", lambda folder, device: model)
    line = ("--real", real, "--model", "any", "--per-font", 8, "--strengths", 0, 1)
    assert call(script, *line) == 0
    out = capsys.readouterr().out
    assert "fonts under 50 % read right at 1: klee-one, tw-kai" in out
    assert "render_fonts.py --without klee-one tw-kai" in out
    assert [row.split()[-1] for row in out.splitlines()[1:4]] == ["25.0"] * 3
    file = real.parent / "read.json"  # the strength that will be used is asked at, too
    assert call(script, *line, "--least", 0.2, "--strength", 0.7, "--out", file) == 0
    out = capsys.readouterr().out
    assert "fonts under 20 % read right at 0.7: none" in out and "read.json: for render" in out
    assert Verdict.read(file) == Verdict(
        {"klee-one": True, "tw-kai": True}, {0.0: True, 0.7: True, 1.0: True}, 0.7
    )
    assert call(script, *line, "--out", file) == 2
    assert "read.json: something is there already" in capsys.readouterr().err


def test_wrong_input_is_one_line(
    script: ModuleType, real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line, words in (
        (("--real", "nowhere", "--model", tmp_path), "nowhere: no store"),
        (("--real", real, "--model", tmp_path), "no model"),
        (("--real", real, "--model", tmp_path, "--per-font", 0), "--per-font from 1"),
        (("--real", real, "--model", tmp_path, "--strength", -1), "factors from 0"),
    ):
        assert call(script, *line) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
