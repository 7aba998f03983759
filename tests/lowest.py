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
    extras = map(Requirement, (r for e in project["optional-dependencies"].values() for r in e))
    # of the DALI wheels only one can be installed: the one that is no extra
    wanted = [r for r in extras if not r.name.startswith("nvidia-dali")]
    wanted += map(Requirement, project["dependencies"])
    bounds = {r.name: b.version for r in wanted for b in r.specifier if b.operator == ">="}
    return sorted(f"{name}=={version}" for name, version in bounds.items())


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest((TOP / "pyproject.toml").read_text(encoding="utf-8"))) + "\n")
