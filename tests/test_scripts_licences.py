"""The licence list finds every dependency and refuses copyleft and unknown licences."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from synth.command import run


def test_this_project_passes_and_the_table_is_whole(load_script, tmp_path: Path, capsys) -> None:
    script = load_script("licences")
    out = tmp_path / "LICENCES.md"
    code = run(script.options(), script.main, ["--out", str(out)])
    assert code == 0, capsys.readouterr().err
    text = out.read_text(encoding="utf-8")
    for name in ("torch", "numpy", "nvidia-dali-cuda130", "albumentations", "pluggy"):
        assert f"| {name} |" in text  # what is needed, and what that needs
    assert "| TW-Kai | Debian" in text and "| OGDL-Taiwan-1.0 |" in text
    assert "unknown" not in text


def made(folder: Path, name: str, metadata: str) -> PathDistribution:
    place = folder / f"{name}-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}", encoding="utf-8"
    )
    return PathDistribution(place)


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ("License-Expression: MIT\n", None),
        ("Classifier: License :: OSI Approved :: BSD License\n", None),
        ("License: Apache 2.0\n", None),
        ("", "licence unknown"),
        ("License-Expression: GPL-3.0-only\n", "is copyleft"),
        ("License: AGPLv3\n", "is copyleft"),
        (
            "Classifier: License :: OSI Approved :: GNU Affero General Public License v3\n",
            "is copyleft",
        ),
        ("License-Expression: MPL-2.0\n", "is copyleft"),
    ],
)
def test_what_is_refused(
    load_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, fault: str | None
) -> None:
    script = load_script("licences")
    there = {
        "start": made(tmp_path, "start", "Requires-Dist: needed\nRequires-Dist: absent\n"),
        "needed": made(tmp_path, "needed", metadata),
    }

    def distribution(name: str) -> PathDistribution:
        if name not in there:
            raise script.PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr(script, "distribution", distribution)
    rows, faults = script.packages("start")
    assert [row[0] for row in rows] == ["needed"]
    assert (faults == []) if fault is None else (fault in faults[0] and len(faults) == 1)
