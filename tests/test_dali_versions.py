"""What the graph uses of DALI is there in the oldest version that pyproject.toml allows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

# names below nvidia.dali.fn in the wheel of that version
THERE = set((Path(__file__).parent / "dali_1.34_operators.txt").read_text("utf-8").split())
NOT_THERE = {"experimental.warp_perspective": "HAS_PERSPECTIVE"}  # what asks for it first


def operators(node: ast.AST, asked: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every fn.name below, with the conditions that it stands under."""
    if isinstance(node, ast.Attribute):
        name = ast.unparse(node)
        if name.startswith("fn."):
            yield name.removeprefix("fn."), asked
            return
    for child in ast.iter_child_nodes(node):
        inside = isinstance(node, ast.If) and child in node.body
        yield from operators(child, (*asked, ast.unparse(node.test)) if inside else asked)


def test_every_operator_is_in_the_oldest_dali_or_asked_for_first() -> None:
    tree = ast.parse((ROOT / "classifier" / "pipeline.py").read_text("utf-8"))
    used = list(operators(tree))
    assert len({name for name, _ in used}) > 10
    assert {name for name, _ in used} - THERE == set(NOT_THERE)
    for name, asked in used:
        if name in NOT_THERE:
            assert NOT_THERE[name] in asked, f"{name} is used without asking {NOT_THERE[name]}"
    oldest = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"nvidia-dali-cuda110==1.34.0' in oldest and '"nvidia-dali-cuda120>=1.34"' in oldest
