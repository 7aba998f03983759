"""The licence list finds every dependency and refuses copyleft and unknown licences."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from importlib.metadata import Distribution, PathDistribution
from itertools import chain
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from synth.command import run


def test_this_project_passes_and_the_table_is_whole(load_script, tmp_path: Path, capsys) -> None:
    script = load_script("licences")
    found = script.packages("inkfill")
    assert found.faults == []
    text = "\n".join(script.tables(found))
    for name in ("torch", "numpy", "nvidia-dali-cuda130", "albumentations", "pluggy", "opencc-py"):
        assert f"| {name} |" in text  # what is needed, and what that needs
    assert "unknown" not in text
    # tests run without the tools of development; the table is made with them
    assert {name.split()[0] for name in found.missing} <= {
        *("ruff", "mypy", "types-pyyaml", "types-tqdm")
    }
    out = tmp_path / "LICENCES.md"
    code = run(script.options(), script.main, ["--out", str(out)])
    if found.missing:
        assert code == 2 and not out.exists()
        assert "required, but not installed" in capsys.readouterr().err
    else:
        assert code == 0, capsys.readouterr().err
        assert out.read_text(encoding="utf-8").startswith(text)


def test_what_wheels_carry_is_told(load_script) -> None:
    script = load_script("licences")
    told = script.packages("inkfill").carried
    of = {part: by for one, by in told.items() for part in one.what.split(", ")}
    assert {"opencv-python-headless", "nvidia-dali-cuda130"} <= set(of["FFmpeg"])
    assert "scipy" in of["GCC's runtime"]
    assert all(one.licence and one.reason for one in told)


def made(folder: Path, name: str, metadata: str, files: str = "") -> PathDistribution:
    """files: paths of a wheel, separated by blanks."""
    place = folder / f"{name}-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}", encoding="utf-8"
    )
    (place / "RECORD").write_text("".join(f"{file},,\n" for file in files.split()))
    for file in files.split():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return PathDistribution(place)


def only(there: dict[str, PathDistribution], script: ModuleType) -> Callable[[str], Distribution]:
    """Stands for `distribution`: nothing else is installed."""

    def distribution(name: str) -> Distribution:
        if name not in there:
            raise script.PackageNotFoundError(name)
        return there[name]

    return distribution


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
        ("License: LICENSE AGREEMENT FOR SOME DEVELOPMENT KIT\n", "its maker's own terms"),
        ("License-Expression: LicenseRef-NVIDIA-Proprietary\n", "its maker's own terms"),
        ("Classifier: License :: Other/Proprietary License\n", "its maker's own terms"),
        # which says nothing beside one that does
        ("License: Apache 2.0\nClassifier: License :: Other/Proprietary License\n", None),
    ],
)
def test_what_is_refused(
    load_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: str, fault: str | None
) -> None:
    script = load_script("licences")
    there = {
        "start": made(tmp_path, "start", "Requires-Dist: needed\n"),
        "needed": made(tmp_path, "needed", metadata),
    }
    monkeypatch.setattr(script, "distribution", only(there, script))
    found = script.packages("start")
    assert [row[0] for row in found.packages] == ["needed"] and not found.missing
    faults = found.faults
    assert (faults == []) if fault is None else (fault in faults[0] and len(faults) == 1)


def test_a_requirement_that_is_not_installed_is_refused_and_the_table_kept(
    load_script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """It was left out of the table, unless it may be missing: that is told."""
    script = load_script("licences")
    needs = "Provides-Extra: fuzz\nRequires-Dist: gone\nRequires-Dist: atheris; extra == 'fuzz'\n"
    there = {"start": made(tmp_path, "start", needs)}
    monkeypatch.setattr(script, "distribution", only(there, script))
    found = script.packages("start")
    assert found.missing == ["gone (for start)"]
    assert found.packages == [("atheris", "not installed here", "Apache-2.0")]
    out = tmp_path / "table.md"
    out.write_text("as it was")
    line = ["--out", str(out), "--package", "start"]
    assert run(script.options(), script.main, line) == 2
    assert "not installed: gone (for start)" in capsys.readouterr().err
    assert out.read_text() == "as it was"


@pytest.mark.parametrize(
    ("files", "what", "fault"),
    [
        ("needed.libs/libavcodec-c4204469.so.62.28", "FFmpeg, libsndfile, libquadmath", ""),
        ("x/lib/libgomp.so.1", "GCC's runtime", ""),
        ("x/libcudart.faf08d9a.so.13", "NVIDIA's runtime", ""),
        ("needed.libs/libx264-0123abcd.so.164", "", "carries a library that nobody has looked at"),
        ("x/libavocado.so x/gomp.py", "", ""),
    ],
)
def test_copyleft_in_a_wheel_of_another_licence_is_seen(
    load_script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: str,
    what: str,
    fault: str,
) -> None:
    script = load_script("licences")
    there = {
        "start": made(tmp_path, "start", "Requires-Dist: needed\n"),
        "needed": made(tmp_path, "needed", "License-Expression: MIT\n", files),
    }
    monkeypatch.setattr(script, "distribution", only(there, script))
    found = script.packages("start")
    assert {one.what: by for one, by in found.carried.items()} == (
        {what: ["needed"]} if what else {}
    )
    assert [fault in one for one in found.faults] == ([True] if fault else [])


def test_exceptions_are_of_whole_names(load_script) -> None:
    script, terms = load_script("licences"), "LicenseRef-NVIDIA-Proprietary"
    for name in ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cublas"):
        assert script.fault(name, terms) == []
    for name in ("nvidia-omniverse", "nvidia-cublas-more", "tqdm-pro"):
        assert script.fault(name, terms) == [f"{name}: {terms} is its maker's own terms"]


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
    found = script.packages("start")
    assert [row[0] for row in found.packages] == ["behind", "plain", "rich", "shared"]
    assert found.faults == ["behind: GPL-3.0-only is copyleft"]


def test_the_table_in_the_docs_has_the_fonts_and_dependencies_of_now(load_script) -> None:
    """`make licences` writes it anew. What the dependencies need in turn, and all versions, are
    those of the machine that wrote it."""
    table, faults = load_script("licences").fonts()
    assert faults == []
    kept = (ROOT / "docs" / "LICENCES.md").read_text(encoding="utf-8")
    assert kept.endswith("\n".join(["", *table]) + "\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    named = {Requirement(text).name for text in chain(project["dependencies"], *extras)}
    rows = set(re.findall(r"^\| (\S+) \|", kept.partition("\n\n")[0], re.MULTILINE))
    assert {canonicalize_name(name) for name in named - {project["name"]}} <= rows
    assert "unknown" not in kept and "| FFmpeg" in kept


def test_a_font_that_may_not_be_sold_is_refused(load_script) -> None:
    script = load_script("licences")
    assert script.fault("font x", "OFL-1.1") == []
    assert script.fault("font x", "CC-BY-NC-SA-4.0") == [
        "font x: CC-BY-NC-SA-4.0 forbids sale or change"
    ]
