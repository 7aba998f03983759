"""What all commands share: --help at once, though what the command imports takes seconds, and one
line for what is missing or cannot be read."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from synth.command import parser, run

COMMANDS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if "def options(" in path.read_text(encoding="utf-8")
)


def test_there_are_commands() -> None:
    assert {"import_data", "train_gan", "train_classifier", "predict", "serve"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches_and_is_quick(name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = " ".join(done.stdout.split())
    assert f"example: python scripts/{name}.py" in told and not done.stderr
    # a second of processor time, whatever else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


@pytest.mark.parametrize(
    ("package", "says"),
    [("openvino", "needs openvino: pip install 'inkfill[serve]'"), ("onnx", "'inkfill[export]'")],
)
def test_a_package_of_an_extra_that_is_missing_is_one_line(
    package: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: object) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    assert run(parser("x", "x"), main, []) == 1
    told = capsys.readouterr().err
    assert says in told and len(told.splitlines()) == 1


def test_another_package_that_is_missing_is_a_fault_of_ours() -> None:
    def main(_: object) -> None:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    with pytest.raises(ModuleNotFoundError):
        run(parser("x", "x"), main, [])


@pytest.mark.parametrize("value", ["!!timestamp x", '!!int ""'])
def test_a_config_file_that_yaml_cannot_read_is_one_line(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(f"seed: {value}", "utf-8")
    options = parser("x", "x")
    options.add_argument("--seed", type=int, default=1)
    assert run(options, lambda _: None, ["--config", str(tmp_path / "c.yaml")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
