"""A run's folder: settings that bind, metrics that survive a kill."""

import json

import pytest
import yaml

from synth.errors import InputError
from synth.runs import MetricsFile, keep_settings


def test_an_unfinished_run_keeps_its_settings(tmp_path):
    settings = {"model": {"lr": 0.1, "betas": (0.0, 0.9)}, "arguments": {"out": "a"}}
    keep_settings(tmp_path, settings, ("model",))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))["model"]["lr"] == 0.1
    keep_settings(tmp_path, settings, ("model",))  # the same again
    keep_settings(tmp_path, settings | {"arguments": {"out": "b"}}, ("model",))  # does not bind
    with pytest.raises(InputError, match=r"lr: 0\.1 -> 0\.2"):
        keep_settings(tmp_path, settings | {"model": {"lr": 0.2, "betas": (0.0, 0.9)}}, ("model",))
    assert yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))["model"]["lr"] == 0.1


def test_metrics_go_on_where_the_checkpoint_is(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.start(0)
    for step in (10, 20, 30):
        file.add(step, {"loss": 1 / step})
    with file.path.open("a", encoding="utf-8") as f:
        f.write('{"step": 40, "lo')  # killed while writing
    file.start(20)
    file.add(30, {"loss": 0.5})
    rows = [json.loads(line) for line in file.path.read_text("utf-8").splitlines()]
    assert [r["step"] for r in rows] == [10, 20, 30]
    assert rows[-1]["loss"] == 0.5


def test_metrics_that_cannot_be_written_anew_stay(tmp_path, monkeypatch):
    """A full disk, or a kill, while a run starts again: no line is lost."""
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        file.add(step, {"loss": 1.0})
    before = file.path.read_text("utf-8")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synth.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.start(20)
    assert file.path.read_text("utf-8") == before


def test_a_folder_of_something_else_is_no_run(tmp_path):
    (tmp_path / "letter.txt").write_text("dear", "utf-8")
    with pytest.raises(InputError, match=r"no run \(letter\.txt, no config\.yaml\)"):
        keep_settings(tmp_path, {"model": {"lr": 0.1}}, ("model",))
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    (tmp_path / "letter.txt").unlink()
    (tmp_path / ".config.yaml.partial").write_text("mo", "utf-8")  # of a run that was killed
    keep_settings(tmp_path, {"model": {"lr": 0.1}}, ("model",))
    assert (tmp_path / "config.yaml").is_file()


@pytest.mark.parametrize(
    "text",
    [
        "model: {lr: !!timestamp x}",
        'model: {lr: !!int ""}',
        "model: {lr: !!float x}",
        "model: {lr: !!python/object:os.system x}",
        "model: 7",
        "{",
        "model: " + "[" * 100_000,
        "a: &a [1, 2]\nmodel: {lr: *a}",
    ],
)
def test_a_damaged_settings_file_is_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"config\.yaml: damaged \(.+\); remove the run's") as told:
        keep_settings(tmp_path, {"model": {"lr": 0.1}}, ("model",))
    assert len(str(told.value)) < 400 + len(str(tmp_path))


def test_aliases_that_stand_for_more_than_any_memory_holds_are_refused(tmp_path):
    """Nine of nine of nine ...: what was set before stands in the message."""
    lines = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    (tmp_path / "config.yaml").write_text("\n".join([*lines, "model: {lr: *a9}"]), "utf-8")
    with pytest.raises(InputError, match="damaged"):
        keep_settings(tmp_path, {"model": {"lr": 0.1}}, ("model",))
