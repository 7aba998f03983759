"""The demo: valid commands, going on where it stopped, and data that is called simulated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

import classifier.report
from classifier.config import PRESETS as CLASSIFIER_PRESETS
from gan.config import PRESETS as GAN_PRESETS
from synth.command import run
from synth.errors import InputError


@pytest.fixture
def demo(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # dataclasses look their module up by name
    monkeypatch.setitem(sys.modules, "scripts_demo", sys.modules[__name__])
    return load_script("demo")


def chain(demo: ModuleType, *words: object) -> list:
    return demo.chain(demo.options().parse_args([str(w) for w in words]))


def test_every_step_is_a_command_that_its_script_understands(
    demo: ModuleType, load_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    steps = chain(demo, "--out", tmp_path, "--seed", 7, "--gan-steps", 5, "--steps", 6)
    parsed = {}
    for step in steps:
        script = load_script(str(step.words[0]).removesuffix(".py"))
        parsed[step.title] = script.options().parse_args([str(w) for w in step.words[1:]])
    assert len(parsed) == 7
    gan = parsed["train the GAN and generate"]
    assert (gan.steps, gan.seed, gan.preset) == (5, 7, "demo")
    alone, mixed = parsed[f"train a classifier on {demo.WITHOUT}"], list(parsed.values())[-1]
    assert alone.synth == [] and mixed.synth == [tmp_path / "font", tmp_path / "gan" / "samples"]
    assert (alone.steps, alone.preset, alone.seed) == (mixed.steps, mixed.preset, mixed.seed)
    assert alone.test == mixed.test == tmp_path / "test"
    # what one step makes is what the next one reads
    assert gan.real == mixed.real == parsed["import the training images"].out


@pytest.mark.parametrize("preset", ["light", "lean", "small", "large"])
def test_a_slow_processor_takes_fewer_steps_unless_told(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setattr("synth.learning.fitting_preset", lambda: preset)
    fast = preset != "light"

    def words(*given: str) -> list[str]:
        args = demo.fitting(demo.options().parse_args(["--out", str(tmp_path), *given]))
        return [" ".join(map(str, step.words)) for step in demo.chain(args)]

    for part, step in zip((" --recogniser-steps 200", " --steps 400 "), words()[4:6], strict=True):
        assert (part in step) != fast
        assert ("steps" in step) != fast
    told = words("--recogniser-steps", "7", "--steps", "8")
    assert " --recogniser-steps 7 " in told[4] and " --steps 8 " in told[6]


def test_presets() -> None:
    for presets in (GAN_PRESETS, CLASSIFIER_PRESETS):
        steps = [presets[name].steps for name in ("demo", "light", "lean", "small", "large")]
        assert steps == sorted(set(steps))
    assert GAN_PRESETS["demo"].recogniser_steps < GAN_PRESETS["small"].recogniser_steps
    config = CLASSIFIER_PRESETS["demo"]
    assert config.steps % config.steps_per_epoch == 0  # the last epoch is validated


def test_finished_steps_are_skipped(
    demo: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = chain(demo, "--out", tmp_path)
    called: list[str] = []

    def call(line: list[str]) -> int:
        assert line[0] == sys.executable
        step = next(s for s in steps if [str(w) for w in s.words[1:]] == line[2:])
        called.append(step.title)
        step.done.parent.mkdir(parents=True, exist_ok=True)
        step.done.touch()
        return 0

    demo.follow(steps[:3], call)
    assert called == [s.title for s in steps[:3]]
    demo.follow(steps, call)
    assert called == [s.title for s in steps]
    demo.follow(steps, call)
    assert len(called) == 7
    said = capsys.readouterr().out.splitlines()
    assert said[-7:] == [f"[{n}/7] {s.title}: there already" for n, s in enumerate(steps, 1)]


@pytest.mark.parametrize("code", [0, 3])
def test_a_step_that_fails_stops_the_chain(demo: ModuleType, tmp_path: Path, code: int) -> None:
    steps = chain(demo, "--out", tmp_path)
    with pytest.raises(InputError, match=f"step 1 failed with exit code {code}: make_sample.py"):
        demo.follow(steps, lambda _: code)


def fake_run(demo: ModuleType, out: Path) -> None:
    """Everything the chain leaves, with two sets of figures."""
    for step in chain(demo, "--out", out):
        step.done.parent.mkdir(parents=True, exist_ok=True)
        step.done.touch()
    for name, value in (("real_only", 0.5), ("classifier", 0.625)):
        groups = {"common": value, "few": value / 2, "other": value / 4}
        figures = {"groups": groups, "macro_f1": value, "other_auroc": 0.9, "false_other": 0.1}
        (out / name / "metrics.json").write_text(json.dumps({"test": figures}))


def test_the_table(demo: ModuleType, tmp_path: Path) -> None:
    fake_run(demo, tmp_path)
    lines = demo.table(tmp_path).splitlines()
    assert lines[0].startswith("simulated test images, %")
    assert lines[1].split()[-3:] == ["50.0", "62.5", "+12.5"]
    assert lines[2].split() == ["accuracy,", "few", "25.0", "31.2", "+6.2"]


def test_it_says_simulated_and_refuses_other_settings(
    demo: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_run(demo, tmp_path)
    asked = {}
    monkeypatch.setattr(
        classifier.report, "write_report", lambda *args, **more: asked.update(more, runs=args)
    )
    assert run(demo.options(), demo.main, ["--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "simulated data" in said.splitlines()[0]
    assert said.splitlines()[-1].endswith(str(tmp_path / "report.html"))
    assert "simulated" in asked["title"] and asked["note"].startswith("Simulated data")
    assert asked["runs"] == (
        tmp_path / "report.html",
        tmp_path / "classifier",
        {"real only": tmp_path / "real_only"},
    )
    assert run(demo.options(), demo.main, ["--out", str(tmp_path), "--seed", "2"]) == 2
    assert "take another --out" in capsys.readouterr().err


@pytest.fixture
def made(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that a whole demo was made in."""
    fake_run(demo, tmp_path)
    monkeypatch.setattr(classifier.report, "write_report", lambda *_, **__: None)
    assert run(demo.options(), demo.main, ["--out", str(tmp_path)]) == 0
    assert run(demo.options(), demo.main, ["--out", str(tmp_path)]) == 0
    return tmp_path


def test_a_demo_of_other_presets_is_not_gone_on_with(
    demo: ModuleType,
    made: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its table would compare a run of the old values with one of the new."""
    kept = json.loads((made / "demo.json").read_text("utf-8"))
    assert kept["classifier preset, steps"] == CLASSIFIER_PRESETS["demo"].steps
    assert kept["gan preset, steps"] == GAN_PRESETS["demo"].steps and kept["seed"] == 1
    was = CLASSIFIER_PRESETS["demo"].steps
    now = replace(CLASSIFIER_PRESETS["demo"], steps=48)
    monkeypatch.setitem(CLASSIFIER_PRESETS, "demo", now)
    assert run(demo.options(), demo.main, ["--out", str(made)]) == 2
    error = capsys.readouterr().err
    assert f"made with classifier preset, steps {was}, now 48; take another --out" in error
    assert error.count("\n") == 1
    # a version that noted no presets
    (made / "demo.json").write_text('{"seed": 1, "gan_steps": null, "steps": null}')
    assert run(demo.options(), demo.main, ["--out", str(made)]) == 2
    error = capsys.readouterr().err
    assert "preset, " in error and "not told, now" in error and len(error) < 400


@pytest.mark.parametrize("text", ["", "{", "3", "[1]", "\xff"])
def test_a_damaged_note_of_the_settings_is_one_line(
    demo: ModuleType, made: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (made / "demo.json").write_bytes(text.encode("latin-1"))
    assert run(demo.options(), demo.main, ["--out", str(made)]) == 2
    error = capsys.readouterr().err
    assert "demo.json: damaged (" in error and f"take another --out, or remove {made}" in error
    assert error.count("\n") == 1
    assert (made / "demo.json").read_bytes() == text.encode("latin-1")


@pytest.mark.slow
def test_the_whole_chain(tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--out", str(tmp_path / "demo")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "simulated test images" in done.stdout
    page = (tmp_path / "demo" / "report.html").read_text("utf-8")
    for section in ("totals", "samples", "curves", "classes", "rejection", "errors", "repeat"):
        assert f'<section id="{section}">' in page
    assert "Simulated data" in page
    figures = [
        json.loads((tmp_path / "demo" / name / "metrics.json").read_text("utf-8"))["test"]
        for name in ("real_only", "classifier")
    ]
    assert figures[1]["macro_f1"] > figures[0]["macro_f1"] > 0.2
    again = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert again.stdout.count("there already") == 7
