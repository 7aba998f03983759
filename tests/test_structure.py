"""The directions of imports, and what no file of the project may name."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("synth", "gan", "classifier")
HEAVY = {"torch", "torchvision", "pytorch_lightning", "nvidia", "torch_fidelity", "matplotlib"}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path, top_only: bool = False) -> set[str]:
    """Full names of the modules that a file imports when it runs.

    top_only: when it is imported, that is, outside of functions.
    """
    tree = ast.parse(path.read_text("utf-8"), str(path))
    found = set()
    for node in _executed(tree, top_only):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _executed(node: ast.AST, top_only: bool) -> Iterator[ast.AST]:
    """Every node below but those of `if TYPE_CHECKING`, and of functions with `top_only`."""
    for child in ast.iter_child_nodes(node):
        if top_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _executed(child, top_only)


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    "package, forbidden",
    [
        ("synth", {"gan", "classifier", "scripts", "benchmarks"} | HEAVY),
        ("gan", {"classifier", "scripts", "benchmarks", "nvidia"}),
        ("classifier", {"gan", "scripts", "benchmarks"}),
    ],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    assert sources(package)
    for path in sources(package):
        here = forbidden - {"torch"} if path.name == "learning.py" else forbidden
        assert not roots(imports(path)) & here, path


def test_nothing_in_synth_needs_torch() -> None:
    """One file is there for `gan` and `classifier` to share; no other may lead to it."""
    for path in sources("synth"):
        assert "synth.learning" not in imports(path), path


def test_only_the_pipeline_imports_dali() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in (*PACKAGES, "scripts")
        for path in sources(folder)
        if "nvidia" in roots(imports(path))
    }
    assert found == {"classifier/pipeline.py"}


def test_scripts_import_late_so_that_help_is_quick() -> None:
    assert len(sources("scripts")) >= 4
    for path in sources("scripts"):
        heavy = roots(imports(path, top_only=True)) & (HEAVY | {"gan", "classifier"})
        assert not heavy, f"{path}: {heavy} at the top"


def test_nothing_imports_a_script_or_a_test() -> None:
    for folder in PACKAGES:
        for path in sources(folder):
            assert not roots(imports(path)) & {"scripts", "tests", "conftest", "pytest"}, path


def test_all_of_synth_runs_without_torch() -> None:
    modules = [f"synth.{p.stem}" for p in sources("synth")]
    modules = [m for m in modules if m not in ("synth.__init__", "synth.learning")]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print(sorted({HEAVY | {'gan', 'classifier'}!r} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]" and len(modules) > 15


def texts() -> list[Path]:
    """The project's own text files."""
    folders = (*PACKAGES, "scripts", "tests", "benchmarks", "docs", "assets", "studies", ".ci")
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    found += [p for p in ROOT.iterdir() if p.is_file() and p.name != ".git"]  # of a worktree
    skipped = {".woff", ".png", ".pyc", ".npy", ".zip"}
    return [p for p in found if p.suffix not in skipped and "__pycache__" not in p.parts]


def test_no_file_names_a_package_registry_or_somebodys_machine() -> None:
    # put together here, so that this file does not name them either
    hosts = [f"{name}.org" for name in ("pypi", "files.pythonhosted", "registry.npmjs")]
    folders = [f"/{name}/" for name in ("work", "root", "home", "Users")]
    bad = []
    for path in texts():
        text = path.read_text("utf-8", errors="replace")
        for word in (*hosts, *folders):
            for number, line in enumerate(text.splitlines(), 1):
                # a web address may have such a folder in it
                if word in line and not (word in folders and "://" in line):
                    bad.append(f"{path.relative_to(ROOT)}, line {number}: {word}")
    assert len(texts()) > 60 and not bad
