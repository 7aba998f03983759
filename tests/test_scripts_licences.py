"""The licence list finds every dependency and refuses copyleft and unknown licences."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from conftest import ROOT

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
        ("License-Expression: CC-BY-NC-4.0\n", "forbids sale"),
        ("License: Free for non-commercial use\n", "forbids sale"),
        ("License: For research use only\n", "forbids sale"),
        ("License-Expression: CC-BY-ND-4.0\n", "forbids sale"),
        ("License-Expression: CC-BY-4.0\n", None),
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


@pytest.mark.parametrize("first", ["plain", "rich"])
def test_extras_that_one_asks_for_are_found_whoever_comes_first(
    load_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Two need the same package, one of them with an extra."""
    script = load_script("licences")
    second = {"plain": "rich", "rich": "plain"}[first]
    mit = "License-Expression: MIT\n"
    there = {
        "start": made(tmp_path, "start", f"Requires-Dist: {first}\nRequires-Dist: {second}\n"),
        "plain": made(tmp_path, "plain", f"{mit}Requires-Dist: shared\n"),
        "rich": made(tmp_path, "rich", f"{mit}Requires-Dist: shared[fast]\n"),
        "shared": made(
            tmp_path,
            "shared",
            f'{mit}Provides-Extra: fast\nRequires-Dist: behind; extra == "fast"\n',
        ),
        "behind": made(tmp_path, "behind", "License-Expression: GPL-3.0-only\n"),
    }
    monkeypatch.setattr(script, "distribution", there.__getitem__)
    rows, faults = script.packages("start")
    assert [row[0] for row in rows] == ["behind", "plain", "rich", "shared"]
    assert faults == ["behind: GPL-3.0-only is copyleft"]


def test_the_table_in_the_docs_has_the_fonts_of_now(load_script) -> None:
    """`make licences` writes it anew. Its packages are those of the machine that wrote it."""
    table, faults = load_script("licences").fonts()
    assert faults == []
    kept = (ROOT / "docs" / "LICENCES.md").read_text(encoding="utf-8")
    assert kept.endswith("\n".join(["", *table]) + "\n")
    assert "| numpy |" in kept and "unknown" not in kept


def test_a_font_that_may_not_be_sold_is_refused(load_script) -> None:
    script = load_script("licences")
    assert script.fault("font x", "OFL-1.1") == []
    assert script.fault("font x", "CC-BY-NC-SA-4.0") == [
        "font x: CC-BY-NC-SA-4.0 forbids sale or change"
    ]
