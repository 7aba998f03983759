"""The lowest versions that pyproject.toml allows, as pip reads constraints: for `make test-lowest`.

Only of what is named there: what those packages need in turn is pip's choice.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

TOP = Path(__file__).parents[1]


def lowest(pyproject: str) -> list[str]:
    """The text of a pyproject.toml -> name==version of every dependency with a lower bound."""
    project = tomllib.loads(pyproject)["project"]
    extras = [r for group in project["optional-dependencies"].values() for r in group]
    found: dict[str, str] = {}
    for text in (*project["dependencies"], *extras):
        requirement = Requirement(text)
        if requirement.name == project["name"] or requirement.name.startswith("nvidia-dali-cuda1"):
            continue  # its own extras; of the DALI wheels only one can be installed
        for bound in requirement.specifier:
            if bound.operator == ">=":
                found[requirement.name] = bound.version
    found |= {
        r.name: next(iter(r.specifier)).version
        for r in map(Requirement, project["dependencies"])
        if r.name.startswith("nvidia-dali")
    }
    return [f"{name}=={version}" for name, version in found.items()]


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest((TOP / "pyproject.toml").read_text(encoding="utf-8"))) + "\n")
